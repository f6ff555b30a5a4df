using System.Runtime.CompilerServices;

namespace Nola.Train.Metrics;

/// <summary>
/// The n-grams of an output of 1 … order words, and how often they are in references: a reference is walked only as far as
/// the output goes with it. Words are numbers from any numbering.
/// </summary>
internal sealed class HypothesisGrams
{
    private readonly Dictionary<long, int> next = [];
    private readonly List<int> orders = [], counts = [];
    private readonly int order;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public HypothesisGrams(ReadOnlySpan<int> words, int order)
    {
        this.order = order;
        for (int start = 0; start < words.Length; start++)
            for (int i = start, gram = -1; i < words.Length && i < start + order; i++)
            {
                long key = Key(gram, words[i]);
                if (!next.TryGetValue(key, out gram))
                {
                    gram = next[key] = orders.Count;
                    orders.Add(i - start + 1);
                    counts.Add(0);
                }
                counts[gram]++;
            }
    }

    /// <summary>How often each n-gram of the output is in a reference.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public int[] CountIn(ReadOnlySpan<int> reference)
    {
        int[] found = new int[counts.Count];
        for (int start = 0; start < reference.Length; start++)
            for (int i = start, gram = -1; i < reference.Length && i < start + order
                && next.TryGetValue(Key(gram, reference[i]), out gram); i++)
                found[gram]++;
        return found;
    }

    /// <summary>
    /// Adds, for every order, how many n-grams of the output are in a reference,
    /// each at most as often as <paramref name="allowed"/>.
    /// </summary>
    public void AddHits(int[] allowed, long[] hits)
    {
        for (int gram = 0; gram < allowed.Length; gram++) hits[orders[gram] - 1] += Math.Min(counts[gram], allowed[gram]);
    }

    /// <summary>Adds the hits, each n-gram allowed as often as in the reference that has most of it.</summary>
    public void AddHits(IEnumerable<int[]> references, long[] hits)
    {
        int[] allowed = new int[counts.Count];
        foreach (int[] reference in references)
        {
            int[] found = CountIn(reference);
            for (int gram = 0; gram < found.Length; gram++) allowed[gram] = Math.Max(allowed[gram], found[gram]);
        }
        AddHits(allowed, hits);
    }

    private static long Key(int gram, int word) => ((long)gram << 32) | (uint)word;
}
