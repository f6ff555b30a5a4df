using System.Runtime.CompilerServices;
using System.Text;

namespace Nola.Train.Metrics;

/// <summary>
/// The language-independent and Western rules of NIST's mteval-v13a: entities resolved, punctuation apart, full stop and
/// comma apart unless between digits, a hyphen apart after a digit. Its descendants differ only in white space and case.
/// </summary>
internal static class MtevalTokenizer
{
    /// <summary>As pymteval: white space is Unicode's, lower case too, and an empty text is one empty token.</summary>
    public static string[] Pymteval(string text) =>
        [.. UnicodeText.Strip(Separate(text, UnicodeText.IsSpace)).Split(' ').Select(UnicodeText.Lower)];

    /// <summary>As mteval-v13a.pl: white space is Unicode's, lower case is ASCII's.</summary>
    public static string[] V13a(string text) =>
        Separate(LowerAscii(text), char.IsWhiteSpace).Split(' ', StringSplitOptions.RemoveEmptyEntries);

    /// <summary>As multi-bleu-detok.perl, which reads bytes: white space is ASCII's, case is kept.</summary>
    public static string[] MultiBleu(string text) =>
        Separate(text, c => c is ' ' or (>= '\t' and <= '\r')).Split(' ', StringSplitOptions.RemoveEmptyEntries);

    private static string Separate(string text, Func<char, bool> isSpace)
    {
        text = text.Replace("<skipped>", "").Replace("&quot;", "\"").Replace("&amp;", "&").Replace("&lt;", "<").Replace("&gt;", ">");
        text = SeparateSigns($" {text} ");
        text = SeparatePairs(text, (a, b) => !char.IsAsciiDigit(a) && b is '.' or ',', before: false);
        text = SeparatePairs(text, (a, b) => a is '.' or ',' && !char.IsAsciiDigit(b), before: true);
        text = SeparatePairs(text, (a, b) => char.IsAsciiDigit(a) && b == '-', before: false);
        return Squeeze(text, isSpace);
    }

    // All signs of ASCII but those that the pairs decide on: apostrophe, comma, hyphen, full stop.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static string SeparateSigns(string text)
    {
        StringBuilder result = new(text.Length * 2);
        foreach (char c in text)
            if (c is (>= '{' and <= '~') or (>= '[' and <= '`') or (>= ' ' and <= '&') or (>= '(' and <= '+') or (>= ':' and <= '@') or '/')
                result.Append(' ').Append(c).Append(' ');
            else result.Append(c);
        return result.ToString();
    }

    // Of overlapping pairs only the first is one, as in a replacement by a regular expression.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static string SeparatePairs(string text, Func<char, char, bool> isPair, bool before)
    {
        StringBuilder result = new(text.Length + 16);
        for (int i = 0; i < text.Length; i++)
        {
            if (i + 1 == text.Length || !isPair(text[i], text[i + 1]))
            {
                result.Append(text[i]);
                continue;
            }
            if (before) result.Append(' ');
            result.Append(text[i]).Append(' ').Append(text[++i]);
            if (!before) result.Append(' ');
        }
        return result.ToString();
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static string Squeeze(string text, Func<char, bool> isSpace)
    {
        StringBuilder result = new(text.Length);
        foreach (char c in text)
            if (!isSpace(c)) result.Append(c);
            else if (result.Length == 0 || result[^1] != ' ') result.Append(' ');
        return result.ToString();
    }

    private static string LowerAscii(string text) => string.Create(text.Length, text, (span, t) =>
    {
        for (int i = 0; i < span.Length; i++) span[i] = char.IsAsciiLetterUpper(t[i]) ? (char)(t[i] | 0x20) : t[i];
    });
}
