namespace Nola.Train.Metrics;

/// <summary>
/// ROUGE-L of coco-caption, in [0, 1]: (1 + β²)·P·R / (R + β²·P), β = 1.2, with the longest common subsequence over the
/// output's length (P) and over the reference's (R), each the best over the references, averaged over outputs.
/// </summary>
public sealed class RougeL : IMetric
{
    private const double Beta = 1.2;

    /// <inheritdoc/>
    public string Name => "ROUGE_L";

    /// <inheritdoc/>
    public Score Score(Corpus corpus)
    {
        double[] segments = new double[corpus.Count];
        for (int i = 0; i < segments.Length; i++) segments[i] = Segment(corpus.Treebank.Hypotheses[i], corpus.Treebank.References[i]);
        return new(
            Name, segments.Average(), segments,
            new(corpus, "coco-caption", ("case", "lc"), ("tok", "ptb-3.7.0"), ("punct", "no"), ("beta", "1.2")));
    }

    private static double Segment(string hypothesis, string[] references)
    {
        // An empty text is one empty token, for which there may be a match.
        string[] output = hypothesis.Split(' ');
        double precision = 0, recall = 0;
        foreach (string reference in references)
        {
            string[] words = reference.Split(' ');
            double common = CommonSubsequence.Length(output, words);
            precision = Math.Max(precision, common / output.Length);
            recall = Math.Max(recall, common / words.Length);
        }
        return precision == 0 ? 0 : (1 + Beta * Beta) * precision * recall / (recall + Beta * Beta * precision);
    }
}
