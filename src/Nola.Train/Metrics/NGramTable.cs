using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Nola.Train.Metrics;

/// <summary>
/// Numbers for n-grams: an n-gram is the number of its first n−1 words and of its last word, so that each has a number and
/// knows what it extends. Not safe for threads.
/// </summary>
internal sealed class NGramTable
{
    /// <summary>The n-gram of no words.</summary>
    public const int Empty = 0;

    private readonly Dictionary<string, int> words = [];
    private readonly Dictionary<long, int> byExtension = [];
    private readonly List<(int Prefix, int Order)> grams = [(Empty, 0)];

    /// <summary>N-grams met so far, the empty one among them.</summary>
    public int Count => grams.Count;

    /// <summary>The n-gram without its last word.</summary>
    public int Prefix(int gram) => grams[gram].Prefix;

    /// <summary>Number of words in an n-gram.</summary>
    public int Order(int gram) => grams[gram].Order;

    /// <summary>Numbers of words.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public int[] Words(IReadOnlyList<string> tokens)
    {
        int[] ids = new int[tokens.Count];
        for (int i = 0; i < ids.Length; i++)
        {
            ref int id = ref CollectionsMarshal.GetValueRefOrAddDefault(words, tokens[i], out bool known);
            if (!known) id = words.Count - 1;
            ids[i] = id;
        }
        return ids;
    }

    /// <summary>How often each n-gram of 1 to <paramref name="order"/> words is in a text.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public Dictionary<int, int> Counts(ReadOnlySpan<int> text, int order)
    {
        Dictionary<int, int> counts = new(text.Length * order);
        for (int start = 0; start < text.Length; start++)
        {
            int gram = Empty;
            for (int i = start; i < text.Length && i < start + order; i++)
            {
                gram = Extend(gram, text[i]);
                CollectionsMarshal.GetValueRefOrAddDefault(counts, gram, out _)++;
            }
        }
        return counts;
    }

    /// <summary>The largest count of each n-gram over several texts.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static Dictionary<int, int> Largest(IEnumerable<Dictionary<int, int>> texts)
    {
        Dictionary<int, int> largest = [];
        foreach (Dictionary<int, int> counts in texts)
            foreach ((int gram, int count) in counts)
            {
                ref int most = ref CollectionsMarshal.GetValueRefOrAddDefault(largest, gram, out _);
                most = Math.Max(most, count);
            }
        return largest;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private int Extend(int prefix, int word)
    {
        ref int gram = ref CollectionsMarshal.GetValueRefOrAddDefault(byExtension, ((long)prefix << 32) | (uint)word, out bool known);
        if (known) return gram;
        grams.Add((prefix, grams[prefix].Order + 1));
        return gram = grams.Count - 1;
    }
}
