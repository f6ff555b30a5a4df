using System.Globalization;
using System.Text;

namespace Nola.Train.Metrics;

/// <summary>Case and white space as Python and Java define them for Unicode text, where .NET's definitions differ.</summary>
internal static class UnicodeText
{
    /// <summary>Full lower case: a final sigma is ς, and İ is i with a dot above.</summary>
    public static string Lower(string text)
    {
        string lower = text.ToLowerInvariant();
        if (!text.AsSpan().ContainsAny('\u03A3', '\u0130')) return lower;
        StringBuilder result = new(text.Length + 1);
        for (int i = 0; i < text.Length; i++)
            _ = text[i] switch
            {
                '\u0130' => result.Append("i\u0307"),
                '\u03A3' when IsFinal(text, i) => result.Append('\u03C2'),
                _ => result.Append(lower[i]),
            };
        return result.ToString();
    }

    /// <summary>Words between white space, as Python's <c>str.split()</c>.</summary>
    public static string[] Words(string text)
    {
        List<string> words = [];
        int start = 0;
        for (int i = 0; i <= text.Length; i++)
        {
            if (i < text.Length && !IsSpace(text[i])) continue;
            if (i > start) words.Add(text[start..i]);
            start = i + 1;
        }
        return [.. words];
    }

    /// <summary>Without white space at both ends, as Python's <c>str.strip()</c>.</summary>
    public static string Strip(string text)
    {
        int start = 0, end = text.Length;
        while (start < end && IsSpace(text[start])) start++;
        while (end > start && IsSpace(text[end - 1])) end--;
        return text[start..end];
    }

    /// <summary>White space, as Python's <c>str.isspace()</c>: .NET's and the four separators of ASCII.</summary>
    public static bool IsSpace(char c) => char.IsWhiteSpace(c) || c is >= '\u001C' and <= '\u001F';

    private static bool IsFinal(string text, int at)
    {
        int before = at - 1, after = at + 1;
        while (before >= 0 && IsIgnorable(text[before])) before--;
        while (after < text.Length && IsIgnorable(text[after])) after++;
        return before >= 0 && char.IsLetter(text[before]) && !(after < text.Length && char.IsLetter(text[after]));
    }

    private static bool IsIgnorable(char c) => c is '\'' or '.' or ':' or '\u2019'
        || CharUnicodeInfo.GetUnicodeCategory(c) is UnicodeCategory.NonSpacingMark or UnicodeCategory.Format;
}
