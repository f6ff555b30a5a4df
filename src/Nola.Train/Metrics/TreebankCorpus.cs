namespace Nola.Train.Metrics;

/// <summary>
/// A corpus as coco-caption's tokeniser leaves it: Penn Treebank tokens in lower case without punctuation, joined by
/// spaces. (Brackets stay: the list of punctuation has <c>-LRB-</c>, the lowered text <c>-lrb-</c>.)
/// </summary>
internal sealed record TreebankCorpus(string[] Hypotheses, string[][] References)
{
    private static readonly HashSet<string> punctuation = ["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";"];

    public static TreebankCorpus Of(Corpus corpus)
    {
        string[] hypotheses = Clean(corpus.Hypotheses), references = Clean([.. corpus.References.SelectMany(r => r)]);
        int at = 0;
        string[][] groups = [.. corpus.References.Select(group => references[at..(at += group.Count)])];
        return new(hypotheses, groups);
    }

    private static string[] Clean(IReadOnlyList<string> lines) =>
        [.. PtbTokenizer.Tokenize(lines).Select(tokens => string.Join(' ', tokens.Where(t => !punctuation.Contains(t))))];
}
