using System.IO.Compression;

namespace Nola.Fuzz;

/// <summary>
/// Damage to gzip files: cut off, wrong checksums, several members, junk behind; and rarely a file of a few MB that unpacks to GBs.
/// </summary>
internal static class GzipMutator
{
    private static readonly Lazy<byte[]>[] bombs =
        [.. "\0 \n[a\""u8.ToArray().Select(b => new Lazy<byte[]>(() => Pack(Filled(b, 1 << 24))))];

    /// <summary>Compresses.</summary>
    public static byte[] Pack(byte[] data)
    {
        using MemoryStream packed = new();
        using (GZipStream stream = new(packed, CompressionLevel.Fastest, leaveOpen: true)) stream.Write(data);
        return packed.ToArray();
    }

    /// <summary>Damages a compressed file.</summary>
    public static byte[] Mutate(byte[] packed, Dice dice, IReadOnlyList<byte[]> others) => dice.Next(8) switch
    {
        _ when dice.Once(400) => Bomb(packed, dice),
        0 => packed[..dice.Next(packed.Length)],
        1 => Changed(packed, packed.Length - 1 - dice.Next(8), dice),
        2 => Changed(packed, dice.Next(10), dice),
        3 => [.. packed, .. packed],
        4 => [.. packed, .. dice.Bytes(dice.Length(64))],
        5 => Pack(packed),
        6 => [.. packed, .. new byte[dice.Length(1000)]],
        _ => ByteMutator.Mutate(packed, dice, others),
    };

    // 16 MiB a member: 256 of them are 4 MB and unpack to 4 GiB.
    private static byte[] Bomb(byte[] packed, Dice dice)
    {
        byte[] member = dice.Pick(bombs).Value;
        return [.. dice.Once(2) ? packed : [], .. Enumerable.Repeat(member, 1 << dice.Next(9)).SelectMany(m => m)];
    }

    private static byte[] Changed(byte[] data, int at, Dice dice)
    {
        byte[] result = (byte[])data.Clone();
        result[Math.Clamp(at, 0, data.Length - 1)] ^= (byte)(1 + dice.Next(255));
        return result;
    }

    private static byte[] Filled(byte value, int length)
    {
        byte[] bytes = new byte[length];
        bytes.AsSpan().Fill(value);
        return bytes;
    }
}
