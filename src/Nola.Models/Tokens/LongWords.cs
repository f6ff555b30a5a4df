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
        byte[] bytes = new byte[Encoding.UTF8.GetByteCount(word)];
        Encoding.UTF8.GetBytes(word, bytes);
        // A list of pieces that knows each one's neighbors; a piece that was merged into the one before it is −1.
        int[] ids = Array.ConvertAll(bytes, b => byteIds[b]);
        int[] next = [.. Enumerable.Range(1, ids.Length)], previous = [.. Enumerable.Range(-1, ids.Length)];
        // The lowest rank first, and of equal ranks the leftmost.
        PriorityQueue<int, (int Rank, int At)> queue = new(ids.Length);
        for (int i = 0; i < ids.Length; i++) Offer(i);
        while (queue.TryDequeue(out int at, out (int Rank, int At) place))
        {
            // Pairs that were offered and are no more: a part of them went into another.
            if (!Find(at, out (int Rank, int Id) merge) || merge.Rank != place.Rank) continue;
            int right = next[at];
            (ids[at], ids[right]) = (merge.Id, -1);
            next[at] = next[right];
            if (next[at] < ids.Length) previous[next[at]] = at;
            if (previous[at] >= 0) Offer(previous[at]);
            Offer(at);
        }
        foreach (int id in ids)
            if (id >= 0) to.Add(id);

        bool Find(int at, out (int Rank, int Id) merge)
        {
            merge = default;
            return ids[at] >= 0 && next[at] < ids.Length && merges.TryGetValue((ids[at], ids[next[at]]), out merge);
        }

        void Offer(int at)
        {
            if (Find(at, out (int Rank, int Id) merge)) queue.Enqueue(at, (merge.Rank, at));
        }
    }
}
