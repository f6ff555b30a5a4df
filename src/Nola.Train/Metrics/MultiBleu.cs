namespace Nola.Train.Metrics;

/// <summary>
/// BLEU of Moses' multi-bleu-detok.perl, which GenerationEval reports for WebNLG and DART, in [0, 100] and not rounded to the
/// two digits that the script prints: case matters, an order without a hit makes it 0, and a blank reference is one of
/// length 0.
/// </summary>
public sealed class MultiBleu : IMetric
{
    /// <inheritdoc/>
    public string Name => "multi-bleu";

    /// <inheritdoc/>
    public Score Score(Corpus corpus)
    {
        NGramTable table = new();
        BleuCounts counts = new();
        for (int i = 0; i < corpus.Count; i++)
        {
            int[] output = table.Words(MtevalTokenizer.MultiBleu(corpus.Hypotheses[i]));
            int[][] references = [.. corpus.AllReferences[i].Select(r => table.Words(MtevalTokenizer.MultiBleu(r)))];
            counts.Add(output, references, references.Select(r => r.Length));
        }
        long words = counts.Lengths[0];
        double penalty = words == 0 ? 0 : words < counts.Nearest ? Math.Exp(1 - (double)counts.Nearest / words) : 1;
        double logs = counts.Hits.Zip(counts.Lengths, (h, l) => Math.Log((double)h / Math.Max(1, l))).Sum();
        return new(
            Name, 100 * penalty * Math.Exp(logs / BleuCounts.Order), [],
            new(corpus, "multi-bleu-detok", ("case", "mixed"), ("tok", "13a"), ("order", "4"), ("smooth", "none")));
    }
}
