using System.Runtime.InteropServices;

namespace Nola.Train.Metrics;

/// <summary>What both forms of NIST count: n-grams of all references, and the hits of the outputs.</summary>
internal sealed class NistCounts(NGramTable table, int order)
{
    /// <summary>How often each n-gram is in the references.</summary>
    public Dictionary<int, long> InReferences { get; } = [];

    /// <summary>N-grams of outputs that their references have, each at most as often as the reference with most of it.</summary>
    public List<(int Gram, int Hits)> Hits { get; } = [];

    /// <summary>Adds an output and its references.</summary>
    public void Add(int[] output, int[][] references)
    {
        Dictionary<int, int>[] counts = [.. references.Select(r => table.Counts(r, order))];
        foreach (Dictionary<int, int> text in counts)
            foreach ((int gram, int count) in text)
                CollectionsMarshal.GetValueRefOrAddDefault(InReferences, gram, out _) += count;
        Dictionary<int, int> allowed = NGramTable.Largest(counts);
        foreach ((int gram, int count) in table.Counts(output, order))
            if (allowed.TryGetValue(gram, out int most)) Hits.Add((gram, Math.Min(count, most)));
    }

    /// <summary>
    /// For each n, the information in the hits: log₂(how often the first n − 1 words of an n-gram are in the references / how often
    /// it is).
    /// </summary>
    /// <param name="prefix">The first words of an n-gram, all but its last.</param>
    public double[] Information(Func<int, int> prefix)
    {
        double[] information = new double[order];
        foreach ((int gram, int count) in Hits)
            information[table.Order(gram) - 1] +=
                count * Math.Log((double)InReferences[prefix(gram)] / InReferences[gram]) / Math.Log(2);
        return information;
    }
}
