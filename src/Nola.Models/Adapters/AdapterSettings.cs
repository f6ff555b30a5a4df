using System.Globalization;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// The metadata of an adapter file, read and checked whole: every key is known to the file's format and method, and every value
/// is one that is written. Specified in docs/adapter-file.md.
/// </summary>
internal sealed class AdapterSettings
{
    // Far more than the names of all maps of a large model.
    private const int LongestTargets = 100_000;

    private static readonly string[] commonKeys = ["format", "method", "rank", "alpha", "targets", "base_model", "base_identity"];
    private static readonly string[] packedKeys = ["bits", "values"];
    private static readonly string[] nolaKeys = ["variant", "entries", "sharing", "bases_a", "bases_b", "seed", "generator", "fingerprint"];

    private readonly IReadOnlyDictionary<string, string> data;
    private readonly string path;

    /// <summary>Reads the metadata of a file.</summary>
    /// <exception cref="NolaException">A key is missing or unknown, or a value is none that is written.</exception>
    public AdapterSettings(Safetensors file)
    {
        (data, path) = (file.Metadata, file.Path);
        Bits = Text("format") switch
        {
            AdapterFile.Format => 0,
            AdapterFile.QuantisedFormat => CoefficientQuantiser.Widths.Contains(Whole("bits")) ? Whole("bits") : throw Bad("bits"),
            string other => throw new NolaException(
                $"{path}: its format is {Quoted.Of(other)} "
                + $"and this version reads '{AdapterFile.Format}' and '{AdapterFile.QuantisedFormat}'."),
        };
        IsNola = Choice("method", ("nola", true), ("lora", false));
        CheckKeys();
        if (Text("targets").Length > LongestTargets) throw Bad("targets");
        Targets = Text("targets").Split(',');
        (Rank, Alpha) = (Whole("rank"), Real("alpha"));
        (BaseModel, BaseIdentity) = (Text("base_model"), Text("base_identity"));
        if (Bits > 0 && !StrictNumber.TryWhole(Text("values"), out long _)) throw Bad("values");
        if (IsNola) Nola = ReadNola();
    }

    /// <summary>Of a coefficient; 0 where they are float32.</summary>
    public int Bits { get; }

    /// <summary>Whether the method is NOLA, not LoRA.</summary>
    public bool IsNola { get; }

    /// <summary>r.</summary>
    public int Rank { get; }

    /// <summary>Numerator of the output's scale.</summary>
    public float Alpha { get; }

    /// <summary>The patterns that chose the maps.</summary>
    public string[] Targets { get; }

    /// <summary>What the base was called.</summary>
    public string BaseModel { get; }

    /// <summary>The digest of the base.</summary>
    public string BaseIdentity { get; }

    /// <summary>NOLA's settings; null for LoRA.</summary>
    public NolaOptions? Nola { get; }

    /// <summary>The proof of NOLA's bases.</summary>
    public string Fingerprint => Text("fingerprint");

    /// <summary>
    /// Refuses settings that do not fit the model, the tensors of the file, or each other. Nothing is believed of the metadata
    /// that would make an adapter larger than its tensors or its model are.
    /// </summary>
    public void Check(Gpt2Config config, Safetensors file)
    {
        SortedDictionary<MapKind, int[]> layers;
        try
        {
            Nola?.Check();
            layers = Adapter.Check(config, Rank, Alpha, Targets);
        }
        catch (NolaException error)
        {
            throw new NolaException($"{path}: {error.Message}", error);
        }
        CheckTensors(layers, config, file);
        CheckLayers(layers);
    }

    /// <summary>Puts an adapter with these settings on a model.</summary>
    public Adapter Attach(Gpt2 model) => Nola is not null
        ? NolaAdapter.Attach(model, Nola)
        : LoraAdapter.Attach(model, new LoraOptions { Rank = Rank, Alpha = Alpha, Targets = Targets });

    private NolaOptions ReadNola()
    {
        if (Text("generator") != RandomBasis.GeneratorId)
            throw new NolaException(
                $"{path}: its bases come from generator "
                + $"{Quoted.Of(Text("generator"))} and this version has '{RandomBasis.GeneratorId}'; "
                + "use the version of nola that wrote it.");
        return new NolaOptions
        {
            Rank = Rank,
            Alpha = Alpha,
            Targets = Targets,
            BasesA = Whole("bases_a"),
            BasesB = Whole("bases_b"),
            Seed = StrictNumber.TryWhole(Text("seed"), out ulong seed) ? seed : throw Bad("seed"),
            Entries = Choice("entries", ("uniform", BasisEntries.Uniform), ("normal", BasisEntries.Normal), ("sign", BasisEntries.Sign)),
            Variant = Choice("variant", ("offset", NolaVariant.Offset), ("paper", NolaVariant.Paper)),
            PerLayer = Choice("sharing", ("shared", false), ("per-layer", true)),
            QuantiseBits = Bits,
        };
    }

    private void CheckKeys()
    {
        HashSet<string> known = [.. commonKeys, .. MapKinds.All.Select(LayersKey)];
        if (Bits > 0) known.UnionWith(packedKeys);
        if (IsNola) known.UnionWith(nolaKeys);
        foreach (string key in known)
            if (!key.StartsWith("layers.", StringComparison.Ordinal)) Text(key);
        foreach (string key in data.Keys)
            if (!known.Contains(key))
                throw new NolaException(
                    $"{path}: its metadata has {Quoted.Of(key)}, which no {Text("method")} file of format '{Text("format")}' has; "
                    + "it is damaged or of a newer version of nola.");
    }

    // What the file's tensors must be, and nothing else.
    private void CheckTensors(SortedDictionary<MapKind, int[]> layers, Gpt2Config config, Safetensors file)
    {
        long values = 0;
        int expected = 0;
        foreach ((MapKind kind, int[] adapted) in layers)
        {
            (int inputs, int outputs, _) = kind.Sizes(config);
            Check(".A", Nola is null ? [adapted.Length, inputs, Rank] : [adapted.Length, Nola.BasesA]);
            Check(".B", Nola is null ? [adapted.Length, Rank, outputs] : [adapted.Length, Nola.BasesB]);

            void Check(string factor, long[] shape)
            {
                string name = kind.Name() + factor;
                long length = shape.Skip(1).Aggregate(1L, (product, d) => product * d);
                values += shape[0] * length;
                expected += Bits > 0 ? 2 : 1;
                if (Bits > 0)
                {
                    CheckTensor(file, name + ".codes", "U8", [shape[0], (length * Bits + 7) / 8]);
                    CheckTensor(file, name + ".steps", "F32", [shape[0]]);
                }
                else CheckTensor(file, name, "F32", shape);
            }
        }
        if (file.Entries.Count > expected)
        {
            string[] ends = Bits > 0 ? [".A.codes", ".A.steps", ".B.codes", ".B.steps"] : [".A", ".B"];
            string[] names = [.. layers.Keys.SelectMany(_ => ends, (kind, end) => kind.Name() + end)];
            throw new NolaException(
                $"{path}: tensor {Quoted.Of(file.Entries.First(e => !names.Contains(e.Name)).Name)} "
                + "belongs to no map of its targets; the file is damaged.");
        }
        if (Bits > 0 && Text("values") != values.ToString(CultureInfo.InvariantCulture))
            throw new NolaException(
                $"{path}: its metadata has 'values' = {Quoted.Of(Text("values"))} and its tensors hold {values}; the file is damaged.");
    }

    private static void CheckTensor(Safetensors file, string name, string type, long[] shape)
    {
        SafetensorsEntry entry = file.Get(name);
        if (entry.Type != type || !entry.Shape.SequenceEqual(shape))
            throw new NolaException(
                $"{file.Path}: tensor '{name}' is {entry.Type} and has shape [{string.Join(", ", entry.Shape)}]; "
                + $"what its metadata says needs {type} [{string.Join(", ", shape)}]. The file is damaged.");
    }

    private void CheckLayers(SortedDictionary<MapKind, int[]> layers)
    {
        foreach (MapKind kind in MapKinds.All)
        {
            string written = data.GetValueOrDefault(LayersKey(kind), "");
            string here = layers.TryGetValue(kind, out int[]? adapted) ? string.Join(',', adapted) : "";
            if (written != here)
                throw new NolaException(
                    $"{path}: its metadata has '{LayersKey(kind)}' = {Quoted.Of(written)} and its targets make it '{here}'; "
                    + "the file is damaged.");
        }
    }

    private string Text(string key) => data.TryGetValue(key, out string? value)
        ? value
        : throw new NolaException($"{path}: not a Nola adapter: its metadata lacks '{key}'.");

    private int Whole(string key) => StrictNumber.TryWhole(Text(key), out int value) ? value : throw Bad(key);

    private float Real(string key) => StrictNumber.TryReal(Text(key), out float value) ? value : throw Bad(key);

    private T Choice<T>(string key, params ReadOnlySpan<(string Name, T Value)> choices)
    {
        string text = Text(key);
        List<string> names = [];
        foreach ((string name, T value) in choices)
        {
            if (name == text) return value;
            names.Add(name);
        }
        throw new NolaException($"{path}: its {key} is {Quoted.Of(text)}; expected {string.Join(" or ", names)}.");
    }

    private static string LayersKey(MapKind kind) => "layers." + kind.Name();

    private NolaException Bad(string key) => new(
        $"{path}: its metadata has '{key}' = {Quoted.Of(Text(key))}, which cannot be read; the file is damaged.");
}
