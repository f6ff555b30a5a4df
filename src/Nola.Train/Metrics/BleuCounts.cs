namespace Nola.Train.Metrics;

/// <summary>
/// What every BLEU counts over a corpus: n-grams of the outputs that references have, n-grams in all, and reference lengths.
/// </summary>
/// <param name="negativeLengths">Whether an output shorter than n counts |output| − n + 1 n-grams, below 0, rather than none.</param>
internal sealed class BleuCounts(bool negativeLengths = false)
{
    /// <summary>The longest n-grams.</summary>
    public const int Order = 4;

    /// <summary>For each n, the n-grams of the outputs that are in a reference, clipped by the reference that has most.</summary>
    public long[] Hits { get; } = new long[Order];

    /// <summary>For each n, the n-grams of the outputs.</summary>
    public long[] Lengths { get; } = new long[Order];

    /// <summary>The sum of the reference lengths nearest to each output, the shorter of two as near.</summary>
    public long Nearest { get; private set; }

    /// <summary>Adds an output.</summary>
    /// <param name="output">Its words.</param>
    /// <param name="references">The words of its references.</param>
    /// <param name="lengths">Lengths of the references among which the nearest is looked for.</param>
    public void Add(int[] output, int[][] references, IEnumerable<int> lengths)
    {
        new HypothesisGrams(output, Order).AddHits(references, Hits);
        for (int n = 0; n < Order; n++) Lengths[n] += negativeLengths ? output.Length - n : Math.Max(0, output.Length - n);
        Nearest += lengths.MinBy(length => (Math.Abs(length - output.Length), length));
    }
}
