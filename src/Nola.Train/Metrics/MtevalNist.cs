namespace Nola.Train.Metrics;

/// <summary>
/// NIST of mteval-v13a in the version of e2e-metrics, which allows any number of references: as <see cref="Nist"/>, but an
/// output shorter than n has no n-grams rather than a negative number of them, and the reference length is the sum of all
/// references over their mean number.
/// </summary>
public sealed class MtevalNist : IMetric
{
    private const int Order = 5;

    /// <inheritdoc/>
    public string Name => "NIST";

    /// <inheritdoc/>
    public Score Score(Corpus corpus)
    {
        NGramTable table = new();
        NistCounts grams = new(table, Order);
        long[] lengths = new long[Order];
        long words = 0;
        for (int i = 0; i < corpus.Count; i++)
        {
            int[] output = table.Words(MtevalTokenizer.V13a(corpus.Hypotheses[i]));
            int[][] references = [.. corpus.References[i].Select(r => table.Words(MtevalTokenizer.V13a(r)))];
            grams.Add(output, references);
            for (int n = 0; n < Order; n++) lengths[n] += Math.Max(0, output.Length - n);
            words += references.Sum(r => r.Length);
        }
        grams.InReferences[NGramTable.Empty] = words;
        // The original takes the prefix "0" for none, because Perl takes "0" for false.
        int zero = table.Counts(table.Words(["0"]), 1).Keys.Single();
        double[] information = grams.Information(gram => table.Prefix(gram) == zero ? NGramTable.Empty : table.Prefix(gram));
        double sum = information.Zip(lengths, (info, length) => info / Math.Max(length, 1)).Sum();
        double meanReferences = (double)corpus.ReferenceCount / corpus.Count;
        return new(
            Name, sum * Nist.LengthPenalty(lengths[0] / (words / meanReferences)), [],
            new(corpus, "mteval-v13a-e2e", ("case", "lc-ascii"), ("tok", "13a"), ("order", "5")));
    }
}
