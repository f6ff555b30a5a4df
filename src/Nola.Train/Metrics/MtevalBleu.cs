namespace Nola.Train.Metrics;

/// <summary>
/// BLEU of NIST's mteval-v13a (the default of e2e-metrics), in [0, 1]: as <see cref="Bleu"/>, but the k-th order without a hit
/// counts 2⁻ᵏ hits, an order longer than every output counts as 1, and case is lowered in ASCII only.
/// </summary>
public sealed class MtevalBleu : IMetric
{
    private const int Order = 4;

    /// <inheritdoc/>
    public string Name => "BLEU";

    /// <inheritdoc/>
    public Score Score(Corpus corpus)
    {
        NGramTable table = new();
        long[] hits = new long[Order], lengths = new long[Order];
        long nearest = 0;
        for (int i = 0; i < corpus.Count; i++)
        {
            int[] output = table.Words(MtevalTokenizer.V13a(corpus.Hypotheses[i]));
            int[][] references = [.. corpus.AllReferences[i].Select(r => table.Words(MtevalTokenizer.V13a(r)))];
            new HypothesisGrams(output, Order).AddHits(references, hits);
            for (int n = 0; n < Order; n++) lengths[n] += Math.Max(0, output.Length - n);
            // A blank reference counts only where it is the first.
            nearest += references.Where((r, j) => j == 0 || r.Length > 0).Select(r => r.Length).MinBy(length => (Math.Abs(length - output.Length), length));
        }
        double logs = 0, smooth = 1;
        for (int n = 0; n < Order; n++)
            if (lengths[n] > 0) logs += Math.Log(hits[n] > 0 ? (double)hits[n] / lengths[n] : 1 / ((smooth *= 2) * lengths[n]));
        double penalty = lengths[0] > 0 ? Math.Exp(Math.Min(0, 1 - (double)nearest / lengths[0])) : 0;
        return new(Name, penalty * Math.Exp(logs / Order), [], new(corpus, "mteval-v13a", ("case", "lc-ascii"), ("tok", "13a"), ("order", "4"), ("smooth", "exp")));
    }
}
