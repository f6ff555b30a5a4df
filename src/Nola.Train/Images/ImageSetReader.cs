using Nola.Tensors;

namespace Nola.Train;

/// <summary>Finds out how a set of images is kept, and reads it.</summary>
internal static class ImageSetReader
{
    private static readonly string[] extensions = [".png", ".jpg", ".jpeg"];
    private static readonly string[] trainFolders = ["train"], testFolders = ["test", "val", "valid", "validation"];

    /// <summary>What the folder of a part is called.</summary>
    public static string FolderOf(ImagePart part) => part == ImagePart.Train ? trainFolders[0] : testFolders[0];

    /// <summary>A part of a set; null where there is none.</summary>
    public static ImageSet? Read(string path, ImagePart part)
    {
        if (EmbeddedImages.Has(path)) return EmbeddedImages.Read(part);
        if (!Directory.Exists(path))
            throw new NolaException($"{path}: there is no such directory of images, and only {EmbeddedImages.Name} is embedded.");
        if (IdxImages.Find(path, part) is { } idx) return IdxImages.Read(idx.Images, idx.Labels, Path.Combine(path, "classes.txt"));
        if (CifarImages.Find(path, part) is { Files.Count: > 0 } cifar) return CifarImages.Read(cifar, path);
        string[] train = Folders(path, trainFolders), test = Folders(path, testFolders);
        if (train.Length == 0 && test.Length == 0) return part == ImagePart.Train ? Classes(path) : null;
        string[] own = part == ImagePart.Train ? train : test;
        return own.Length == 0 ? null : Classes(own[0]);
    }

    /// <summary>The names of classes: a line of a file for each, up to the first tab; their numbers where there is no such file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="last">The highest number of a class.</param>
    /// <exception cref="NolaException">The file cannot be read, or names no class.</exception>
    public static string[] Labels(string path, int last)
    {
        if (!File.Exists(path)) return [.. Enumerable.Range(0, last + 1).Select(i => $"{i}")];
        using TextInput text = TextInput.Open(path);
        return Labels(text, path, last);
    }

    /// <summary>The names of classes in a text.</summary>
    /// <exception cref="NolaException">It cannot be read, or names no class.</exception>
    public static string[] Labels(TextReader text, string path, int last)
    {
        List<string> names = [];
        while (text.ReadLine() is { } line)
            if (line.Trim().Length > 0) names.Add(line.Split('\t')[0].Trim());
        return names.Count > 0 ? [.. names] : throw new NolaException($"{path}: names no class; expected a line for each.");
    }

    private static string[] Folders(string path, string[] names) =>
        [.. names.Select(name => Path.Combine(path, name)).Where(Directory.Exists)];

    private static ImageSet? Classes(string path)
    {
        string[] folders = [.. List(path, Directory.GetDirectories).Where(IsVisible).OrderBy(Path.GetFileName, StringComparer.Ordinal)];
        if (folders.Length == 0)
        {
            if (Pictures(path).Length > 0)
                throw new NolaException($"{path}: its images lie in no folders; put those of each class into a folder of its name.");
            return null;
        }
        List<LabeledImage> images = [];
        for (int label = 0; label < folders.Length; label++)
        {
            string[] pictures = Pictures(folders[label]);
            if (pictures.Length == 0)
                throw new NolaException(
                    $"{folders[label]}: there is no PNG or JPEG file in it; every folder is a class, so put images into it or remove it.");
            images.AddRange(pictures.Select(picture => new LabeledImage(picture, label)));
        }
        return new ImageSet(path, [.. folders.Select(folder => Path.GetFileName(folder)!)], images);
    }

    private static string[] Pictures(string folder) =>
    [
        .. List(folder, Directory.GetFiles).Where(IsVisible)
            .Where(file => extensions.Contains(Path.GetExtension(file).ToLowerInvariant()))
            .OrderBy(Path.GetFileName, StringComparer.Ordinal),
    ];

    private static bool IsVisible(string path) => !Path.GetFileName(path).StartsWith('.');

    private static string[] List(string path, Func<string, string[]> list)
    {
        try
        {
            return list(path);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new NolaException($"{path}: cannot be listed ({error.Message.TrimEnd('.')}).", error);
        }
    }
}
