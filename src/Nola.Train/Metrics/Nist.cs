using System.Runtime.InteropServices;

namespace Nola.Train.Metrics;

/// <summary>
/// NIST of Doddington (2002) as pymteval of e2e-metrics computes it (LoRA's and NOLA's E2E numbers): the sum over n = 1 … 5
/// of the information in the hits per n-gram of the output, times exp(−β ln²(min(1, c/r))), β = −ln ½ / ln² 1.5, r the
/// average reference length. An n-gram tells log₂(how often its first n−1 words are in the references / how often it is).
/// </summary>
public sealed class Nist : IMetric
{
    private const int Order = 5;

    /// <summary>−ln ½ / ln² 1.5: an output of ⅔ of the length loses half.</summary>
    internal static readonly double Beta = -Math.Log(0.5) / (Math.Log(1.5) * Math.Log(1.5));

    /// <inheritdoc/>
    public string Name => "NIST";

    /// <inheritdoc/>
    public Score Score(Corpus corpus)
    {
        NGramTable table = new();
        NistCounts grams = new(table, Order);
        long[] lengths = new long[Order];
        double averageLength = 0;
        for (int i = 0; i < corpus.Count; i++)
        {
            int[] output = table.Words(MtevalTokenizer.Pymteval(corpus.Hypotheses[i]));
            int[][] references = [.. corpus.PymtevalReferences[i].Select(table.Words)];
            grams.Add(output, references);
            for (int n = 0; n < Order; n++) lengths[n] += output.Length - n;
            int words = references.Sum(r => r.Length);
            CollectionsMarshal.GetValueRefOrAddDefault(grams.InReferences, NGramTable.Empty, out _) += words;
            averageLength += (double)words / references.Length;
        }
        double[] information = grams.Information(table.Prefix);
        // Where the original divides by zero, this n has no share.
        double sum = information.Zip(lengths, (info, length) => length == 0 ? 0 : info / length).Sum();
        return new(
            Name, sum * LengthPenalty(lengths[0] / averageLength), [],
            new(corpus, "pymteval", ("case", "lc"), ("tok", "13a"), ("order", "5")));
    }

    /// <summary>1 for outputs as long as the references or longer, falling to 0 for shorter ones.</summary>
    internal static double LengthPenalty(double ratio) =>
        ratio >= 1 ? 1 : ratio <= 0 ? 0 : Math.Exp(-Beta * Math.Log(ratio) * Math.Log(ratio));
}
