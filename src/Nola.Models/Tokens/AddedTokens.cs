using System.Buffers;
using System.Globalization;

namespace Nola.Models;

/// <summary>A token that is found in a text as it is spelled, before the text is cut.</summary>
/// <param name="Content">What it is spelled.</param>
/// <param name="Id">Its id.</param>
internal sealed record AddedToken(string Content, int Id)
{
    /// <summary>It controls the model and is no text (<c>special</c>): a user's text does not become it.</summary>
    public bool IsControl { get; init; }

    /// <summary>White space before it belongs to it (<c>lstrip</c>).</summary>
    public bool TakesLeft { get; init; }

    /// <summary>White space behind it belongs to it (<c>rstrip</c>).</summary>
    public bool TakesRight { get; init; }

    /// <summary>It is only found where no letter or digit is beside it (<c>single_word</c>).</summary>
    public bool IsWord { get; init; }

    /// <summary>It is looked for in normalized text (<c>normalized</c>).</summary>
    public bool IsNormalized { get; init; }
}

/// <summary>Which added tokens are found in a text.</summary>
internal enum FoundTokens
{
    /// <summary>None.</summary>
    None,

    /// <summary>Those that are text.</summary>
    Text,

    /// <summary>Those that control the model, too.</summary>
    All,
}

/// <summary>Finds added tokens in texts: the first one, and of those that begin at one place the longest.</summary>
internal sealed class AddedTokens
{
    private readonly Dictionary<char, AddedToken[]> byFirst;
    private readonly SearchValues<string> contents;

    /// <summary>Prepares the search.</summary>
    public AddedTokens(IEnumerable<AddedToken> tokens)
    {
        byFirst = tokens.Where(token => token.Content.Length > 0).GroupBy(token => token.Content[0])
            .ToDictionary(group => group.Key, group => group.OrderByDescending(token => token.Content.Length).ToArray());
        string[] spelled = [.. byFirst.Values.SelectMany(group => group.Select(token => token.Content))];
        contents = SearchValues.Create(spelled, StringComparison.Ordinal);
    }

    /// <summary>The next token of a text; null where there is none.</summary>
    /// <param name="text">The text.</param>
    /// <param name="from">Where to begin.</param>
    /// <param name="found">Which tokens count.</param>
    /// <param name="isPlain">Whether what stands from one place to another is a user's, so that no control token is found in it.</param>
    public (AddedToken Token, int Start, int End)? Next(
        ReadOnlySpan<char> text, int from, FoundTokens found, Func<int, int, bool>? isPlain = null)
    {
        if (found == FoundTokens.None) return null;
        for (int at = from; at < text.Length; at++)
        {
            int next = text[at..].IndexOfAny(contents);
            if (next < 0) return null;
            at += next;
            foreach (AddedToken token in byFirst[text[at]])
            {
                int end = at + token.Content.Length;
                if (!text[at..].StartsWith(token.Content)) continue;
                if (token.IsControl && (found == FoundTokens.Text || isPlain?.Invoke(at, end) == true)) continue;
                if (token.IsWord && (IsWordAt(text, at - 1) || IsWordAt(text, end))) continue;
                int start = token.TakesLeft ? Math.Max(from, text[..at].TrimEnd().Length) : at;
                return (token, start, token.TakesRight ? SpaceEnd(text, end) : end);
            }
        }
        return null;
    }

    private static int SpaceEnd(ReadOnlySpan<char> text, int end) => text.Length - text[end..].TrimStart().Length;

    private static bool IsWordAt(ReadOnlySpan<char> text, int at) => (uint)at < (uint)text.Length
        && (char.IsLetterOrDigit(text[at]) || char.GetUnicodeCategory(text[at]) == UnicodeCategory.ConnectorPunctuation);
}
