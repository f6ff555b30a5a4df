using System.Buffers.Binary;
using BitMiracle.LibJpeg.Classic;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>JPEG by LibJpeg.NET, which is the Independent JPEG Group's own decoder in C#, as most programs use it.</summary>
internal static class JpegReader
{
    /// <summary>Whether a file begins as a JPEG does.</summary>
    public static bool Recognizes(ReadOnlySpan<byte> file) => file is [0xFF, 0xD8, 0xFF, ..];

    /// <summary>Reads a whole file.</summary>
    /// <exception cref="NolaException">It is damaged, of a kind that is not supported, or too large.</exception>
    public static RgbImage Read(byte[] file, string place)
    {
        try
        {
            return Decode(file, place).Upright(Orientation(file));
        }
        // The decoder's own sentence; of a stream that makes no sense, also what its tables run into.
        catch (Exception error) when (error is not (NolaException or OutOfMemoryException))
        {
            throw new NolaException(
                $"{place}: is no whole JPEG image ({Quoted.Of(error.Message.TrimEnd('.'))}); take another copy of it.", error);
        }
    }

    private static RgbImage Decode(byte[] file, string place)
    {
        Errors errors = new();
        jpeg_decompress_struct decoder = new(errors);
        decoder.jpeg_stdio_src(new MemoryStream(file));
        decoder.jpeg_read_header(true);
        (int width, int height) = (decoder.Image_width, decoder.Image_height);
        RgbImage.CheckSize(width, height, place);
        bool inks = decoder.Num_components == 4;
        decoder.Out_color_space = inks ? J_COLOR_SPACE.JCS_CMYK
            : decoder.Num_components == 1 ? J_COLOR_SPACE.JCS_GRAYSCALE : J_COLOR_SPACE.JCS_RGB;
        decoder.jpeg_start_decompress();
        int channels = decoder.Output_components;
        byte[] pixels = new byte[3 * width * height];
        byte[][] row = [new byte[width * channels]];
        for (int y = 0; y < height; y++)
        {
            decoder.jpeg_read_scanlines(row, 1);
            Span<byte> to = pixels.AsSpan(3 * y * width, 3 * width);
            if (channels == 3) row[0].AsSpan(0, to.Length).CopyTo(to);
            else if (channels == 1) for (int x = 0; x < width; x++) to.Slice(3 * x, 3).Fill(row[0][x]);
            else for (int x = 0; x < width; x++) MixInks(row[0].AsSpan(4 * x, 4), to.Slice(3 * x, 3));
        }
        decoder.jpeg_finish_decompress();
        if (errors.Num_warnings > 0) throw new InvalidDataException(errors.Sentence);
        return new RgbImage(width, height, pixels);
    }

    // Files with four inks hold what is left of white by each, as Adobe began it.
    private static void MixInks(ReadOnlySpan<byte> inks, Span<byte> pixel)
    {
        int black = inks[3];
        for (int c = 0; c < 3; c++)
        {
            int product = (255 - inks[c]) * black + 128;
            pixel[c] = (byte)(black - ((product >> 8) + product >> 8));
        }
    }

    // EXIF data are a segment before the pixels.
    private static int Orientation(ReadOnlySpan<byte> file)
    {
        const byte Exif = 0xE1, Scan = 0xDA;
        int at = 2;
        while (at + 4 <= file.Length && file[at] == 0xFF && file[at + 1] != Scan)
        {
            int length = BinaryPrimitives.ReadUInt16BigEndian(file[(at + 2)..]);
            if (length < 2 || at + 2 + length > file.Length) return 1;
            ReadOnlySpan<byte> content = file.Slice(at + 4, length - 2);
            if (file[at + 1] == Exif && content.StartsWith("Exif\0\0"u8)) return ExifOrientation.Of(content[6..]);
            at += 2 + length;
        }
        return 1;
    }

    /// <summary>Keeps what the decoder would write to the terminal.</summary>
    private sealed class Errors : jpeg_error_mgr
    {
        public string Sentence { get; private set; } = "its data are damaged";

        public override void output_message() => Sentence = format_message();
    }
}
