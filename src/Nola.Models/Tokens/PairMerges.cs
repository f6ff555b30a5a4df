using System.Buffers;
using System.Numerics;
using System.Runtime.InteropServices;

namespace Nola.Models;

/// <summary>
/// The merges of byte-pair encoding, and their application to a word: of all neighboring tokens that merge, those of the lowest rank
/// do, and of equal ranks the leftmost, until none is left. Short words look at all their pairs for each merge; in long ones a queue
/// holds the pairs, so that the time grows with the length times its logarithm.
/// </summary>
internal sealed class PairMerges
{
    // Words up to this length are merged faster without a queue.
    private const int Short = 48;

    // Open addressing: the place of a pair, or the free one that it belongs to, is found in a step or two.
    private readonly ulong[] keys;
    private readonly (int Rank, int Id)[] values;
    private readonly int shift;

    /// <summary>Merges without any yet.</summary>
    /// <param name="count">How many will be added at most.</param>
    public PairMerges(int count)
    {
        int capacity = (int)BitOperations.RoundUpToPowerOf2((uint)Math.Max(16, 2L * count));
        (keys, values, shift) = (new ulong[capacity], new (int, int)[capacity], 64 - BitOperations.Log2((uint)capacity));
    }

    /// <summary>Adds a merge; of a pair that is there already, the one of the lower rank stays.</summary>
    /// <param name="left">The token on the left.</param>
    /// <param name="right">The token after it.</param>
    /// <param name="rank">When it merges: the lowest first.</param>
    /// <param name="id">What the two become.</param>
    public void Add(int left, int right, int rank, int id)
    {
        int at = PlaceOf(left, right);
        if (keys[at] != 0 && values[at].Rank <= rank) return;
        (keys[at], values[at]) = (Key(left, right), (rank, id));
    }

    /// <summary>Merges the tokens from <paramref name="start"/> on.</summary>
    /// <param name="ids">The word as it begins, a token for each byte or character; what is below 0 merges with nothing.</param>
    /// <param name="start">Where the word begins.</param>
    public void Apply(List<int> ids, int start)
    {
        Span<int> word = CollectionsMarshal.AsSpan(ids)[start..];
        int left = word.Length <= Short ? ApplyShort(word) : ApplyLong(word);
        ids.RemoveRange(start + left, word.Length - left);
    }

    private bool Find(int left, int right, out (int Rank, int Id) merge)
    {
        int at = left < 0 || right < 0 ? -1 : PlaceOf(left, right);
        bool found = at >= 0 && keys[at] != 0;
        merge = found ? values[at] : (int.MaxValue, -1);
        return found;
    }

    private int ApplyShort(Span<int> word)
    {
        Span<(int Rank, int Id)> merges = stackalloc (int, int)[Short];
        int count = word.Length;
        for (int i = 0; i + 1 < count; i++) Find(word[i], word[i + 1], out merges[i]);
        while (true)
        {
            int best = 0;
            for (int i = 1; i + 1 < count; i++)
                if (merges[i].Rank < merges[best].Rank) best = i;
            if (count < 2 || merges[best].Id < 0) return count;
            word[best] = merges[best].Id;
            word[(best + 2)..count].CopyTo(word[(best + 1)..]);
            merges[(best + 1)..count].CopyTo(merges[best..]);
            count--;
            if (best > 0) Find(word[best - 1], word[best], out merges[best - 1]);
            if (best + 1 < count) Find(word[best], word[best + 1], out merges[best]);
        }
    }

    private int ApplyLong(Span<int> word)
    {
        Pieces pieces = new(word.Length);
        word.CopyTo(pieces.Ids);
        int count = word.Length;
        for (int i = 0; i < count; i++) Offer(i);
        while (pieces.TryTake(out int rank, out int at))
        {
            // Pairs that were offered and are no more: a part of them went into another.
            if (!FindAt(at, out (int Rank, int Id) merge) || merge.Rank != rank) continue;
            pieces.Join(at, merge.Id);
            if (pieces.Previous[at] >= 0) Offer(pieces.Previous[at]);
            Offer(at);
        }
        int left = 0;
        for (int at = 0; at < count; at = pieces.Next[at]) word[left++] = pieces.Ids[at];
        pieces.Return();
        return left;

        bool FindAt(int at, out (int Rank, int Id) merge)
        {
            merge = default;
            return pieces.Next[at] < count && Find(pieces.Ids[at], pieces.Ids[pieces.Next[at]], out merge);
        }

        void Offer(int at)
        {
            if (FindAt(at, out (int Rank, int Id) merge)) pieces.Offer(merge.Rank, at);
        }
    }

    private int PlaceOf(int left, int right)
    {
        ulong key = Key(left, right);
        int at = (int)(key * 0x9E37_79B9_7F4A_7C15 >> shift);
        while (keys[at] != 0 && keys[at] != key) at = (at + 1) & (keys.Length - 1);
        return at;
    }

    // Never 0, which marks a free place.
    private static ulong Key(int left, int right) => ((ulong)(uint)left << 32 | (uint)right) + 1;

    /// <summary>
    /// The pieces of a word, each of which knows its neighbors, and the pairs that can be joined, in a heap: the lowest rank first, and
    /// of equal ranks the leftmost. The arrays are rented, since a text of one word is encoded in many pieces one after the other.
    /// </summary>
    private sealed class Pieces
    {
        private readonly int count;
        private long[] heap;
        private int size;

        /// <summary>As many pieces of one byte.</summary>
        public Pieces(int count)
        {
            this.count = count;
            (Ids, Next, Previous) = (Rent(count), Rent(count), Rent(count));
            heap = ArrayPool<long>.Shared.Rent(count);
            for (int i = 0; i < count; i++) (Next[i], Previous[i]) = (i + 1, i - 1);
        }

        /// <summary>The token of each piece; −1 for one that was joined to the one before it.</summary>
        public int[] Ids { get; }

        /// <summary>The piece after each; the number of pieces at the end.</summary>
        public int[] Next { get; }

        /// <summary>The piece before each; −1 at the start.</summary>
        public int[] Previous { get; }

        /// <summary>Makes one piece of two neighbors.</summary>
        public void Join(int at, int id)
        {
            int right = Next[at];
            (Ids[at], Ids[right]) = (id, -1);
            Next[at] = Next[right];
            if (Next[at] < count) Previous[Next[at]] = at;
        }

        /// <summary>Puts a pair into the heap, by its left piece.</summary>
        public void Offer(int rank, int at)
        {
            if (size == heap.Length) Grow();
            long pair = (long)rank << 32 | (uint)at;
            int place = size++;
            for (int parent = (place - 1) / 2; place > 0 && heap[parent] > pair; (place, parent) = (parent, (parent - 1) / 2))
                heap[place] = heap[parent];
            heap[place] = pair;
        }

        /// <summary>Takes the first pair out of the heap; false when there is none.</summary>
        public bool TryTake(out int rank, out int at)
        {
            (rank, at) = (0, 0);
            if (size == 0) return false;
            (rank, at) = ((int)(heap[0] >> 32), (int)heap[0]);
            long last = heap[--size];
            int place = 0;
            for (int child = 1; child < size; child = 2 * place + 1)
            {
                if (child + 1 < size && heap[child + 1] < heap[child]) child++;
                if (heap[child] >= last) break;
                heap[place] = heap[child];
                place = child;
            }
            heap[place] = last;
            return true;
        }

        /// <summary>Gives the arrays back; nothing here is used again.</summary>
        public void Return()
        {
            foreach (int[] array in (ReadOnlySpan<int[]>)[Ids, Next, Previous]) ArrayPool<int>.Shared.Return(array);
            ArrayPool<long>.Shared.Return(heap);
        }

        private static int[] Rent(int count) => ArrayPool<int>.Shared.Rent(count);

        private void Grow()
        {
            long[] larger = ArrayPool<long>.Shared.Rent(2 * size);
            heap.AsSpan(0, size).CopyTo(larger);
            ArrayPool<long>.Shared.Return(heap);
            heap = larger;
        }
    }
}
