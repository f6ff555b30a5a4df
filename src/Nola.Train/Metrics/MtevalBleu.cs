namespace Nola.Train.Metrics;

/// <summary>
/// BLEU of NIST's mteval-v13a (the default of e2e-metrics), in [0, 1]: as <see cref="Bleu"/>, but the k-th order without a hit
/// counts 2⁻ᵏ hits, an order longer than every output counts as 1, and case is lowered in ASCII only.
/// </summary>
public sealed class MtevalBleu : IMetric
{
    /// <inheritdoc/>
    public string Name => "BLEU";

    /// <inheritdoc/>
    public Score Score(Corpus corpus)
    {
        NGramTable table = new();
        BleuCounts counts = new();
        for (int i = 0; i < corpus.Count; i++)
        {
            int[] output = table.Words(MtevalTokenizer.V13a(corpus.Hypotheses[i]));
            int[][] references = [.. corpus.AllReferences[i].Select(r => table.Words(MtevalTokenizer.V13a(r)))];
            // A blank reference counts only where it is the first.
            counts.Add(output, references, references.Where((r, j) => j == 0 || r.Length > 0).Select(r => r.Length));
        }
        double logs = 0, smooth = 1;
        foreach ((long hits, long length) in counts.Hits.Zip(counts.Lengths))
            if (length > 0) logs += Math.Log(hits > 0 ? (double)hits / length : 1 / ((smooth *= 2) * length));
        long words = counts.Lengths[0];
        double penalty = words > 0 ? Math.Exp(Math.Min(0, 1 - (double)counts.Nearest / words)) : 0;
        return new(
            Name, penalty * Math.Exp(logs / BleuCounts.Order), [],
            new(corpus, "mteval-v13a", ("case", "lc-ascii"), ("tok", "13a"), ("order", "4"), ("smooth", "exp")));
    }
}
