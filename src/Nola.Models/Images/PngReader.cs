using System.Buffers.Binary;
using System.IO.Compression;
using System.IO.Hashing;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// PNG (ISO/IEC 15948): all color types and depths, interlaced or not, on .NET's zlib. Chunks are checked by their sums, and nothing is
/// allocated before the size was looked at.
/// </summary>
internal sealed class PngReader
{
    private const int Gray = 0, Rgb = 2, Palette = 3, GrayAlpha = 4, RgbAlpha = 6;

    // The seven passes of interlacing: first pixel, and steps between pixels.
    private static readonly (int X, int Y, int StepX, int StepY)[] passes =
    [
        (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2),
    ];

    private readonly string place;
    private readonly List<byte[]> data = [];
    private int width, height, depth, color, orientation = 1;
    private bool interlaced;
    private byte[] palette = [];

    private PngReader(string place) => this.place = place;

    private static ReadOnlySpan<byte> Signature => [0x89, (byte)'P', (byte)'N', (byte)'G', 0x0D, 0x0A, 0x1A, 0x0A];

    /// <summary>Whether a file begins as a PNG does.</summary>
    public static bool Recognizes(ReadOnlySpan<byte> file) => file.StartsWith(Signature);

    /// <summary>Reads a whole file.</summary>
    /// <exception cref="NolaException">It is damaged, or too large.</exception>
    public static RgbImage Read(byte[] file, string place)
    {
        PngReader reader = new(place);
        reader.ReadChunks(file);
        return reader.Unpack().Upright(reader.orientation);
    }

    private int Samples => color switch { Gray or Palette => 1, GrayAlpha => 2, Rgb => 3, _ => 4 };

    private void ReadChunks(byte[] file)
    {
        int at = Signature.Length;
        bool ended = false;
        while (!ended)
        {
            if (file.Length - at < 12) throw Damaged("it ends in the middle");
            uint length = BinaryPrimitives.ReadUInt32BigEndian(file.AsSpan(at));
            if (length > file.Length - at - 12) throw Damaged("it ends in the middle");
            ReadOnlySpan<byte> named = file.AsSpan(at + 4, 4 + (int)length), content = named[4..];
            at += 12 + (int)length;
            uint sum = BinaryPrimitives.ReadUInt32BigEndian(file.AsSpan(at - 4));
            if (sum != Crc32.HashToUInt32(named)) throw Damaged("a checksum is wrong");
            ended = Take(named[..4], content);
        }
        if (data.Count == 0) throw Damaged("it has no pixels");
    }

    // One chunk; true for the last.
    private bool Take(ReadOnlySpan<byte> name, ReadOnlySpan<byte> content)
    {
        if (width == 0 && !name.SequenceEqual("IHDR"u8)) throw Damaged("it does not begin with its size");
        if (name.SequenceEqual("IEND"u8)) return true;
        if (name.SequenceEqual("IHDR"u8)) ReadHeader(content);
        else if (name.SequenceEqual("IDAT"u8)) data.Add(content.ToArray());
        else if (name.SequenceEqual("PLTE"u8)) palette = content.ToArray();
        else if (name.SequenceEqual("eXIf"u8)) orientation = ExifOrientation.Of(content);
        // A capital says that nobody may pass over it.
        else if ((name[0] & 0x20) == 0) throw Damaged($"it has a part {Quoted.Of(System.Text.Encoding.Latin1.GetString(name))}");
        return false;
    }

    private void ReadHeader(ReadOnlySpan<byte> content)
    {
        if (width != 0 || content.Length != 13) throw Damaged("its header is none");
        uint wide = BinaryPrimitives.ReadUInt32BigEndian(content), high = BinaryPrimitives.ReadUInt32BigEndian(content[4..]);
        if (wide is 0 or > int.MaxValue || high is 0 or > int.MaxValue) throw Damaged("its header is none");
        RgbImage.CheckSize(wide, high, place);
        (width, height, depth, color, interlaced) = ((int)wide, (int)high, content[8], content[9], content[12] == 1);
        bool known = color switch
        {
            Gray => depth is 1 or 2 or 4 or 8 or 16,
            Palette => depth is 1 or 2 or 4 or 8,
            Rgb or GrayAlpha or RgbAlpha => depth is 8 or 16,
            _ => false,
        };
        if (!known || content[10] != 0 || content[11] != 0 || content[12] > 1) throw Damaged("its header is none");
    }

    private RgbImage Unpack()
    {
        if (color == Palette && palette.Length is 0 or > 768 || palette.Length % 3 != 0) throw Damaged("its palette is none");
        byte[] pixels = new byte[3 * width * height];
        using ZLibStream stream = new(new MemoryStream(data.SelectMany(piece => piece).ToArray()), CompressionMode.Decompress);
        try
        {
            if (!interlaced) ReadPass(stream, pixels, (0, 0, 1, 1));
            else foreach ((int, int, int, int) pass in passes) ReadPass(stream, pixels, pass);
            // The sum of the whole stands behind its last byte.
            stream.ReadByte();
        }
        catch (Exception error) when (error is InvalidDataException or EndOfStreamException)
        {
            throw Damaged("its pixels are not whole");
        }
        return new RgbImage(width, height, pixels);
    }

    // The rows of a pass, each with a byte that says what its bytes are differences to.
    private void ReadPass(Stream stream, byte[] pixels, (int X, int Y, int StepX, int StepY) pass)
    {
        int columns = (width - pass.X + pass.StepX - 1) / pass.StepX, rows = (height - pass.Y + pass.StepY - 1) / pass.StepY;
        if (columns <= 0 || rows <= 0) return;
        int bits = Samples * depth, step = Math.Max(1, bits / 8);
        byte[] row = new byte[(int)(((long)columns * bits + 7) / 8)], above = new byte[row.Length];
        for (int y = 0; y < rows; y++)
        {
            int filter = stream.ReadByte();
            if (filter < 0) throw new EndOfStreamException();
            stream.ReadExactly(row);
            Unfilter(filter, row, above, step);
            int at = 3 * ((pass.Y + y * pass.StepY) * width + pass.X);
            for (int x = 0; x < columns; x++, at += 3 * pass.StepX) Put(row, x, pixels.AsSpan(at, 3));
            (row, above) = (above, row);
        }
    }

    private void Unfilter(int filter, byte[] row, byte[] above, int step)
    {
        switch (filter)
        {
            case 0:
                return;
            case 1:
                for (int i = step; i < row.Length; i++) row[i] += row[i - step];
                return;
            case 2:
                for (int i = 0; i < row.Length; i++) row[i] += above[i];
                return;
            case 3:
                for (int i = 0; i < row.Length; i++) row[i] += (byte)(((i < step ? 0 : row[i - step]) + above[i]) / 2);
                return;
            case 4:
                for (int i = 0; i < row.Length; i++)
                    row[i] += i < step ? above[i] : Paeth(row[i - step], above[i], above[i - step]);
                return;
            default:
                throw Damaged("a row has a filter that there is not");
        }
    }

    private static byte Paeth(int left, int up, int corner)
    {
        int estimate = left + up - corner;
        int a = Math.Abs(estimate - left), b = Math.Abs(estimate - up), c = Math.Abs(estimate - corner);
        return (byte)(a <= b && a <= c ? left : b <= c ? up : corner);
    }

    private void Put(byte[] row, int x, Span<byte> pixel)
    {
        if (color == Palette)
        {
            int entry = 3 * Sample(row, x);
            // What the palette does not have is black.
            if (entry + 3 <= palette.Length) palette.AsSpan(entry, 3).CopyTo(pixel);
            return;
        }
        int first = x * Samples;
        if (color is Rgb or RgbAlpha) for (int c = 0; c < 3; c++) pixel[c] = (byte)Sample(row, first + c);
        else pixel.Fill((byte)(depth < 8 ? Sample(row, first) * 255 / ((1 << depth) - 1) : Sample(row, first)));
    }

    // Of 16 bits the upper eight.
    private int Sample(byte[] row, int i) => depth switch
    {
        8 => row[i],
        16 => row[2 * i],
        _ => (row[i * depth / 8] >> (8 - depth - i * depth % 8)) & ((1 << depth) - 1),
    };

    private NolaException Damaged(string why) => new($"{place}: is no whole PNG image ({why}); take another copy of it.");
}
