using System.IO.Compression;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

/// <summary>Sets of images in each of their forms, the choice of few, and what is no set.</summary>
public sealed class ImageSetTests : IDisposable
{
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    public void Dispose() => Directory.Delete(directory, recursive: true);

    [Fact]
    public void A_folder_for_each_class_is_a_set_alone_or_below_train_and_test()
    {
        Picture("b/2.png", 1);
        Picture("a/1.PNG", 2);
        Picture("a/0.png", 3);
        Picture("a/.hidden.png", 4);
        File.WriteAllText(Path.Combine(directory, "a", "notes.txt"), "no picture");
        ImageSet set = ImageSet.Read(directory, ImagePart.Train);
        Assert.Equal(["a", "b"], set.Labels);
        Assert.Equal([(0, 3), (0, 2), (1, 1)], set.Images.Select(image => (image.Label, (int)image.Read().Pixels[0])));
        Assert.Null(ImageSet.Find(directory, ImagePart.Test));
        string parts = Path.Combine(directory, "parts");
        Directory.CreateDirectory(parts);
        Directory.Move(Path.Combine(directory, "a"), Path.Combine(parts, "a"));
        Directory.CreateDirectory(Path.Combine(directory, "whole", "test"));
        Directory.Move(parts, Path.Combine(directory, "whole", "train"));
        Directory.Move(Path.Combine(directory, "b"), Path.Combine(directory, "whole", "test", "a"));
        Assert.Equal(2, ImageSet.Read(Path.Combine(directory, "whole"), ImagePart.Train).Images.Count);
        Assert.Equal(1, Assert.Single(ImageSet.Read(Path.Combine(directory, "whole"), ImagePart.Test).Images).Read().Pixels[0]);
    }

    [Theory]
    [InlineData("train-images-idx3-ubyte", "train-labels-idx1-ubyte", 1)]
    [InlineData("train-images-idx.gz", "train-labels-idx1.gz", 3)]
    [InlineData("images-idx", "labels-idx1", 3)]
    public void IDX_files_hold_gray_or_color_packed_or_not(string images, string labels, int channels)
    {
        byte[] pixels = [.. Enumerable.Range(0, 3 * 2 * 2 * channels).Select(i => (byte)(i + 1))];
        byte[] colors = channels == 1 ? [] : [0, 0, 0, 3];
        Write(images, [0, 0, 8, (byte)(channels == 1 ? 3 : 4), 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 2, .. colors, .. pixels]);
        Write(labels, [0, 0, 8, 1, 0, 0, 0, 3, 1, 0, 1]);
        ImageSet set = ImageSet.Read(directory, ImagePart.Train);
        Assert.Equal(["0", "1"], set.Labels);
        Assert.Equal([1, 0, 1], set.Images.Select(image => image.Label));
        byte[] second = set.Images[1].Read().Pixels;
        Assert.Equal(channels == 1 ? [5, 5, 5, 6, 6, 6, 7, 7, 7, 8, 8, 8] : pixels[12..24], second);
        File.WriteAllText(Path.Combine(directory, "classes.txt"), "cat\t7\ndog\t8\n");
        Assert.Equal(["cat", "dog"], ImageSet.Read(directory, ImagePart.Train).Labels);
    }

    [Fact]
    public void CIFARs_files_hold_planes_of_red_green_and_blue()
    {
        byte[] image = [.. Enumerable.Range(0, 3072).Select(i => (byte)(i / 1024 + 1))];
        Write("data_batch_1.bin", [7, .. image, 2, .. image]);
        Write("test_batch.bin", [1, .. image]);
        string names = string.Join('\n', Enumerable.Range(0, 10).Select(i => $"c{i}"));
        File.WriteAllText(Path.Combine(directory, "batches.meta.txt"), names + "\n\n");
        ImageSet set = ImageSet.Read(directory, ImagePart.Train);
        Assert.Equal([7, 2], set.Images.Select(i => i.Label));
        Assert.Equal("c7", set.Labels[7]);
        Assert.Equal([1, 2, 3, 1, 2, 3], set.Images[1].Read().Pixels[..6]);
        Assert.Single(ImageSet.Read(directory, ImagePart.Test).Images);
        Write("batches.meta.txt", [(byte)'c', 0xFF, (byte)'\n']);
        string refused = Assert.Throws<NolaException>(() => ImageSet.Read(directory, ImagePart.Train)).Message;
        Assert.Contains("batches.meta.txt", refused);
        Assert.Contains("UTF-8", refused);
    }

    [Fact]
    public void Greek_letters_are_embedded()
    {
        ImageSet train = ImageSet.Read("greek", ImagePart.Train), test = ImageSet.Read("greek", ImagePart.Test);
        Assert.Equal((24, "Alpha", "Omega"), (train.Labels.Count, train.Labels[0], train.Labels[^1]));
        Assert.Equal(train.Labels, test.Labels);
        foreach (ImageSet part in (ImageSet[])[train, test])
        {
            Assert.Equal(Enumerable.Range(0, 24).Select(_ => 10), part.Images.CountBy(image => image.Label).Select(pair => pair.Value));
            Assert.All(part.Images, image => Assert.Equal((28, 28), (image.Read().Width, image.Read().Height)));
        }
        // No drawing is in both.
        Assert.Equal(480, train.Images.Concat(test.Images).Select(image => Convert.ToHexString(image.Read().Pixels)).Distinct().Count());
        Assert.Contains("only greek is embedded", Assert.Throws<NolaException>(() => ImageSet.Read("latin", ImagePart.Train)).Message);
    }

    [Fact]
    public void So_many_images_of_each_class_are_a_function_of_the_seed()
    {
        ImageSet set = new("set", ["a", "b"], [.. Enumerable.Range(0, 40).Select(i => new LabeledImage($"{i}.png", i % 2))]);
        ImageSet five = set.Shots(5, 1);
        Assert.Equal((5, 5), (five.Images.Count(i => i.Label == 0), five.Images.Count(i => i.Label == 1)));
        Assert.Equal(five.Images, set.Shots(5, 1).Images);
        Assert.NotEqual(five.Images, set.Shots(5, 2).Images);
        // Fewer are the first of more.
        Assert.All(set.Shots(2, 1).Images, image => Assert.Contains(image, five.Images));
        Assert.Equal(
            "set: class \"b\" has 20 images, and shots is 21; ask for fewer, or leave the class out.".Replace("\"", "'"),
            Assert.Throws<NolaException>(() => new ImageSet(
                "set", set.Labels, [.. set.Images, new LabeledImage("x", 0)]).Shots(21, 1)).Message.Replace("\"", "'"));
    }

    [Fact]
    public void What_is_no_set_is_refused()
    {
        Assert.Contains("there is no such directory", Refused(Path.Combine(directory, "none")));
        Assert.Contains("there are no images to learn from", Refused(directory));
        Picture("loose.png", 1);
        Assert.Contains("its images lie in no folders", Refused(directory));
        Directory.CreateDirectory(Path.Combine(directory, "empty"));
        Assert.Contains("there is no PNG or JPEG file in it", Refused(directory));
        Write("data_batch_1.bin", new byte[5]);
        Assert.Contains("no whole number of images of 3073", Refused(directory));
        Write("train-images-idx3-ubyte", [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 9]);
        Assert.Contains("there is no file train-labels-idx1-ubyte beside it", Refused(directory));
        Write("train-labels-idx1-ubyte", [0, 0, 8, 1, 0, 0, 0, 3, 0, 0, 0]);
        Assert.Contains("is not whole", Refused(directory));
        Write("train-images-idx3-ubyte", [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 9, 9]);
        Assert.Contains("has 3 labels", Refused(directory));
        Write("train-images-idx3-ubyte", [0, 0, 8, 3, 0x7F, 0xFF, 0xFF, 0xFF, 0, 0, 1, 0, 0, 0, 1, 0]);
        Assert.Contains("has sizes that no set of images has", Refused(directory));
        Write("train-images-idx3-ubyte", [0, 0, 9, 3]);
        Assert.Contains("is no IDX file of bytes", Refused(directory));
    }

    private string Refused(string path) => Assert.Throws<NolaException>(() => ImageSet.Read(path, ImagePart.Train)).Message;

    private void Picture(string name, byte gray)
    {
        string path = Path.Combine(directory, name);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllBytes(path, PictureFiles.Png(new RgbImage(2, 2, [.. Enumerable.Repeat(gray, 12)])));
    }

    private void Write(string name, byte[] bytes)
    {
        using FileStream file = File.Create(Path.Combine(directory, name));
        using Stream to = name.EndsWith(".gz") ? new GZipStream(file, CompressionMode.Compress) : file;
        to.Write(bytes);
    }
}
