using System.Runtime.InteropServices;
using System.Text;

namespace Nola.Models;

/// <summary>Looks for strings in a text that comes token by token, also where one begins in one token and ends in another.</summary>
internal sealed class StopStrings
{
    private readonly ITokenizer tokenizer;
    private readonly byte[][] strings;
    private readonly int longest;
    private readonly List<byte> tail = [];

    public StopStrings(IReadOnlyList<string> strings, ITokenizer tokenizer)
    {
        this.tokenizer = tokenizer;
        this.strings = [.. strings.Select(Encoding.UTF8.GetBytes)];
        longest = this.strings.Max(bytes => bytes.Length);
    }

    /// <summary>Whether a string is complete with one more token.</summary>
    public bool Add(int token)
    {
        tail.AddRange(tokenizer.BytesOf(token));
        bool found = strings.Any(bytes => CollectionsMarshal.AsSpan(tail).IndexOf(bytes) >= 0);
        if (tail.Count > longest) tail.RemoveRange(0, tail.Count - longest + 1);
        return found;
    }

    /// <summary>The text before the first of the strings; all of it when none is in it.</summary>
    public static string Cut(string text, IReadOnlyList<string> strings)
    {
        int end = text.Length;
        foreach (string stop in strings)
            if (text.IndexOf(stop, StringComparison.Ordinal) is var at and >= 0) end = Math.Min(end, at);
        return text[..end];
    }
}
