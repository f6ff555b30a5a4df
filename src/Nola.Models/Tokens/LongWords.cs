using System.Buffers;
using System.Text;

namespace Nola.Models;

/// <summary>
/// Byte-pair encoding of words of any length, in time that grows with the length times its logarithm. The encoder for ordinary words
/// looks at all pairs of a word for each merge, which for a word of a million characters would take days. A word of more than two
/// million characters, which no text has, is encoded in pieces of two million, so that it takes no more memory than one of these.
/// </summary>
internal sealed class LongWords
{
    private const int LongestPiece = 2_000_000;

    private readonly int[] byteIds = new int[256];
    private readonly Dictionary<(int Left, int Right), (int Rank, int Id)> merges = [];

    /// <summary>Prepares the merges.</summary>
    /// <param name="tokens">The vocabulary.</param>
    /// <param name="merges">In order of rank, two tokens with a space between them.</param>
    /// <param name="alphabet">The character that each byte is spelled with.</param>
    public LongWords(IEnumerable<(string Token, int Id)> tokens, IEnumerable<string> merges, ReadOnlySpan<char> alphabet)
    {
        Dictionary<string, int> ids = tokens.ToDictionary(t => t.Token, t => t.Id);
        for (int b = 0; b < 256; b++) byteIds[b] = ids.GetValueOrDefault(alphabet[b].ToString(), -1);
        int rank = 0;
        foreach (string merge in merges)
        {
            int space = merge.IndexOf(' ');
            string left = merge[..space], right = merge[(space + 1)..];
            this.merges.TryAdd((ids[left], ids[right]), (rank++, ids[left + right]));
        }
    }

    /// <summary>Adds the tokens of a word.</summary>
    public void Encode(ReadOnlySpan<char> word, List<int> to)
    {
        while (word.Length > LongestPiece)
        {
            // Not between the halves of a character.
            int end = char.IsHighSurrogate(word[LongestPiece - 1]) ? LongestPiece - 1 : LongestPiece;
            EncodePiece(word[..end], to);
            word = word[end..];
        }
        EncodePiece(word, to);
    }

    private void EncodePiece(ReadOnlySpan<char> word, List<int> to)
    {
        byte[] bytes = ArrayPool<byte>.Shared.Rent(Encoding.UTF8.GetMaxByteCount(word.Length));
        int count = Encoding.UTF8.GetBytes(word, bytes);
        Pieces pieces = new(count);
        for (int i = 0; i < count; i++) pieces.Ids[i] = byteIds[bytes[i]];
        ArrayPool<byte>.Shared.Return(bytes);
        for (int i = 0; i < count; i++) Offer(i);
        while (pieces.TryTake(out int rank, out int at))
        {
            // Pairs that were offered and are no more: a part of them went into another.
            if (!Find(at, out (int Rank, int Id) merge) || merge.Rank != rank) continue;
            pieces.Join(at, merge.Id);
            if (pieces.Previous[at] >= 0) Offer(pieces.Previous[at]);
            Offer(at);
        }
        for (int i = 0; i < count; i++)
            if (pieces.Ids[i] >= 0) to.Add(pieces.Ids[i]);
        pieces.Return();

        bool Find(int at, out (int Rank, int Id) merge)
        {
            merge = default;
            return pieces.Ids[at] >= 0 && pieces.Next[at] < count
                && merges.TryGetValue((pieces.Ids[at], pieces.Ids[pieces.Next[at]]), out merge);
        }

        void Offer(int at)
        {
            if (Find(at, out (int Rank, int Id) merge)) pieces.Offer(merge.Rank, at);
        }
    }

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
