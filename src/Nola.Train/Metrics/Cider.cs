namespace Nola.Train.Metrics;

/// <summary>
/// CIDEr-D of Vedantam et al. (2015) as coco-caption computes it, in [0, 10] (usually; a metric of agreement): ten times the
/// mean over n = 1 … 4 and references of the clipped cosine between tf-idf vectors of n-grams, damped by
/// exp(−Δ² / 2σ²), σ = 6, where Δ is the difference of lengths (in bigrams, as the original counts them). idf is
/// ln(outputs) − ln(outputs whose references have the n-gram).
/// </summary>
public sealed class Cider : IMetric
{
    private const int Order = 4;
    private const double Sigma = 6;

    /// <inheritdoc/>
    public string Name => "CIDEr";

    /// <inheritdoc/>
    public Score Score(Corpus corpus)
    {
        NGramTable table = new();
        Dictionary<int, int>[][] references =
            [.. corpus.Treebank.References.Select(group => group.Select(r => Counts(table, r)).ToArray())];
        Dictionary<int, int>[] outputs = [.. corpus.Treebank.Hypotheses.Select(h => Counts(table, h))];
        int[] documents = new int[table.Count];
        foreach (Dictionary<int, int>[] group in references)
            foreach (int gram in group.SelectMany(r => r.Keys).Distinct()) documents[gram]++;
        double[] idf = [.. documents.Select(d => Math.Log(corpus.Count) - Math.Log(Math.Max(1, d)))];
        double[] segments = new double[corpus.Count];
        for (int i = 0; i < segments.Length; i++)
        {
            Vector output = new(table, idf, outputs[i]);
            segments[i] = 10 * references[i].Average(r => Similarity(table, output, new(table, idf, r)));
        }
        return new(
            Name, segments.Average(), segments,
            new(corpus, "coco-caption", ("case", "lc"), ("tok", "ptb-3.7.0"), ("punct", "no"), ("order", "4"), ("sigma", "6")));
    }

    private static Dictionary<int, int> Counts(NGramTable table, string text) => table.Counts(table.Words(UnicodeText.Words(text)), Order);

    private static double Similarity(NGramTable table, Vector output, Vector reference)
    {
        double[] products = new double[Order];
        foreach ((int gram, double weight) in output.Weights)
            if (reference.Weights.TryGetValue(gram, out double other)) products[table.Order(gram) - 1] += Math.Min(weight, other) * other;
        double delta = output.Bigrams - reference.Bigrams, sum = 0;
        for (int n = 0; n < Order; n++)
        {
            double norms = output.Norms[n] * reference.Norms[n];
            sum += norms == 0 ? products[n] : products[n] / norms;
        }
        return sum / Order * Math.Exp(-delta * delta / (2 * Sigma * Sigma));
    }

    /// <summary>tf·idf of each n-gram of a text, the length of the vector of each order, and the text's length.</summary>
    private sealed class Vector
    {
        public Vector(NGramTable table, double[] idf, Dictionary<int, int> counts)
        {
            foreach ((int gram, int count) in counts)
            {
                double weight = Weights[gram] = count * idf[gram];
                Norms[table.Order(gram) - 1] += weight * weight;
                if (table.Order(gram) == 2) Bigrams += count;
            }
            for (int n = 0; n < Order; n++) Norms[n] = Math.Sqrt(Norms[n]);
        }

        public Dictionary<int, double> Weights { get; } = [];

        public double[] Norms { get; } = new double[Order];

        public int Bigrams { get; }
    }
}
