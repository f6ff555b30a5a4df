using System.Security.Cryptography;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>Which part of a set of images.</summary>
public enum ImagePart
{
    /// <summary>What is learned from.</summary>
    Train,

    /// <summary>What a trained model is tested on.</summary>
    Test,
}

/// <summary>Images of several classes.</summary>
public sealed class ImageSet
{
    /// <summary>A set of given images.</summary>
    /// <param name="name">What it is called in messages.</param>
    /// <param name="labels">What the classes are called.</param>
    /// <param name="images">The images, each of one of the classes.</param>
    /// <exception cref="NolaException">There is no image, or one is of no class.</exception>
    public ImageSet(string name, IReadOnlyList<string> labels, IReadOnlyList<LabeledImage> images)
    {
        (Name, Labels, Images) = (name, labels, images);
        if (images.Count == 0) throw new NolaException($"{name}: there is no image in it.");
        if (images.FirstOrDefault(image => image.Label < 0 || image.Label >= labels.Count) is { } stranger)
            throw new NolaException($"{stranger.Place}: is of class {stranger.Label}, and there are {labels.Count}, counted from 0.");
    }

    /// <summary>What it is called in messages.</summary>
    public string Name { get; }

    /// <summary>What the classes are called.</summary>
    public IReadOnlyList<string> Labels { get; }

    /// <summary>The images.</summary>
    public IReadOnlyList<LabeledImage> Images { get; }

    /// <summary>
    /// Reads a set: a directory with a folder for each class, also below <c>train</c> and <c>test</c>; IDX files as MNIST has them, gray or
    /// in color; or CIFAR's binary files. Classes of folders are in the order of their names. The embedded set of Greek letters is
    /// <c>greek</c>.
    /// </summary>
    /// <param name="path">The directory, or <c>greek</c>.</param>
    /// <param name="part">Which part of it.</param>
    /// <exception cref="NolaException">There is no such part, or it is none of these.</exception>
    public static ImageSet Read(string path, ImagePart part) => Find(path, part) ?? throw new NolaException(
        $"{path}: there are no images to {(part == ImagePart.Train ? "learn from" : "test on")}; expected a folder for each class with PNG "
        + $"or JPEG files, also below {ImageSetReader.FolderOf(part)}, or IDX files, or CIFAR's binary files."
        + (path == EmbeddedImages.Name ? $" The embedded set {path} is read where no directory is called so." : ""));

    /// <summary>The same; null where the directory has no such part.</summary>
    /// <exception cref="NolaException">There is no such directory, or a file of it is damaged.</exception>
    public static ImageSet? Find(string path, ImagePart part) => ImageSetReader.Read(path, part);

    /// <summary>So many images of each class, chosen by a seed; a pure function of both.</summary>
    /// <param name="count">Images of each class.</param>
    /// <param name="seed">Seed of the choice.</param>
    /// <exception cref="NolaException">A class has fewer.</exception>
    public ImageSet Shots(int count, ulong seed)
    {
        if (count < 1) throw new NolaException($"shots is {count}; expected at least 1.");
        List<int> chosen = [];
        for (int label = 0; label < Labels.Count; label++)
        {
            int[] own = [.. Enumerable.Range(0, Images.Count).Where(i => Images[i].Label == label)];
            if (own.Length < count)
                throw new NolaException(
                    $"{Name}: class {Quoted.Of(Labels[label])} has {own.Length} images, and shots is {count}; ask for fewer, or leave the "
                    + "class out.")
                {
                    Options = ["Shots"],
                };
            Batches.Shuffle(own, label, Batches.ShotsPurpose, seed);
            chosen.AddRange(own[..count]);
        }
        return new ImageSet(Name, Labels, [.. chosen.Order().Select(i => Images[i])]);
    }

    /// <summary>Several sets as one, whose classes are called by their set's directory and their own name.</summary>
    /// <param name="sets">The sets; one alone keeps its names.</param>
    public static ImageSet Join(IReadOnlyList<ImageSet> sets)
    {
        if (sets.Count == 1) return sets[0];
        List<string> labels = [];
        List<LabeledImage> images = [];
        foreach (ImageSet set in sets)
        {
            int first = labels.Count;
            string name = Path.GetFileName(Path.TrimEndingDirectorySeparator(set.Name));
            labels.AddRange(set.Labels.Select(label => $"{name}/{label}"));
            images.AddRange(set.Images.Select(image => image.With(first + image.Label)));
        }
        return new ImageSet(string.Join(", ", sets.Select(set => set.Name)), labels, images);
    }

    /// <summary>The same set under another name.</summary>
    public ImageSet WithName(string name) => new(name, Labels, Images);

    /// <summary>The same images with the class numbers of another set, whose classes these are.</summary>
    /// <param name="labels">That set's classes.</param>
    /// <exception cref="NolaException">A class is not among them.</exception>
    public ImageSet For(IReadOnlyList<string> labels)
    {
        if (labels.SequenceEqual(Labels)) return this;
        Dictionary<string, int> numbers = [];
        for (int i = 0; i < labels.Count; i++) numbers.TryAdd(labels[i], i);
        if (Images.Select(image => Labels[image.Label]).FirstOrDefault(label => !numbers.ContainsKey(label)) is { } stranger)
            throw new NolaException(
                $"{Name}: has images of {Quoted.Of(stranger)}, which is none of the {labels.Count} classes "
                + $"{Quoted.Of(string.Join(", ", labels))}.");
        return new ImageSet(Name, labels, [.. Images.Select(image => image.With(numbers[Labels[image.Label]]))]);
    }

    /// <summary>SHA-256 over the names of the classes, and class and content of every image.</summary>
    internal string Digest()
    {
        using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(System.Text.Encoding.UTF8.GetBytes(string.Join('\n', Labels)));
        foreach (LabeledImage image in Images) image.AddTo(hash);
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }
}
