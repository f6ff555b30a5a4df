using System.Buffers.Binary;
using System.IO.Compression;
using System.IO.Hashing;
using BitMiracle.LibJpeg.Classic;
using Nola.Models;

namespace Nola.Tests;

/// <summary>Writes small PNG and JPEG files of every kind, for tests of reading them.</summary>
internal static class PictureFiles
{
    public static byte[] Png(
        int width, int height, int depth, int color, byte[][] rows, bool interlaced = false, byte[]? palette = null,
        params (string Name, byte[] Content)[] more)
    {
        using MemoryStream file = new();
        file.Write([0x89, (byte)'P', (byte)'N', (byte)'G', 0x0D, 0x0A, 0x1A, 0x0A]);
        byte[] header = new byte[13];
        BinaryPrimitives.WriteInt32BigEndian(header, width);
        BinaryPrimitives.WriteInt32BigEndian(header.AsSpan(4), height);
        (header[8], header[9], header[12]) = ((byte)depth, (byte)color, interlaced ? (byte)1 : (byte)0);
        Chunk(file, "IHDR", header);
        foreach ((string name, byte[] content) in more) Chunk(file, name, content);
        if (palette is not null) Chunk(file, "PLTE", palette);
        using MemoryStream packed = new();
        using (ZLibStream zlib = new(packed, CompressionMode.Compress, leaveOpen: true))
            foreach (byte[] row in rows) zlib.Write(row);
        byte[] data = packed.ToArray();
        // In two parts, as large files have it.
        Chunk(file, "IDAT", data[..(data.Length / 2)]);
        Chunk(file, "IDAT", data[(data.Length / 2)..]);
        Chunk(file, "IEND", []);
        return file.ToArray();
    }

    /// <summary>A PNG of red, green and blue.</summary>
    public static byte[] Png(RgbImage image) => Png(
        image.Width, image.Height, 8, 2,
        [.. image.Pixels.Chunk(3 * image.Width).Select(row => (byte[])[0, .. row])]);

    public static byte[] Jpeg(int width, int height, int channels, byte[] samples, byte[]? exif = null, bool progressive = false)
    {
        using MemoryStream file = new();
        jpeg_compress_struct encoder = new(new jpeg_error_mgr())
        {
            Image_width = width,
            Image_height = height,
            Input_components = channels,
            In_color_space = channels switch
            {
                1 => J_COLOR_SPACE.JCS_GRAYSCALE,
                3 => J_COLOR_SPACE.JCS_RGB,
                _ => J_COLOR_SPACE.JCS_CMYK,
            },
        };
        encoder.jpeg_set_defaults();
        encoder.jpeg_set_quality(100, true);
        if (progressive) encoder.jpeg_simple_progression();
        encoder.jpeg_stdio_dest(file);
        encoder.jpeg_start_compress(true);
        if (exif is not null) encoder.jpeg_write_marker(0xE1, [.. "Exif\0\0"u8, .. exif]);
        for (int y = 0; y < height; y++)
            encoder.jpeg_write_scanlines([samples[(y * width * channels)..((y + 1) * width * channels)]], 1);
        encoder.jpeg_finish_compress();
        return file.ToArray();
    }

    /// <summary>EXIF data that say how a picture lies.</summary>
    public static byte[] Orientation(byte orientation, bool little) => little
        ? [(byte)'I', (byte)'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 0x01, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0, 0, 0, 0, 0]
        : [(byte)'M', (byte)'M', 0, 42, 0, 0, 0, 8, 0, 1, 0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0, 0, 0, 0, 0];

    private static void Chunk(Stream file, string name, byte[] content)
    {
        byte[] named = [.. System.Text.Encoding.ASCII.GetBytes(name), .. content];
        Span<byte> four = stackalloc byte[4];
        BinaryPrimitives.WriteInt32BigEndian(four, content.Length);
        file.Write(four);
        file.Write(named);
        BinaryPrimitives.WriteUInt32BigEndian(four, Crc32.HashToUInt32(named));
        file.Write(four);
    }
}
