using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// Cuts a set of sequences into the batches of an epoch: a shuffle and a packing that are a pure function of the seed and
/// the epoch, so that (epoch, batch) is all that resuming needs.
/// </summary>
public sealed class Batches
{
    /// <summary>What a shuffle is for: the order of sequences is 0, that of batches 1, and this the choice of few of a class.</summary>
    internal const uint ShotsPurpose = 2;

    // Sequences that are packed together: many batches' worth, so that few stay partly filled.
    private const int Window = 1024;

    private readonly EncodedPair[] pairs;
    private readonly Mixture? mixture;
    private readonly int tokenBudget, sequences;
    private readonly ulong seed;

    /// <summary>Prepares the batches.</summary>
    /// <param name="pairs">The sequences.</param>
    /// <param name="tokenBudget">Most tokens in a batch; 0 for no limit. A longer sequence is a batch of its own.</param>
    /// <param name="sequences">Most sequences in a batch; 0 for no limit.</param>
    /// <param name="seed">Seed of the shuffle.</param>
    /// <param name="shuffle">False keeps the given order, for evaluation.</param>
    public Batches(EncodedPair[] pairs, int tokenBudget, int sequences, ulong seed, bool shuffle = true)
    {
        if (tokenBudget <= 0 && sequences <= 0)
            throw new ArgumentException("Batches: neither a token budget nor a number of sequences is given.");
        (this.pairs, this.tokenBudget, this.sequences, this.seed, Shuffled) = (pairs, tokenBudget, sequences, seed, shuffle);
    }

    /// <summary>Prepares the batches of a mixture, whose epochs hold different sequences.</summary>
    internal Batches(Mixture mixture, int tokenBudget, int sequences, ulong seed)
        : this(mixture.Sequences, tokenBudget, sequences, seed) => this.mixture = mixture;

    /// <summary>Whether each epoch has its own order.</summary>
    public bool Shuffled { get; }

    /// <summary>
    /// The batches of an epoch, each as indices into the sequences. Every sequence is in exactly one, but for a mixture's, of which an
    /// epoch holds some once, some not at all and some several times.
    /// </summary>
    public List<int[]> Epoch(int epoch)
    {
        int[] order = mixture is null ? [.. Enumerable.Range(0, pairs.Length)] : [.. mixture.Epoch(epoch)];
        if (Shuffled) Shuffle(order, epoch, 0, seed);
        List<int[]> batches = [];
        for (int start = 0; start < order.Length; start += Window)
        {
            Span<int> window = order.AsSpan(start, Math.Min(Window, order.Length - start));
            if (tokenBudget > 0 && Shuffled) Pack(window, batches);
            else Fill(window, batches);
        }
        if (!Shuffled) return batches;
        int[] batchOrder = [.. Enumerable.Range(0, batches.Count)];
        Shuffle(batchOrder, epoch, 1, seed);
        return [.. batchOrder.Select(i => batches[i])];
    }

    /// <summary>A batch as a token stream.</summary>
    public TokenStream Stream(int[] batch) => TokenStreams.FromPairs(batch.Select(i => pairs[i]));

    /// <summary>Fisher and Yates with Philox words; the modulus' bias at these sizes is below 1e-4 of a position.</summary>
    internal static void Shuffle(int[] items, int epoch, uint purpose, ulong seed)
    {
        for (int i = items.Length - 1; i > 0; i--)
        {
            (uint word, _, _, _) = Philox.Block((uint)i, (uint)epoch, purpose, 0x5348_5546, (uint)seed, (uint)(seed >> 32));
            int j = (int)((ulong)word * (ulong)(i + 1) >> 32);
            (items[i], items[j]) = (items[j], items[i]);
        }
    }

    // Tokens of a sequence in a stream: its last token is only predicted.
    private int Length(int index) => pairs[index].Length - 1;

    // As few batches as hold the window, filled evenly: the longest sequence that is left goes into the emptiest batch. All
    // of them come out about equally long, with short and long sequences in each as in the data.
    private void Pack(Span<int> window, List<int[]> batches)
    {
        // Longest first, in the shuffled order among equals.
        int[] order = [.. window.ToArray().OrderByDescending(Length)];
        int tooLong = order.TakeWhile(i => Length(i) > tokenBudget).Count();
        for (int i = 0; i < tooLong; i++) batches.Add([order[i]]);
        order = order[tooLong..];
        int fewest = (order.Sum(Length) + tokenBudget - 1) / tokenBudget;
        if (sequences > 0) fewest = Math.Max(fewest, (order.Length + sequences - 1) / sequences);
        while (!TryPack(order, fewest, batches)) fewest++;
    }

    private bool TryPack(int[] longestFirst, int count, List<int[]> batches)
    {
        List<int>[] open = [.. Enumerable.Range(0, count).Select(_ => new List<int>())];
        int[] filled = new int[count];
        foreach (int index in longestFirst)
        {
            int emptiest = -1;
            for (int i = 0; i < count; i++)
                if ((sequences == 0 || open[i].Count < sequences) && (emptiest < 0 || filled[i] < filled[emptiest])) emptiest = i;
            if (emptiest < 0 || filled[emptiest] + Length(index) > tokenBudget) return false;
            open[emptiest].Add(index);
            filled[emptiest] += Length(index);
        }
        batches.AddRange(open.Select(batch => batch.ToArray()));
        return true;
    }

    private void Fill(Span<int> window, List<int[]> batches)
    {
        List<int> batch = [];
        int tokens = 0;
        foreach (int index in window)
        {
            bool full = (sequences > 0 && batch.Count == sequences)
                || (tokenBudget > 0 && batch.Count > 0 && tokens + Length(index) > tokenBudget);
            if (full)
            {
                batches.Add([.. batch]);
                batch.Clear();
                tokens = 0;
            }
            batch.Add(index);
            tokens += Length(index);
        }
        if (batch.Count > 0) batches.Add([.. batch]);
    }
}
