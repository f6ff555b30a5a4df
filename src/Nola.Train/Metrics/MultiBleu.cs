namespace Nola.Train.Metrics;

/// <summary>
/// BLEU of Moses' multi-bleu-detok.perl, which GenerationEval reports for WebNLG and DART, in [0, 100] and not rounded to the
/// two digits that the script prints: case matters, an order without a hit makes it 0, and a blank reference is one of
/// length 0.
/// </summary>
public sealed class MultiBleu : IMetric
{
    private const int Order = 4;

    /// <inheritdoc/>
    public string Name => "multi-bleu";

    /// <inheritdoc/>
    public Score Score(Corpus corpus)
    {
        NGramTable table = new();
        long[] hits = new long[Order], lengths = new long[Order];
        long nearest = 0;
        for (int i = 0; i < corpus.Count; i++)
        {
            int[] output = table.Words(MtevalTokenizer.MultiBleu(corpus.Hypotheses[i]));
            int[][] references = [.. corpus.AllReferences[i].Select(r => table.Words(MtevalTokenizer.MultiBleu(r)))];
            new HypothesisGrams(output, Order).AddHits(references, hits);
            for (int n = 0; n < Order; n++) lengths[n] += Math.Max(0, output.Length - n);
            nearest += references.Select(r => r.Length).MinBy(length => (Math.Abs(length - output.Length), length));
        }
        double penalty = lengths[0] == 0 ? 0 : lengths[0] < nearest ? Math.Exp(1 - (double)nearest / lengths[0]) : 1;
        double logs = hits.Zip(lengths, (h, l) => Math.Log((double)h / Math.Max(1, l))).Sum();
        return new(Name, 100 * penalty * Math.Exp(logs / Order), [], new(corpus, "multi-bleu-detok", ("case", "mixed"), ("tok", "13a"), ("order", "4"), ("smooth", "none")));
    }
}
