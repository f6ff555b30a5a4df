namespace Nola.Train.Metrics;

/// <summary>
/// A corpus as coco-caption's tokenizer leaves it: Penn Treebank tokens in lower case without punctuation, joined by
/// spaces. (Brackets stay: the list of punctuation has <c>-LRB-</c>, the lowered text <c>-lrb-</c>.)
/// </summary>
internal sealed record TreebankCorpus(string[] Hypotheses, string[][] References)
{
    private static readonly HashSet<string> punctuation =
    [
        "''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";",
    ];

    /// <summary>Groups of lines, tokenized as one text.</summary>
    public static string[][] Clean(IReadOnlyList<IReadOnlyList<string>> groups)
    {
        string[] lines = Clean([.. groups.SelectMany(group => group)]);
        int at = 0;
        return [.. groups.Select(group => lines[at..(at += group.Count)])];
    }

    /// <summary>Lines, tokenized as one text.</summary>
    public static string[] Clean(IReadOnlyList<string> lines) =>
        [.. PtbTokenizer.Tokenize(lines).Select(tokens => string.Join(' ', tokens.Where(t => !punctuation.Contains(t))))];
}
