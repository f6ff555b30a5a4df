using Nola.Models;
using Nola.Tensors;

namespace Nola.Tests;

/// <summary>
/// A small model to be served, with files of adapters; and the same model on another device, for what each request must be answered.
/// </summary>
internal sealed class ServingCase : IDisposable
{
    private readonly CpuDevice device = new(2), other = new(1);

    public ServingCase(int vocabulary = 61)
    {
        Model = TinyModels.Create(device, vocabulary: vocabulary);
        Reference = TinyModels.Create(other, vocabulary: vocabulary);
    }

    public LanguageModel Model { get; }

    public LanguageModel Reference { get; }

    public string Directory { get; } = System.IO.Directory.CreateTempSubdirectory("nola-serve").FullName;

    public MemoryPool Memory => device.Pool;

    /// <summary>Writes an adapter of random values and returns its path.</summary>
    public string Write(AdapterOptions options, int seed, string? name = null, double spread = 0.5)
    {
        string path = Path.Combine(Directory, (name ?? $"{options.Method.Name}-{seed}") + ".safetensors");
        using TrainableAdapter adapter = Reference.NewAdapter(options);
        TinyModels.Randomize(adapter, new Random(seed), spread);
        AdapterFile.Save(adapter, path);
        return path;
    }

    /// <summary>Some of every method, of the same form and of others.</summary>
    public string[] WriteMany(Random r)
    {
        NolaOptions nola = Nola(r);
        return
        [
            Write(nola, r.Next(), "nola-1"), Write(nola, r.Next(), "nola-2"), Write(nola, r.Next(), "nola-3"),
            Write(Nola(r) with { Seed = 7, QuantizeBits = 4 }, r.Next(), "nola-4"),
            Write(new LoraOptions { Rank = 3, Targets = ["c_attn", "mlp.*", "wte"], Bias = LoraBias.All }, r.Next(), "lora"),
            Write(new VeraOptions { Rank = 5, Targets = ["v", "c_fc", "lm_head"] }, r.Next(), "vera"),
        ];
    }

    /// <summary>What is generated without a server.</summary>
    public int[] Alone(int[] prompt, string? adapter, GenerateOptions options)
    {
        using LoadedAdapter? loaded = adapter is null ? null : AdapterFile.Load(adapter, Reference);
        return Reference.Generate(prompt, loaded, options);
    }

    public void Dispose()
    {
        Model.Dispose();
        Reference.Dispose();
        device.Dispose();
        other.Dispose();
        System.IO.Directory.Delete(Directory, recursive: true);
    }

    private static NolaOptions Nola(Random r) => new()
    {
        Rank = 1 + r.Next(3),
        Bases = 5 + r.Next(9),
        PerLayer = r.Next(2) == 0,
        Variant = r.Next(3) == 0 ? NolaVariant.Paper : NolaVariant.Offset,
        Entries = (BasisEntries)r.Next(3),
        Targets = r.Next(2) == 0 ? ["*", "wte", "lm_head"] : ["attn.q", "attn.v"],
    };
}
