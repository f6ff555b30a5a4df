using Nola.Autograd;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Serve.Tests;

/// <summary>Adapters for the embedded model that change what it says, each in its own way.</summary>
internal static class TestAdapters
{
    /// <summary>Writes an adapter whose coefficients are a function of the seed.</summary>
    public static void Write(LanguageModel model, string path, int seed, AdapterOptions? options = null)
    {
        using TrainableAdapter adapter =
            model.NewAdapter(options ?? new NolaOptions { Rank = 4, Alpha = 4, Bases = 16, Seed = 42, Targets = ["q", "v"] });
        Random random = new(seed);
        foreach (Parameter p in adapter.Parameters)
            p.Value.Device.Upload([.. Enumerable.Range(0, p.Shape.Length).Select(_ => (float)(random.NextDouble() - 0.5))], p.Value);
        adapter.Update();
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        AdapterFile.Save(adapter, path);
    }
}
