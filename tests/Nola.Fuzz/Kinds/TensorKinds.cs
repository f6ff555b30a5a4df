using System.Runtime.InteropServices;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Fuzz;

/// <summary>Any safetensors file: opened, every tensor read, written again, and equal.</summary>
internal sealed class SafetensorsKind() : FilesKind("safetensors")
{
    private const string Name0 = "x.safetensors";

    public override void Prepare(Bench bench)
    {
        SafetensorsImage floats = new();
        floats.Metadata.AddRange([("format", "pt"), ("note", "Größe 😀")]);
        floats.Tensors.AddRange([Tensor("a", "F32", 4, 3, 2), Tensor("b.weight", "F32", 4, 5), Tensor("scalar", "F32", 4)]);
        SafetensorsImage mixed = new();
        mixed.Tensors.AddRange(
        [
            Tensor("d", "F64", 8, 2, 2), Tensor("f", "F32", 4, 2), Tensor("h", "F16", 2, 3),
            Tensor("bf", "BF16", 2, 1, 4), Tensor("codes", "U8", 1, 2, 7), Tensor("none", "F32", 4, 0),
        ]);
        foreach (SafetensorsImage image in (SafetensorsImage[])[floats, mixed, new()])
            Add((Name0, SafetensorsMutator.Mutate, image.ToBytes()));
    }

    public override void Run(Bench bench, string directory, Dice dice)
    {
        List<SafetensorsTensor> tensors = [];
        using Safetensors file = Safetensors.Open(Path.Combine(directory, Name0));
        bench.Accepted = true;
        foreach (SafetensorsEntry entry in file.Entries)
        {
            long bytes = entry.End - entry.Begin;
            int read = file.Bytes(entry).Length;
            if (read != bytes) throw new FuzzException($"'{entry.Name}' has {bytes} bytes and {read} were read");
            if (entry.Length is > 1 << 20 || entry.Type is not ("F32" or "F64" or "F16" or "BF16")) continue;
            float[] values = new float[entry.Length];
            file.ReadFloats(entry, values);
            if (entry.Type != "F32" || entry.Shape.Length > 4 || entry.Shape.Any(d => d > int.MaxValue)) continue;
            tensors.Add(new(entry.Name, Shape.Create([.. entry.Shape.Select(d => (int)d)]), values));
        }
        string again = bench.Saved("x.safetensors");
        SafetensorsWriter.Write(again, tensors, file.Metadata);
        using Safetensors copy = Safetensors.Open(again);
        if (copy.Metadata.Count != file.Metadata.Count
            || file.Metadata.Any(entry => copy.Metadata.GetValueOrDefault(entry.Key) != entry.Value))
            throw new FuzzException("the metadata changed when it was written again");
        foreach (SafetensorsTensor tensor in tensors)
            if (!copy.Bytes(copy.Get(tensor.Name)).SequenceEqual(file.Bytes(file.Get(tensor.Name))))
                throw new FuzzException($"'{tensor.Name}' changed when it was written again");
    }

    private static ImageTensor Tensor(string name, string type, int size, params int[] shape)
    {
        byte[] data = new byte[shape.Aggregate(size, (product, d) => product * d)];
        for (int i = 0; i < data.Length; i++) data[i] = (byte)(37 * i % 64);
        return new(name, type, [.. shape.Select(d => $"{d}")], data);
    }
}

/// <summary>Adapter files: loaded on a small model, saved again, loaded again, and equal.</summary>
/// <param name="name">What it is called.</param>
/// <param name="make">Adds the example adapters to a model and saves them.</param>
internal sealed class AdapterKind(string name, Action<Bench, Action<TrainableAdapter, int>> make) : FilesKind(name)
{
    private const string File0 = "a.safetensors";

    /// <summary>Methods beside LoRA's kin, small.</summary>
    public static IReadOnlyList<AdapterOptions> Methods { get; } =
    [
        new FourierFtOptions { Frequencies = 9 }, new Ia3Options { FeedForward = ["c_fc"] },
        new VbLoraOptions { Rank = 2, Vectors = 5, VectorLength = 4 }, new RandLoraOptions { Rank = 5 },
        new LoKrOptions { Rank = 2, Factor = 2 }, new LoraOptions { Rank = 2, TrainHead = true },
    ];

    /// <summary>All kinds of adapter files.</summary>
    public static IEnumerable<FuzzKind> All() =>
    [
        new AdapterKind("adapter", (bench, add) =>
        {
            add(bench.Model.NewAdapter(new NolaOptions { Rank = 2, Bases = 8, Targets = ["q", "v"] }), 0);
            NolaOptions other = new() { Rank = 1, BasesA = 4, BasesB = 6, Alpha = 1.5f, Seed = 7, PerLayer = true, Targets = ["h.1.*"] };
            add(bench.Model.NewAdapter(other with { Variant = NolaVariant.Paper, Entries = BasisEntries.Sign }), 0);
        }),
        new AdapterKind(
            "adapter-lora", (bench, add) => add(bench.Model.NewAdapter(new LoraOptions { Rank = 2, Targets = ["q", "c_fc"] }), 0)),
        new AdapterKind("adapter-vera", (bench, add) =>
        {
            add(bench.Model.NewAdapter(new VeraOptions { Rank = 3, Targets = ["q", "c_fc"] }), 0);
            add(bench.Model.NewAdapter(new LoraOptions { Rank = 1, Targets = ["c_attn"], Bias = LoraBias.All }), 0);
            add(bench.Model.NewAdapter(new LoraOptions { Rank = 1, Targets = ["v"], Bias = LoraBias.LoraOnly }), 0);
        }),
        new AdapterKind("adapter-methods", (bench, add) =>
        {
            foreach (AdapterOptions options in Methods) add(bench.Model.NewAdapter(options with { Targets = ["q", "c_fc"] }), 0);
        }),
        new AdapterKind("adapter-packed", (bench, add) =>
        {
            foreach (int bits in (int[])[8, 4, 3, 2])
            {
                add(bench.Model.NewAdapter(new NolaOptions { Rank = 2, Bases = 9, Targets = ["q", "v"], QuantizeBits = bits }), 0);
                add(bench.Model.NewAdapter(new LoraOptions { Rank = 1, Targets = ["v"] }), bits);
            }
        }),
    ];

    public override void Prepare(Bench bench) => make(bench, (adapter, bits) =>
    {
        string path = bench.Saved($"seed-{bits}.safetensors"), packed = bench.Saved($"packed-{bits}.safetensors");
        using (adapter)
        {
            Examples.Fill(adapter);
            AdapterFile.Save(adapter, path);
        }
        if (bits > 0) AdapterQuantization.Quantize(path, bits, packed);
        Add((File0, SafetensorsMutator.Mutate, File.ReadAllBytes(bits > 0 ? packed : path)));
        File.Delete(path);
        File.Delete(packed);
    });

    public override void Run(Bench bench, string directory, Dice dice)
    {
        string path = Path.Combine(directory, File0), again = bench.Saved(File0);
        float[][] values;
        Dictionary<string, string> metadata;
        bool packed;
        string digest;
        using (LoadedAdapter adapter = AdapterFile.Load(path, bench.Model))
        {
            bench.Accepted = true;
            digest = adapter.Digest;
        }
        using (TrainableAdapter adapter = AdapterFile.LoadTrainable(path, bench.Model))
        {
            values = [.. adapter.Parameters.Select(p => p.Value.ToArray())];
            metadata = new(AdapterFile.Metadata(adapter));
            packed = adapter.Options.StoredBits > 0;
            AdapterFile.Save(adapter, again);
        }
        using (LoadedAdapter adapter = AdapterFile.Load(again, bench.Model))
        {
            IReadOnlyDictionary<string, string> now = AdapterFile.Metadata(adapter);
            if (metadata.Any(entry => now.GetValueOrDefault(entry.Key) != entry.Value))
                throw new FuzzException("the settings changed when it was saved again");
            // What was packed is rounded again.
            if (!packed && adapter.Digest != digest) throw new FuzzException("the digest changed when it was saved again");
        }
        using (TrainableAdapter adapter = AdapterFile.LoadTrainable(again, bench.Model))
        {
            if (!packed) Examples.Same(values, [.. adapter.Parameters.Select(p => p.Value.ToArray())]);
        }
        if (!packed && dice.Once(4)) AdapterQuantization.Quantize(again, dice.Pick((int[])[8, 4, 3, 2]), bench.Saved("packed.safetensors"));
    }
}

/// <summary>PEFT directories: loaded, exported again, loaded again, and equal.</summary>
/// <param name="name">What it is called.</param>
/// <param name="examples">Settings of the example adapters.</param>
internal sealed class PeftKind(string name, params AdapterOptions[] examples) : FilesKind(name, 2)
{
    /// <summary>All kinds of PEFT directories.</summary>
    public static IEnumerable<FuzzKind> All()
    {
        LoraOptions plain = new() { Rank = 2, Alpha = 4 };
        yield return new PeftKind(
            "peft", plain with { Targets = ["c_attn"] }, plain with { Targets = ["q", "v"] }, plain with { Targets = ["h.0.*"] });
        yield return new PeftKind(
            "peft-methods",
            plain with { Targets = ["c_attn"], Bias = LoraBias.All }, plain with { Targets = ["c_fc"], Bias = LoraBias.LoraOnly },
            new VeraOptions { Rank = 3, Targets = ["c_attn", "c_proj"] });
        // PEFT does not have LoKr on GPT-2's modules.
        IEnumerable<AdapterOptions> small = AdapterKind.Methods.Where(options => options is not LoKrOptions);
        yield return new PeftKind("peft-small", [.. small.Select(options => options with { Targets = ["c_attn", "c_fc"] })]);
        yield return new PeftKind("peft-patterns", plain with { Targets = ["c_attn", "c_fc"] })
        {
            Config = """{"rank_pattern": {"h.1.attn.c_attn": 2}, "alpha_pattern": {"h.[01].mlp.c_fc": 9, "c_attn": 3.5}, """,
        };
    }

    // What its configurations begin with, in place of a brace.
    private string? Config { get; init; }

    public override void Prepare(Bench bench)
    {
        foreach (AdapterOptions options in examples)
        {
            using TrainableAdapter adapter = bench.Model.NewAdapter(options);
            Examples.Fill(adapter);
            PeftFiles.Save(adapter, bench.Output);
            string config = bench.Saved("adapter_config.json");
            if (Config is not null) System.IO.File.WriteAllText(config, Config + System.IO.File.ReadAllText(config)[1..]);
            Add(File("adapter_config.json", JsonMutator.Mutate), File("adapter_model.safetensors", SafetensorsMutator.Mutate));
        }

        (string, Mutation, byte[]) File(string name, Mutation mutation) => (name, mutation, System.IO.File.ReadAllBytes(bench.Saved(name)));
    }

    public override void Run(Bench bench, string directory, Dice dice)
    {
        float[][] values;
        (int Rank, float Alpha) sizes;
        using (LoadedAdapter adapter = PeftFiles.Load(directory, bench.Model))
        {
            bench.Accepted = true;
            values = Examples.Deltas(adapter);
            sizes = (adapter.Options.Rank, adapter.Options.Alpha);
            PeftFiles.Save(adapter, bench.Output);
        }
        using LoadedAdapter again = PeftFiles.Load(bench.Output, bench.Model);
        (int Rank, float Alpha) now = (again.Options.Rank, again.Options.Alpha);
        if (now != sizes) throw new FuzzException($"rank and alpha changed from {sizes} to {now} when it was exported again");
        Examples.Same(values, Examples.Deltas(again));
    }
}

/// <summary>What several kinds make and compare.</summary>
internal static class Examples
{
    /// <summary>Gives an adapter values that tell one another apart.</summary>
    public static void Fill(TrainableAdapter adapter)
    {
        Dice dice = new(5);
        foreach (Autograd.Parameter p in adapter.Parameters)
            p.Value.Device.Upload([.. Enumerable.Range(0, p.Shape.Length).Select(_ => (float)(dice.Next(2001) - 1000) / 2000)], p.Value);
        adapter.Update();
    }

    /// <summary>The factors of every map of an adapter; where it has none, what is trained; and its heads.</summary>
    public static float[][] Deltas(Adapter adapter) =>
        [.. adapter.Stacks.SelectMany(stack => stack is MapStack map && map.Factors(0) is not null
            ? Enumerable.Range(0, map.Group.Count).SelectMany(row => (float[][])[map.Factors(row)!.A, map.Factors(row)!.B])
            : stack is MapStack or HeadStack ? stack.Parameters.Select(p => p.Value.ToArray()) : [])];

    /// <summary>Compares values by their bits.</summary>
    /// <exception cref="FuzzException">They differ.</exception>
    public static void Same(float[][] before, float[][] after)
    {
        if (before.Length != after.Length)
            throw new FuzzException($"{before.Length} tensors became {after.Length} when they were saved again");
        for (int i = 0; i < before.Length; i++)
            if (!MemoryMarshal.AsBytes<float>(before[i]).SequenceEqual(MemoryMarshal.AsBytes<float>(after[i])))
                throw new FuzzException($"tensor {i} changed when it was saved again");
    }
}
