using System.Security.Cryptography;
using System.Text.Json;
using Nola.Models;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>Pictures against Pillow, transformers' slow processors and torchvision (data/golden/images): bytes are equal.</summary>
public sealed class ImageGoldenTests
{
    private static readonly string data = Path.Combine(AppContext.BaseDirectory, "data", "golden", "images");

    private static readonly JsonElement golden = JsonDocument.Parse(File.ReadAllText(Path.Combine(data, "case.json"))).RootElement;

    public static TheoryData<string> Names => [.. golden.GetProperty("images").EnumerateObject().Select(image => image.Name)];

    [Theory]
    [MemberData(nameof(Names))]
    public void Bytes_are_Pillows_read_resized_and_cut(string name)
    {
        JsonElement facts = golden.GetProperty("images").GetProperty(name);
        RgbImage image = RgbImage.Read(Path.Combine(data, facts.GetProperty("file").GetString()!));
        Assert.Equal((facts.GetProperty("width").GetInt32(), facts.GetProperty("height").GetInt32()), (image.Width, image.Height));
        Same("rgb." + name, image);
        foreach (Resampling filter in Enum.GetValues<Resampling>())
        {
            string start = filter.ToString().ToLowerInvariant() + ".";
            ImagePreprocessor shorter = new() { ShortestEdge = 40, Resample = filter };
            Same($"{start}resize32.{name}", (ImagePreprocessor.Square(32) with { Resample = filter }).Fit(image));
            Same($"{start}short40.{name}", shorter.Fit(image));
            Same($"{start}hf_crop32.{name}", (shorter with { Crop = (32, 32) }).Fit(image));
            Same($"{start}tv_crop32.{name}", (shorter with { Crop = (32, 32), CropsToEven = true }).Fit(image));
        }
    }

    [Fact]
    public void Numbers_are_those_of_the_processors_that_the_files_describe()
    {
        ImagePreprocessor vit = ImagePreprocessor.Read(Path.Combine(data, "preprocessor_config.vit32.json"));
        ImagePreprocessor crop = ImagePreprocessor.Read(Path.Combine(data, "preprocessor_config.crop32.json"));
        Close("f32.bilinear.vit32.noise", vit, "noise.png");
        Close("f32.bicubic.vit32.gray", vit with { Resample = Resampling.Bicubic }, "gray.png");
        Close("f32.bicubic.hf_crop32.rgba_small", crop, "rgba_small.png");
        Close("f32.bilinear.tv_crop32_normalised.checker", crop with { Resample = Resampling.Bilinear, CropsToEven = true }, "checker.png");
        Assert.Equal((32, 32), vit.Output);
        // Written and read again it is the same.
        foreach (ImagePreprocessor one in (ImagePreprocessor[])[vit, crop])
        {
            string path = Path.GetTempFileName();
            File.WriteAllText(path, one.ToJson());
            Assert.Equal(one.ToJson(), ImagePreprocessor.Read(path).ToJson());
            File.Delete(path);
        }
    }

    private static void Same(string name, RgbImage image)
    {
        string wanted = golden.GetProperty("sha256_of_u8").GetProperty(name).GetString()!;
        Assert.True(Convert.ToHexStringLower(SHA256.HashData(image.Pixels)) == wanted, $"{name}: {image.Width} × {image.Height}");
    }

    private static void Close(string name, ImagePreprocessor preprocessor, string file)
    {
        using Safetensors expected = Safetensors.Open(Path.Combine(data, "expected.safetensors"));
        float[] numbers = preprocessor.Normalize(preprocessor.Fit(RgbImage.Read(Path.Combine(data, file))));
        OpCheck.Close(OpCheck.Wide(expected.ReadFinite(expected.Get(name))), numbers, 1e-6);
    }
}
