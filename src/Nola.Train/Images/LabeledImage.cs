using System.Buffers.Binary;
using System.Security.Cryptography;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>An image and the number of its class: a file that is read when it is asked for, or pixels of a set that is in memory.</summary>
public sealed class LabeledImage
{
    private readonly ReadOnlyMemory<byte> pixels;
    private readonly string? path;
    private readonly int width, height;

    /// <summary>An image in a file.</summary>
    /// <param name="path">A PNG or JPEG file.</param>
    /// <param name="label">The number of its class.</param>
    public LabeledImage(string path, int label) => (this.path, Place, Label) = (path, path, label);

    // One byte a pixel for gray, or three.
    internal LabeledImage(string place, int label, int width, int height, ReadOnlyMemory<byte> pixels) =>
        (Place, Label, this.width, this.height, this.pixels) = (place, label, width, height, pixels);

    /// <summary>The file, or the file of the set and the place in it.</summary>
    public string Place { get; }

    /// <summary>The number of its class.</summary>
    public int Label { get; }

    /// <summary>The picture.</summary>
    /// <exception cref="NolaException">The file cannot be read, or is no image.</exception>
    public RgbImage Read()
    {
        if (path is not null) return RgbImage.Read(path);
        if (pixels.Length == 3 * width * height) return new RgbImage(width, height, pixels.ToArray());
        byte[] colors = new byte[3 * pixels.Length];
        for (int i = 0; i < pixels.Length; i++) colors.AsSpan(3 * i, 3).Fill(pixels.Span[i]);
        return new RgbImage(width, height, colors);
    }

    /// <summary>The same image, called by another number.</summary>
    internal LabeledImage With(int label) =>
        path is not null ? new(path, label) : new(Place, label, width, height, pixels);

    /// <summary>Adds class and content to a digest: the bytes of the file, or size and pixels.</summary>
    internal void AddTo(IncrementalHash hash)
    {
        Span<byte> numbers = stackalloc byte[12];
        BinaryPrimitives.WriteInt32LittleEndian(numbers, Label);
        BinaryPrimitives.WriteInt32LittleEndian(numbers[4..], width);
        BinaryPrimitives.WriteInt32LittleEndian(numbers[8..], height);
        hash.AppendData(numbers);
        hash.AppendData(path is not null ? InputFile.ReadAll(path) : pixels.Span);
    }
}
