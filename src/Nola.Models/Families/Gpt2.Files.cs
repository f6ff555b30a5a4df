using Nola.Tensors;

namespace Nola.Models;

public sealed partial class Gpt2
{
    /// <summary>The name of the model that is embedded in this library.</summary>
    public const string EmbeddedName = "nola-tiny";

    /// <summary>
    /// Loads a checkpoint: the embedded <c>nola-tiny</c>, a directory with <c>config.json</c> and safetensors, or a name in
    /// the Hugging Face cache such as <c>gpt2-medium</c>.
    /// </summary>
    /// <param name="model">Name or directory.</param>
    /// <param name="device">Where to put the weights.</param>
    /// <param name="trainable">Every weight as a parameter, for full fine-tuning; else frozen and packed.</param>
    /// <param name="storage">How frozen weights are kept: Float32, or BFloat16 for half the memory.</param>
    /// <exception cref="NolaException">There is no such model, or its files are not a GPT-2 checkpoint.</exception>
    public static Gpt2 Load(string model, Device device, bool trainable = false, DType storage = DType.Float32)
    {
        if (model == EmbeddedName && !Directory.Exists(model)) return LoadEmbedded(device, trainable, storage);
        string directory = ModelLocator.Current.Find(model), path = Path.Combine(directory, "config.json");
        Gpt2Config config = Gpt2Config.Read(path);
        using WeightFiles weights = WeightFiles.Open(directory, device, config);
        return new Gpt2(config, device, trainable, storage, model, weights) { Origin = directory };
    }

    /// <summary>
    /// A new model with GPT-2's initial values: N(0, 0.02²), with the projections into the residual stream divided by
    /// √(2 · layers) (Radford et al. 2019, section 2.3); positions N(0, 0.01²).
    /// </summary>
    /// <exception cref="NolaException">The sizes are none of a GPT-2.</exception>
    public static Gpt2 Create(Gpt2Config config, Device device, ulong seed, bool trainable = true, DType storage = DType.Float32)
    {
        config.Check("Gpt2.Create");
        return new(config, device, trainable, storage, "new", new RandomWeights(config, device, seed)) { IsCreated = true };
    }

    /// <summary>
    /// Writes <c>config.json</c> and <c>model.safetensors</c> into a directory, in the layout that Hugging Face reads.
    /// An attached adapter is not written; merge it first. Tokenizer files of the directory that the model was loaded from
    /// come along.
    /// </summary>
    /// <param name="directory">Made if it does not exist.</param>
    /// <param name="type">Float32, or BFloat16 for half the size.</param>
    /// <exception cref="NolaException">The files cannot be written.</exception>
    public void Save(string directory, DType type = DType.Float32)
    {
        AtomicFile.EnsureDirectory(directory);
        SafetensorsWriter.Write(
            Path.Combine(directory, "model.safetensors"),
            Weights().Select(w => new SafetensorsTensor(w.Name, type, w.Shape, w.Values)),
            new Dictionary<string, string> { ["format"] = "pt" });
        AtomicFile.WriteText(Path.Combine(directory, "config.json"), Config.ToJson() + "\n");
        CopyTokenizer(directory);
    }

    /// <summary>The directory of its files, if it was loaded from one.</summary>
    internal string? Origin { get; private init; }

    /// <summary>Whether it was made by <see cref="Create"/>, of no files.</summary>
    internal bool IsCreated { get; private init; }

    private void CopyTokenizer(string directory)
    {
        if (Origin is null || !Directory.Exists(Origin) || Path.GetFullPath(Origin) == Path.GetFullPath(directory)) return;
        foreach (string name in (string[])["vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"])
        {
            string from = Path.Combine(Origin, name);
            if (File.Exists(from)) AtomicFile.Write(Path.Combine(directory, name), stream => stream.Write(InputFile.ReadAll(from)));
        }
    }

    /// <summary>Every weight by its checkpoint name, read when asked for.</summary>
    internal IEnumerable<(string Name, Shape Shape, Func<float[]> Values)> Weights()
    {
        Shape table = [Config.Vocabulary, Config.Channels];
        if (embedding is not null) yield return ("wte.weight", table, () => Rows(embedding));
        if (embedding is not null && !Config.TiedHead) yield return ("lm_head.weight", table, () => Rows(head!));
        foreach (LinearMap map in Maps)
            if (map.Frozen is not null)
                yield return (map.Name + ".weight", [map.In, map.Out], () => Take(map.CopyWeight()));
        foreach (Autograd.Parameter p in Parameters) yield return (p.Name, p.Shape, p.Value.ToArray);

        static float[] Take(Tensor tensor)
        {
            using (tensor) return tensor.ToArray();
        }
    }

    /// <summary>The identity that adapter files of earlier versions name this model by (docs/adapter-file.md).</summary>
    internal string SampledIdentity => ModelIdentity.Sampled(Config, Digests());

    /// <summary>Whether an adapter was merged since the model was made.</summary>
    internal bool IsMerged => Maps.Any(map => map.IsReplaced);

    // Frozen weights only change by being replaced, so that theirs are kept; the small parameters may have been written to.
    private IEnumerable<(string Name, WeightDigest Digest)> Digests()
    {
        if (embedding is not null) yield return ("wte.weight", embeddingDigest ??= OfTable(embedding));
        if (embedding is not null && !Config.TiedHead) yield return ("lm_head.weight", headDigest ??= OfTable(head!));
        foreach (LinearMap map in Maps)
            if (map.Frozen is not null)
                yield return (map.Name + ".weight", map.Digest());
        foreach (Autograd.Parameter p in Parameters) yield return (p.Name, WeightDigest.Of(p.Shape, p.Value.ToArray()));

        WeightDigest OfTable(FrozenMatrix table) => WeightDigest.Of([table.Columns, table.Rows], Rows(table));
    }

    // A table of the vocabulary as the checkpoint has it. (V, C)
    private float[] Rows(FrozenMatrix table)
    {
        using Tensor rows = Device.Empty([table.Columns, table.Rows]);
        Device.Unpack(table, rows, transposed: true);
        return rows.ToArray();
    }

    private static Gpt2 LoadEmbedded(Device device, bool trainable, DType storage)
    {
        const string Place = "the embedded model " + EmbeddedName;
        System.Reflection.Assembly assembly = typeof(Gpt2).Assembly;
        using Stream json = assembly.GetManifestResourceStream("nola-tiny.config.json")
            ?? throw new NolaException($"This build has no {Place}; give --model a directory or a name in the Hugging Face cache.");
        byte[] config = new byte[json.Length];
        json.ReadExactly(config);
        Gpt2Config sizes = Gpt2Config.Parse(config, Place);
        UnmanagedMemoryStream stream = (UnmanagedMemoryStream)assembly.GetManifestResourceStream("nola-tiny.model.safetensors")!;
        using WeightFiles weights = new(Place, device, [Safetensors.Open(stream, Place)], sizes);
        return new Gpt2(sizes, device, trainable, storage, EmbeddedName, weights);
    }
}

/// <summary>GPT-2's initial values; a pure function of the seed and a weight's name.</summary>
internal sealed class RandomWeights(Gpt2Config config, Device device, ulong seed) : IWeightSource
{
    public Tensor Read(string name, Shape shape, out WeightDigest? digest)
    {
        digest = null;
        Tensor tensor = device.Empty(shape);
        bool norm = name.Contains("ln_", StringComparison.Ordinal);
        if (name.EndsWith(".bias", StringComparison.Ordinal)) device.Fill(tensor, 0);
        else if (norm) device.Fill(tensor, 1);
        else Normal(name, tensor);
        return tensor;
    }

    private void Normal(string name, Tensor tensor)
    {
        float deviation = name == "wpe.weight" ? 0.01f
            : name.EndsWith("c_proj.weight", StringComparison.Ordinal) ? 0.02f / MathF.Sqrt(2 * config.Layers) : 0.02f;
        uint stream = 2166136261;
        foreach (char c in name) stream = (stream ^ c) * 16777619;
        // A row is one matrix of the basis.
        Shape shape = tensor.Shape;
        RandomBasis rows = new(seed, stream, 0, shape.Rows, 1, shape.Columns, BasisEntries.Normal);
        float[] row = new float[shape.Columns];
        for (int i = 0; i < shape.Rows; i++)
        {
            rows.Fill((uint)i, row);
            foreach (ref float value in row.AsSpan()) value *= deviation;
            device.UploadAt(row, tensor, i * row.Length);
        }
    }
}
