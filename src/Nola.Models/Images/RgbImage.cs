using Nola.Tensors;

namespace Nola.Models;

/// <summary>A picture in memory: rows of pixels, each red, green and blue from 0 to 255.</summary>
public sealed class RgbImage
{
    /// <summary>The most pixels of an image that is read, 89,478,485: a small file can unpack to a picture that fills the memory.</summary>
    public const long MostPixels = 89_478_485;

    /// <summary>A picture of given pixels, which it takes over.</summary>
    /// <param name="width">Pixels of a row.</param>
    /// <param name="height">Number of rows.</param>
    /// <param name="pixels">Row by row, three bytes a pixel. (height, width, 3)</param>
    /// <exception cref="ArgumentException">There are not as many bytes.</exception>
    public RgbImage(int width, int height, byte[] pixels)
    {
        if (width < 1 || height < 1 || pixels.Length != 3L * width * height)
            throw new ArgumentException($"RgbImage: {width} × {height} pixels and {pixels.Length} bytes; expected three for each pixel.");
        (Width, Height, Pixels) = (width, height, pixels);
    }

    /// <summary>Pixels of a row.</summary>
    public int Width { get; }

    /// <summary>Number of rows.</summary>
    public int Height { get; }

    /// <summary>Row by row, three bytes a pixel. (height, width, 3)</summary>
    public byte[] Pixels { get; }

    /// <summary>
    /// Reads a PNG or JPEG file. Gray becomes three equal channels, alpha is dropped, of 16 bits the upper 8 are taken, CMYK is made RGB,
    /// and a picture that its EXIF data call rotated or mirrored is turned upright.
    /// </summary>
    /// <param name="path">The file.</param>
    /// <exception cref="NolaException">It is missing, neither PNG nor JPEG, damaged, or larger than <see cref="MostPixels"/>.</exception>
    public static RgbImage Read(string path) => Decode(InputFile.ReadAll(path), path);

    /// <summary>Reads the bytes of a PNG or JPEG file.</summary>
    /// <param name="file">All bytes of the file.</param>
    /// <param name="place">What to call it in messages.</param>
    /// <exception cref="NolaException">It is neither PNG nor JPEG, damaged, or larger than <see cref="MostPixels"/>.</exception>
    public static RgbImage Decode(byte[] file, string place)
    {
        if (PngReader.Recognizes(file)) return PngReader.Read(file, place);
        if (JpegReader.Recognizes(file)) return JpegReader.Read(file, place);
        if (file.Length == 0) throw new NolaException($"{place}: is empty; expected a PNG or JPEG image.");
        throw new NolaException($"{place}: is no PNG and no JPEG image, which are the kinds that can be read; convert it to one of them.");
    }

    /// <summary>Refuses sizes that no picture of so many bytes needs.</summary>
    internal static void CheckSize(long width, long height, string place)
    {
        if (width * height > MostPixels)
            throw new NolaException(
                $"{place}: is an image of {width} × {height} pixels, and at most {MostPixels:N0} pixels are read; scale it down.");
    }

    /// <summary>The picture upright.</summary>
    /// <param name="orientation">How it lies, as EXIF has it: 1 upright, 2 to 8 mirrored or turned; anything else is as good as 1.</param>
    internal RgbImage Upright(int orientation)
    {
        if (orientation is < 2 or > 8) return this;
        bool turned = orientation >= 5;
        (int width, int height) = turned ? (Height, Width) : (Width, Height);
        byte[] upright = new byte[Pixels.Length];
        for (int y = 0; y < height; y++)
        {
            for (int x = 0; x < width; x++)
            {
                (int fromX, int fromY) = orientation switch
                {
                    2 => (Width - 1 - x, y),
                    3 => (Width - 1 - x, Height - 1 - y),
                    4 => (x, Height - 1 - y),
                    5 => (y, x),
                    6 => (y, Height - 1 - x),
                    7 => (Width - 1 - y, Height - 1 - x),
                    _ => (Width - 1 - y, x),
                };
                Pixels.AsSpan(3 * (fromY * Width + fromX), 3).CopyTo(upright.AsSpan(3 * (y * width + x)));
            }
        }
        return new RgbImage(width, height, upright);
    }
}
