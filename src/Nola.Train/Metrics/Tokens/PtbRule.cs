namespace Nola.Train.Metrics;

/// <summary>
/// A token's pattern, what has to stand behind it without belonging to it, the token made of the matched text (null: none;
/// a missing function: the text itself), and how many of its last characters are read again.
/// </summary>
internal sealed record PtbRule(string Pattern, string? Before = null, Func<string, string?>? Text = null, int GivenBack = 0)
{
    private readonly LazyDfa? token = Before is null ? null : new(Pattern), rest = Before is null ? null : new(Before);

    /// <summary>Pattern and what follows: the rules compete by the length of both together.</summary>
    public string Whole => Before is null ? Pattern : $"({Pattern})({Before})";

    /// <summary>Where the token ends within a match of <see cref="Whole"/>: as late as what follows allows.</summary>
    public int Split(ReadOnlySpan<int> match)
    {
        if (token is null) return match.Length;
        List<int> ends = token.Ends(match);
        for (int i = ends.Count - 1; i >= 0; i--)
            if (rest!.Ends(match[ends[i]..]).Contains(match.Length - ends[i])) return ends[i];
        throw new InvalidOperationException($"No split of a match of '{Whole}'.");
    }
}
