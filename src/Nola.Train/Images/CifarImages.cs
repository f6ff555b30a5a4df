using Nola.Tensors;

namespace Nola.Train;

/// <summary>The binary files of a CIFAR set, and how many label bytes stand before each image.</summary>
internal sealed record CifarFiles(IReadOnlyList<string> Files, int LabelBytes, string Names);

/// <summary>
/// CIFAR's binary version (Krizhevsky 2009): for each image its label, in CIFAR-100 the coarse one before it, and 32 × 32 bytes of red, of
/// green and of blue.
/// </summary>
internal static class CifarImages
{
    private const int Side = 32, Area = Side * Side;

    /// <summary>The files of a part; null where there are none.</summary>
    public static CifarFiles? Find(string directory, ImagePart part)
    {
        bool trains = part == ImagePart.Train;
        string[] ten = trains ? [.. Enumerable.Range(1, 5).Select(i => $"data_batch_{i}.bin")] : ["test_batch.bin"];
        string[] found = [.. ten.Select(name => Path.Combine(directory, name)).Where(File.Exists)];
        if (found.Length > 0) return new(found, 1, Path.Combine(directory, "batches.meta.txt"));
        string hundred = Path.Combine(directory, trains ? "train.bin" : "test.bin");
        return File.Exists(hundred) ? new([hundred], 2, Path.Combine(directory, "fine_label_names.txt")) : null;
    }

    /// <summary>Reads the files.</summary>
    /// <exception cref="NolaException">A file is not a whole number of images.</exception>
    public static ImageSet Read(CifarFiles set, string name)
    {
        List<LabeledImage> images = [];
        int record = set.LabelBytes + 3 * Area;
        foreach (string path in set.Files)
        {
            byte[] bytes = InputFile.ReadAll(path);
            if (bytes.Length == 0 || bytes.Length % record != 0)
                throw new NolaException(
                    $"{path}: has {bytes.Length} bytes, which is no whole number of images of {record}; take another copy of it.");
            for (int at = 0; at < bytes.Length; at += record)
            {
                int first = at + set.LabelBytes;
                images.Add(new($"{path}, image {at / record}", bytes[first - 1], Side, Side, Colors(bytes, first)));
            }
        }
        return new ImageSet(name, ImageSetReader.Labels(set.Names, images.Max(image => image.Label)), images);
    }

    // Three planes as pixels of three bytes.
    private static byte[] Colors(byte[] bytes, int first)
    {
        byte[] pixels = new byte[3 * Area];
        for (int i = 0; i < Area; i++)
            for (int c = 0; c < 3; c++) pixels[3 * i + c] = bytes[first + c * Area + i];
        return pixels;
    }
}
