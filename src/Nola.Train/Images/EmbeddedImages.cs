using System.IO.Compression;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// The set of images that is embedded in this library: the 24 Greek letters of Omniglot (Lake, Salakhutdinov and Tenenbaum 2015, MIT), each
/// written by 20 people, ten to learn from and ten to test on; 28 × 28 pixels, gray. See its NOTICE.md.
/// </summary>
internal static class EmbeddedImages
{
    /// <summary>What it is called where a directory of images is asked for.</summary>
    public const string Name = "greek";

    /// <summary>Its name and paper, its license, and where it is published.</summary>
    public const string Title = "Greek letters of Omniglot (Lake, Salakhutdinov and Tenenbaum 2015), new splits", License = "MIT",
        Home = "https://github.com/brendenlake/omniglot";

    /// <summary>Whether a path is its name; a directory of that name comes first.</summary>
    public static bool Has(string path) => path == Name && !Directory.Exists(path);

    /// <summary>A part of it.</summary>
    public static ImageSet Read(ImagePart part)
    {
        string prefix = part == ImagePart.Train ? "train" : "test";
        using Stream images = Resource(prefix + "-images-idx3-ubyte.gz"), labels = Resource(prefix + "-labels-idx1-ubyte.gz");
        using StreamReader classes = new(Resource("classes.txt"));
        return IdxImages.Read(
            (new GZipStream(images, CompressionMode.Decompress), $"{Name}:{prefix}"),
            (new GZipStream(labels, CompressionMode.Decompress), $"{Name}:{prefix}, labels"),
            last => ImageSetReader.Labels(classes, Name, last));
    }

    private static Stream Resource(string file) => typeof(EmbeddedImages).Assembly.GetManifestResourceStream($"{Name}/{file}")!;
}
