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
    private readonly PairMerges merges;

    /// <summary>Prepares the merges.</summary>
    /// <param name="tokens">The vocabulary.</param>
    /// <param name="merges">In order of rank, two tokens with a space between them.</param>
    /// <param name="alphabet">The character that each byte is spelled with.</param>
    public LongWords(IEnumerable<(string Token, int Id)> tokens, IEnumerable<string> merges, ReadOnlySpan<char> alphabet)
    {
        Dictionary<string, int> ids = tokens.ToDictionary(t => t.Token, t => t.Id);
        for (int b = 0; b < 256; b++) byteIds[b] = ids.GetValueOrDefault(alphabet[b].ToString(), -1);
        List<string> ranked = [.. merges];
        this.merges = new(ranked.Count);
        for (int rank = 0; rank < ranked.Count; rank++)
        {
            int space = ranked[rank].IndexOf(' ');
            string left = ranked[rank][..space], right = ranked[rank][(space + 1)..];
            this.merges.Add(ids[left], ids[right], rank, ids[left + right]);
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
        int count = Encoding.UTF8.GetBytes(word, bytes), start = to.Count;
        for (int i = 0; i < count; i++) to.Add(byteIds[bytes[i]]);
        ArrayPool<byte>.Shared.Return(bytes);
        merges.Apply(to, start);
        to.RemoveAll(id => id < 0);
    }
}
