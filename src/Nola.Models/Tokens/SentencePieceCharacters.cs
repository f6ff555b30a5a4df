using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// What a SentencePiece model replaces characters by before it cuts a text (<c>precompiled_charsmap</c>): a double array (Aoe 1989, in
/// the form of darts-clone) from sequences of bytes to places in a list of texts. The longest sequence that is there counts.
/// </summary>
internal sealed class SentencePieceCharacters
{
    private readonly uint[] units = [];
    private readonly byte[] texts = [];

    /// <summary>Reads the table.</summary>
    /// <param name="table">Its bytes; none for a table that replaces nothing.</param>
    /// <param name="path">The file, for messages.</param>
    /// <exception cref="NolaException">It is cut off.</exception>
    public SentencePieceCharacters(byte[] table, string path)
    {
        if (table.Length == 0) return;
        uint size = table.Length >= 4 ? BinaryPrimitives.ReadUInt32LittleEndian(table) : uint.MaxValue;
        if (size > table.Length - 4 || size % 4 != 0)
            throw new NolaException($"{path}: its table of characters is damaged; download the file again.");
        units = MemoryMarshal.Cast<byte, uint>(table.AsSpan(4, (int)size)).ToArray();
        texts = table[(4 + (int)size)..];
    }

    /// <summary>
    /// What the beginning of a text becomes, and how many of its bytes: one character as it is, where nothing is replaced.
    /// </summary>
    public ReadOnlySpan<byte> Next(ReadOnlySpan<byte> text, out int length)
    {
        if (Longest(text, out length) is int at and >= 0)
        {
            ReadOnlySpan<byte> found = texts.AsSpan(at);
            int end = found.IndexOf((byte)0);
            return end < 0 ? found : found[..end];
        }
        Rune.DecodeFromUtf8(text, out _, out length);
        return text[..length];
    }

    // The place of the text for the longest sequence; −1 for none.
    private int Longest(ReadOnlySpan<byte> text, out int length)
    {
        (int value, uint node) = (-1, 0);
        length = 0;
        if (units.Length == 0) return -1;
        node ^= Offset(units[0]);
        for (int i = 0; i < text.Length; i++)
        {
            node ^= text[i];
            if (node >= units.Length || (units[node] & 0x8000_00FF) != text[i]) return value;
            uint unit = units[node];
            node ^= Offset(unit);
            bool ends = (unit >> 8 & 1) == 1 && node < units.Length;
            if (!ends) continue;
            uint place = units[node] & 0x7FFF_FFFF;
            if (place < texts.Length) (value, length) = ((int)place, i + 1);
        }
        return value;
    }

    private static uint Offset(uint unit) => unit >> 10 << (int)((unit & 1 << 9) >> 6);
}
