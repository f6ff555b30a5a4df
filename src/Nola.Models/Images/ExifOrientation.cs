using System.Buffers.Binary;

namespace Nola.Models;

/// <summary>How a camera says that a picture lies: tag 0x0112 of the first directory of EXIF data, which have TIFF's form.</summary>
internal static class ExifOrientation
{
    private const ushort Tag = 0x0112;

    /// <summary>1 to 8; 1, upright, where the data do not say it or cannot be read.</summary>
    /// <param name="tiff">EXIF data from their byte order on.</param>
    public static int Of(ReadOnlySpan<byte> tiff)
    {
        if (tiff.Length < 8) return 1;
        bool little = tiff[0] == (byte)'I';
        if (!tiff.StartsWith(little ? "II"u8 : "MM"u8)) return 1;
        uint first = Four(tiff[4..]);
        if (first > tiff.Length - 2) return 1;
        int entries = Two(tiff[(int)first..]);
        for (int i = 0; i < entries; i++)
        {
            int at = (int)first + 2 + 12 * i;
            if (at + 12 > tiff.Length) return 1;
            if (Two(tiff[at..]) == Tag) return Two(tiff[(at + 8)..]) is >= 1 and <= 8 and var orientation ? orientation : 1;
        }
        return 1;

        ushort Two(ReadOnlySpan<byte> at) =>
            little ? BinaryPrimitives.ReadUInt16LittleEndian(at) : BinaryPrimitives.ReadUInt16BigEndian(at);

        uint Four(ReadOnlySpan<byte> at) =>
            little ? BinaryPrimitives.ReadUInt32LittleEndian(at) : BinaryPrimitives.ReadUInt32BigEndian(at);
    }
}
