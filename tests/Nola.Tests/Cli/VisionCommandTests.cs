using System.Text.Json;
using Nola.Models;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>Images on the command line: train, classify, evaluate, forward, preprocess, merge and export.</summary>
public sealed class VisionCommandTests : IDisposable
{
    private static readonly string golden = Path.Combine(AppContext.BaseDirectory, "data", "golden");

    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    public void Dispose() => Directory.Delete(directory, recursive: true);

    [Fact]
    public void A_few_images_of_each_class_are_learned_told_and_tested()
    {
        foreach (string part in (string[])["train", "test"])
            foreach ((string label, byte gray) in ((string, byte)[])[("dark", 40), ("bright", 210)])
                for (int i = 0; i < 6; i++) Picture($"{part}/{label}/{i}.png", (byte)(gray + 3 * i));
        string model = Path.Combine(golden, "vision", "vit"), run = Path.Combine(directory, "run");
        JsonElement trained = Assert.Single(Tool.Json(
            "train", "--model", model, "--images", directory, "--shots", "3", "--epochs", "12", "--augment", "crop", "--out", run,
            "--bases", "32", "--lr", "0.02"));
        Assert.Equal((12, 12), (trained.GetProperty("steps").GetInt32(), trained.GetProperty("tested").GetInt32()));
        Assert.Equal(1, trained.GetProperty("accuracy").GetDouble());
        string adapter = Path.Combine(run, "adapter.safetensors"), image = Path.Combine(directory, "test", "dark", "0.png");
        JsonElement told = Assert.Single(Tool.Json("classify", "--model", model, "--adapter", adapter, "--top", "2", image))
            .GetProperty("images")[0];
        Assert.Equal("dark", told.GetProperty("label").GetString());
        Assert.Equal(1, told.GetProperty("classes").EnumerateArray().Sum(c => c.GetProperty("probability").GetDouble()), 1e-9);
        string picture = Path.Combine(directory, "confusion.svg");
        string[] lines = Tool.Lines("evaluate", "images", directory, "--model", model, "--adapter", adapter, "--picture", picture);
        Assert.Contains(lines, line => line.StartsWith("1.0000") && line.Contains("all images"));
        Assert.Contains("12 of 12 right", File.ReadAllText(picture));
        // Resumed with nothing left to do it is the same file.
        byte[] before = File.ReadAllBytes(adapter);
        Assert.Equal(0, Tool.Run(["train", "--resume", "--out", run]).Code);
        Assert.Equal(before, File.ReadAllBytes(adapter));
        string merged = Path.Combine(directory, "merged"), peft = Path.Combine(directory, "peft");
        Assert.Equal(0, Tool.Run(["merge", "--model", model, "--adapter", adapter, "--out", merged]).Code);
        Assert.Equal(0, Tool.Run(["export", "--model", model, "--adapter", adapter, "--out", peft]).Code);
        foreach (string[] way in (string[][])[["--model", merged], ["--model", model, "--adapter", peft]])
        {
            JsonElement same = Assert.Single(Tool.Json(["classify", .. way, image])).GetProperty("images")[0];
            Assert.Equal(told.GetProperty("probability").GetDouble(), same.GetProperty("probability").GetDouble(), 1e-5);
        }
        Assert.Contains("class 'bright' has 6 images", Tool.Fails(1, "train", "--model", model, "--images", directory, "--shots", "7"));
        Assert.Contains("images and data are both given", Tool.Fails(1, "train", "--images", directory, "--data", "e2e"));
    }

    [Fact]
    public void Logits_of_pixels_and_of_files_are_written()
    {
        string model = Path.Combine(golden, "vision", "vit"), expected = Path.Combine(model, "expected.safetensors");
        string output = Path.Combine(directory, "out.safetensors"), image = Path.Combine(golden, "images", "noise.png");
        Assert.Equal(0, Tool.Run(["forward", "--model", model, "--pixels", expected + ":pixels.1", "--out", output]).Code);
        OpCheck.Close(OpCheck.Wide(Read(expected, "logits.1")), Read(output, "logits"), 2e-5);
        Assert.Equal(0, Tool.Run(["preprocess", image, "--model", model, "--out", Path.Combine(directory, "seen.safetensors")]).Code);
        string pixels = Path.Combine(directory, "seen.safetensors") + ":pixels";
        Assert.Equal(0, Tool.Run(["forward", "--model", model, "--pixels", pixels, "--out", output]).Code);
        float[] logits = Read(output, "logits");
        Assert.Equal(0, Tool.Run(["forward", "--model", model, "--image", image, "--out", output]).Code);
        Assert.Equal(logits, Read(output, "logits"));
        Assert.Equal(10, logits.Length);
        Assert.Contains("has shape [3, 16, 16]", Tool.Fails(
            1, "forward", "--model", model, "--pixels", pixels, "--image-size", "32", "--out", output));
        Assert.Contains("give one", Tool.Fails(1, "forward", "--model", model, "--out", output));
    }

    private static float[] Read(string path, string name)
    {
        using Safetensors file = Safetensors.Open(path);
        return file.ReadFinite(file.Get(name));
    }

    private void Picture(string name, byte gray)
    {
        string path = Path.Combine(directory, name);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllBytes(path, PictureFiles.Png(new RgbImage(20, 20, [.. Enumerable.Repeat(gray, 1200)])));
    }
}
