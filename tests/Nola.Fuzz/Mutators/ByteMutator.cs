using System.Buffers.Binary;
using System.Text;

namespace Nola.Fuzz;

/// <summary>Damage that knows nothing of a format: flips, inserts, deletions, truncation, repetition, splices, edges of numbers.</summary>
internal static class ByteMutator
{
    /// <summary>The longest input that grows; it is not the size that is tested.</summary>
    private const int Longest = 1 << 20;

    /// <summary>A few damages, one after the other.</summary>
    /// <param name="data">The bytes; unchanged.</param>
    /// <param name="dice">The choices.</param>
    /// <param name="others">What parts are spliced from.</param>
    public static byte[] Mutate(byte[] data, Dice dice, IReadOnlyList<byte[]> others)
    {
        for (int i = dice.Few(); i > 0; i--) data = Once(data, dice, others);
        return data;
    }

    private static byte[] Once(byte[] data, Dice dice, IReadOnlyList<byte[]> others)
    {
        if (data.Length == 0) return dice.Bytes(dice.Length(64));
        int at = dice.Next(data.Length), length = Math.Min(dice.Length(data.Length), data.Length - at);
        return dice.Next(15) switch
        {
            0 or 1 => Put(data, at, [(byte)(data[at] ^ (1 << dice.Next(8)))]),
            2 => Put(data, at, [(byte)dice.Next64()]),
            3 => Insert(data, at, dice.Pick(Evil.Bytes)),
            4 => Put(data, at, dice.Pick(Evil.Bytes)),
            5 => Insert(data, at, dice.Bytes(dice.Length(32))),
            6 or 7 => [.. data.AsSpan(0, at), .. data.AsSpan(at + length)],
            8 => data[..at],
            9 => Repeat(data, at, length, dice),
            10 => Splice(data, at, dice.Pick(others), dice),
            11 => Fill(data, at, length, dice.Pick((byte[])[0, 0xFF, (byte)' ', (byte)'0', (byte)'\n'])),
            12 => Number(data, at, dice),
            13 => Digits(data, at, dice),
            _ => Insert(data, at, Encoding.UTF8.GetBytes(dice.Pick(Evil.Words))),
        };
    }

    private static byte[] Put(byte[] data, int at, byte[] bytes)
    {
        byte[] result = (byte[])data.Clone();
        bytes.AsSpan(0, Math.Min(bytes.Length, data.Length - at)).CopyTo(result.AsSpan(at));
        return result;
    }

    private static byte[] Insert(byte[] data, int at, byte[] bytes) => [.. data.AsSpan(0, at), .. bytes, .. data.AsSpan(at)];

    private static byte[] Fill(byte[] data, int at, int length, byte value)
    {
        byte[] result = (byte[])data.Clone();
        result.AsSpan(at, length).Fill(value);
        return result;
    }

    private static byte[] Repeat(byte[] data, int at, int length, Dice dice)
    {
        int times = Math.Min(dice.Once(20) ? 1000 : dice.Few(), Math.Max(1, (Longest - data.Length) / length));
        byte[] result = new byte[data.Length + times * length];
        data.AsSpan(0, at).CopyTo(result);
        for (int i = 0; i <= times; i++) data.AsSpan(at, length).CopyTo(result.AsSpan(at + i * length));
        data.AsSpan(at + length).CopyTo(result.AsSpan(at + (times + 1) * length));
        return result;
    }

    private static byte[] Splice(byte[] data, int at, byte[] other, Dice dice)
    {
        int from = dice.Next(other.Length);
        return dice.Once(2)
            ? [.. data.AsSpan(0, at), .. other.AsSpan(from)]
            : [.. data.AsSpan(0, at), .. other.AsSpan(from, Math.Min(dice.Length(other.Length), other.Length - from)), .. data.AsSpan(at)];
    }

    // Little-endian numbers of four and eight bytes, as binary headers have them.
    private static byte[] Number(byte[] data, int at, Dice dice)
    {
        long[] edges = [0, 127, 65535, int.MaxValue, int.MinValue, uint.MaxValue, 1L << 40, long.MaxValue, long.MinValue, data.Length];
        long value = dice.Pick(edges);
        byte[] bytes = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(bytes, value + dice.Next(3) - 1);
        return Put(data, dice.Once(3) ? 0 : at, dice.Once(2) ? bytes : bytes[..4]);
    }

    // The next run of digits becomes another number.
    private static byte[] Digits(byte[] data, int at, Dice dice)
    {
        int start = data.AsSpan(at).IndexOfAnyInRange((byte)'0', (byte)'9');
        if (start < 0) return Insert(data, at, Encoding.UTF8.GetBytes(dice.Pick(Evil.Numbers)));
        start += at;
        int end = start;
        while (end < data.Length && data[end] is >= (byte)'0' and <= (byte)'9') end++;
        return [.. data.AsSpan(0, start), .. Encoding.UTF8.GetBytes(dice.Pick(Evil.Numbers)), .. data.AsSpan(end)];
    }
}
