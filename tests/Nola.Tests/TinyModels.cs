using System.Text.Json;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Tests;

/// <summary>Small models and data for tests.</summary>
internal static class TinyModels
{
    public static readonly string Golden = Path.Combine(AppContext.BaseDirectory, "data", "golden", "gpt2");

    public static readonly string TinyRandom = Path.Combine(AppContext.BaseDirectory, "data", "tiny-random-gpt2");

    /// <summary>A small model with random weights.</summary>
    public static LanguageModel Create(Device device, bool trainable = false, int layers = 2, int vocabulary = 61, ulong seed = 3) =>
        LanguageModel.Create(new Gpt2Config(layers, 3, 24, vocabulary, 40), device, seed, trainable);

    /// <summary>Random sequences for a vocabulary.</summary>
    public static EncodedPair[] Pairs(Random random, int count, int vocabulary, int longest = 20) =>
        [.. Enumerable.Range(0, count).Select(_ =>
            new EncodedPair(Ids(random, 1 + random.Next(longest / 2), vocabulary), Ids(random, 1 + random.Next(longest / 2), vocabulary)))];

    public static int[] Ids(Random random, int count, int vocabulary) =>
        [.. Enumerable.Range(0, count).Select(_ => random.Next(vocabulary))];

    /// <summary>Ids as golden files and the tool write them.</summary>
    public static int[] Ids(JsonElement array) => [.. array.EnumerateArray().Select(v => v.GetInt32())];

    /// <summary>Fills what is trained with random values, so that nothing is hidden by a zero.</summary>
    public static void Randomize(TrainableAdapter adapter, Random random, double spread = 0.5)
    {
        foreach (Autograd.Parameter p in adapter.Parameters) p.Value.Device.Upload(OpCheck.Values(random, p.Shape.Length, spread), p.Value);
        adapter.Update();
    }
}
