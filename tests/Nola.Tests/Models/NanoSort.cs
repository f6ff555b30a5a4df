using System.Runtime.InteropServices;
using System.Text.Json;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Tests;

/// <summary>The trained minGPT "gpt-nano" of data/gpt-nano-sort: torch.nn.Linear weights (out, in), a head of its own.</summary>
internal static class NanoSort
{
    private static readonly string place = Path.Combine(AppContext.BaseDirectory, "data", "gpt-nano-sort");

    /// <summary>Writes it as a GPT-2 checkpoint into a directory and loads that.</summary>
    public static LanguageModel Load(Device device, string directory)
    {
        using JsonDocument model = Read("gpt-nano-sort-model.json");
        List<SafetensorsTensor> tensors = [];
        foreach (JsonProperty property in model.RootElement
            .EnumerateObject()
            .Where(p => p.Name != "config" && !p.Name.EndsWith(".attn.bias")))
        {
            (int[] shape, float[] values) = Tensor(property.Value);
            bool linear = property.Name.Contains(".c_") && property.Name.EndsWith(".weight");
            if (linear) values = [.. Reference.Transpose([.. values.Select(v => (double)v)], shape[0], shape[1]).Select(v => (float)v)];
            if (linear) Array.Reverse(shape);
            tensors.Add(new SafetensorsTensor(property.Name, Shape.Create(shape), values));
        }
        SafetensorsWriter.Write(Path.Combine(directory, "model.safetensors"), tensors);
        File.WriteAllText(Path.Combine(directory, "config.json"), new Gpt2Config(3, 3, 48, 3, 11) { TiedHead = false }.ToJson());
        return LanguageModel.Load(directory, device);
    }

    /// <summary>The recorded tensor of that name, for the three recorded inputs laid end to end.</summary>
    public static float[] Recorded(string name)
    {
        using JsonDocument record = Read("gpt-nano-sort-t0-partials.json");
        return Tensor(record.RootElement.GetProperty(name)).Values;
    }

    /// <summary>The three recorded inputs of eleven tokens.</summary>
    public static int[][] Inputs() => [.. Recorded("idx").Select(v => (int)v).Chunk(11)];

    private static JsonDocument Read(string file) => JsonDocument.Parse(File.ReadAllText(Path.Combine(place, file)));

    private static (int[] Shape, float[] Values) Tensor(JsonElement value) => (
        [.. value.GetProperty("shape").EnumerateArray().Select(d => d.GetInt32())],
        MemoryMarshal.Cast<byte, float>(value.GetProperty("data").GetBytesFromBase64()).ToArray());
}
