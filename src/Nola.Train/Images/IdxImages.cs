using System.Buffers.Binary;
using System.IO.Compression;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// IDX, the format of MNIST (LeCun et al. 1998): two zeros, the type of an element, the number of dimensions, each as four bytes with the
/// highest first, and the elements. Images are (N, H, W) or (N, H, W, 3) bytes, labels (N).
/// </summary>
internal static class IdxImages
{
    private const byte Bytes = 8;
    private const int LargestSide = 16_384;

    private static readonly string[] train = ["train-", ""], test = ["test-", "t10k-", "val-"];
    private static readonly string[] imageNames = ["images-idx3-ubyte", "images-idx4-ubyte", "images-idx", "images.idx3-ubyte"];
    private static readonly string[] labelNames = ["labels-idx1-ubyte", "labels-idx1", "labels.idx1-ubyte"];

    /// <summary>The files of a part; null where there are none.</summary>
    public static (string Images, string Labels)? Find(string directory, ImagePart part)
    {
        foreach (string prefix in part == ImagePart.Train ? train : test)
        {
            string? images = First(directory, prefix, imageNames);
            if (images is null) continue;
            return First(directory, prefix, labelNames) is { } labels
                ? (images, labels)
                : throw new NolaException($"{images}: there is no file {prefix}labels-idx1-ubyte beside it, which names the classes.");
        }
        return null;
    }

    /// <summary>Reads images and labels.</summary>
    /// <param name="imagesPath">The file of the images; unpacked when it is called <c>.gz</c>.</param>
    /// <param name="labelsPath">The file of the labels.</param>
    /// <param name="classesPath">A line for each class, its name before the first tab; classes are numbered where there is none.</param>
    /// <exception cref="NolaException">A file is damaged, or they do not fit each other.</exception>
    public static ImageSet Read(string imagesPath, string labelsPath, string classesPath)
    {
        using Stream images = Open(imagesPath), labels = Open(labelsPath);
        return Read((images, imagesPath), (labels, labelsPath), last => ImageSetReader.Labels(classesPath, last));
    }

    /// <summary>Reads images and labels, each with what it is called in messages.</summary>
    /// <param name="images">The images.</param>
    /// <param name="labels">Their classes, from 0.</param>
    /// <param name="classes">The names of the classes up to a number.</param>
    /// <exception cref="NolaException">One is damaged, or they do not fit each other.</exception>
    public static ImageSet Read((Stream Stream, string Place) images, (Stream Stream, string Place) labels, Func<int, string[]> classes)
    {
        (int[] size, byte[] pixels) = Read(images.Stream, images.Place, 3, 4);
        (int[] count, byte[] numbers) = Read(labels.Stream, labels.Place, 1, 1);
        if (count[0] != size[0])
            throw new NolaException($"{labels.Place}: has {count[0]} labels, and {images.Place} has {size[0]} images.");
        if (size.Length == 4 && size[3] != 3)
            throw new NolaException($"{images.Place}: its pixels have {size[3]} values; expected 3, red, green and blue.");
        string[] names = classes(numbers.Max());
        (int height, int width) = (size[1], size[2]);
        int length = pixels.Length / Math.Max(1, size[0]);
        return new ImageSet(images.Place, names, [.. numbers.Select((label, i) =>
            new LabeledImage($"{images.Place}, image {i}", label, width, height, pixels.AsMemory(i * length, length)))]);
    }

    private static string? First(string directory, string prefix, string[] names) => names
        .SelectMany(name => (string[])[name, name + ".gz"])
        .Select(name => Path.Combine(directory, prefix + name))
        .FirstOrDefault(File.Exists);

    private static Stream Open(string path)
    {
        FileStream file = InputFile.Open(path);
        return path.EndsWith(".gz", StringComparison.OrdinalIgnoreCase) ? new GZipStream(file, CompressionMode.Decompress) : file;
    }

    private static (int[] Dimensions, byte[] Elements) Read(Stream stream, string path, int least, int most)
    {
        try
        {
            Span<byte> four = stackalloc byte[4];
            stream.ReadExactly(four);
            if (four[0] != 0 || four[1] != 0 || four[2] != Bytes || four[3] < least || four[3] > most)
            {
                string expected = least == most ? $"{least}" : $"{least} or {most}";
                throw new NolaException($"{path}: is no IDX file of bytes in {expected} dimensions, as such sets have them.");
            }
            int[] dimensions = new int[four[3]];
            long length = 1;
            for (int i = 0; i < dimensions.Length; i++)
            {
                stream.ReadExactly(four);
                dimensions[i] = BinaryPrimitives.ReadInt32BigEndian(four);
                if (dimensions[i] < 1 || (i > 0 && dimensions[i] > LargestSide) || (length *= dimensions[i]) > Array.MaxLength)
                    throw new NolaException($"{path}: has sizes that no set of images has; is it damaged?");
            }
            return (dimensions, Elements(stream, path, (int)length));
        }
        catch (Exception error) when (error is InvalidDataException or EndOfStreamException)
        {
            throw new NolaException($"{path}: is not whole; take another copy of it.", error);
        }
    }

    // Grown with what is there, so that a short file that says it is long takes no memory.
    private static byte[] Elements(Stream stream, string path, int length)
    {
        using MemoryStream elements = new();
        byte[] buffer = new byte[1 << 16];
        while (elements.Length < length)
        {
            int read = stream.Read(buffer, 0, (int)Math.Min(buffer.Length, length - elements.Length));
            if (read == 0) throw new EndOfStreamException();
            elements.Write(buffer, 0, read);
        }
        if (stream.ReadByte() >= 0) throw new NolaException($"{path}: has more bytes than its sizes say; is it damaged?");
        return elements.ToArray();
    }
}
