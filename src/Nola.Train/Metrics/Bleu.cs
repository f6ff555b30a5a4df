namespace Nola.Train.Metrics;

/// <summary>
/// BLEU of Papineni et al. (2002) as pymteval of e2e-metrics computes it (LoRA's and NOLA's E2E numbers), in [0, 1]:
/// exp(1 − r/c) where c ≤ r, times (Πₙ hitsₙ / lengthsₙ)^¼ over n = 1 … 4. Hits are clipped by the reference that has most,
/// r sums the reference lengths nearest to each output (the shorter of two as near), and zeros become 1e-15 hits and 1e-9
/// words.
/// </summary>
/// <remarks>lengthsₙ sums |output| − n + 1 over all outputs, also where that is negative, as the original does.</remarks>
public sealed class Bleu : IMetric
{
    private const double LeastHits = 1e-15, LeastLength = 1e-9, LeastWords = 1e-5;

    /// <inheritdoc/>
    public string Name => "BLEU";

    /// <inheritdoc/>
    public Score Score(Corpus corpus)
    {
        NGramTable table = new();
        BleuCounts counts = new(negativeLengths: true);
        for (int i = 0; i < corpus.Count; i++)
        {
            int[] output = table.Words(MtevalTokenizer.Pymteval(corpus.Hypotheses[i]));
            int[][] references = [.. corpus.PymtevalReferences[i].Select(table.Words)];
            counts.Add(output, references, references.Select(r => r.Length));
        }
        long words = counts.Lengths[0];
        double penalty = words <= counts.Nearest ? Math.Exp(1 - counts.Nearest / Math.Max(words, LeastWords)) : 1;
        double logs = counts.Hits.Zip(counts.Lengths, (h, l) => Math.Log(Math.Max(h, LeastHits) / Math.Max(l, LeastLength))).Sum();
        return new(
            Name, penalty * Math.Exp(logs / BleuCounts.Order), [],
            new(corpus, "pymteval", ("case", "lc"), ("tok", "13a"), ("order", "4"), ("smooth", "floor-1e-15")));
    }
}
