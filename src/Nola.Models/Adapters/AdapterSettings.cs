using System.Globalization;
using System.Text.Json;
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

    // What the keys of adapted layers begin with; the kind of map follows.
    private const string LayersPrefix = "layers.";

    // The names of the classes, as a JSON list, beside a trained classifier; of a language model's head there are none.
    private const string LabelsKey = "labels";

    // How many parts' gradients were added up in each step of training; informational, and absent for steps in one piece.
    internal const string ShardsKey = "shards";

    private static readonly string[] commonKeys = ["format", "method", "base_model", "base_identity"];
    private static readonly string[] packedKeys = ["bits", "values"], frozenKeys = ["generator", "fingerprint"];

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
            AdapterFile.QuantizedFormat => CoefficientQuantizer.Widths.Contains(Whole("bits")) ? Whole("bits") : throw Bad("bits"),
            string other => throw new NolaException(
                $"{path}: its format is {Quoted.Of(other)} "
                + $"and this version reads '{AdapterFile.Format}' and '{AdapterFile.QuantizedFormat}'."),
        };
        Method = AdapterMethods.Find(Text("method")) ?? throw new NolaException(
            $"{path}: its method is {Quoted.Of(Text("method"))}; "
            + $"expected {string.Join(" or ", AdapterMethods.Known.Select(m => m.Name))}.");
        CheckKeys();
        if (data.TryGetValue("targets", out string? targets) && targets.Length > LongestTargets) throw Bad("targets");
        (BaseModel, BaseIdentity) = (Text("base_model"), Text("base_identity"));
        if (Bits > 0 && !StrictNumber.TryWhole(Text("values"), out long _)) throw Bad("values");
        if (data.ContainsKey(ShardsKey) && Whole(ShardsKey) < 2) throw Bad(ShardsKey);
        CheckGenerator();
        Options = ReadOptions();
    }

    /// <summary>Bits of a trained value; 0 where they are float32.</summary>
    public int Bits { get; }

    /// <summary>The method.</summary>
    public AdapterMethod Method { get; }

    /// <summary>Its settings.</summary>
    public AdapterOptions Options { get; }

    /// <summary>What the base was called.</summary>
    public string BaseModel { get; }

    /// <summary>The digest of the base.</summary>
    public string BaseIdentity { get; }

    /// <summary>The metadata of an adapter, as a file holds it.</summary>
    /// <param name="adapter">What is written.</param>
    /// <param name="bits">Bits of a trained value; 0 for float32.</param>
    public static Dictionary<string, string> Of(Adapter adapter, int bits)
    {
        AdapterOptions options = adapter.Options;
        AdapterMethod method = options.Method;
        Dictionary<string, string> data = new() { ["format"] = bits == 0 ? AdapterFile.Format : AdapterFile.QuantizedFormat };
        Add(method.CommonOptions);
        (data["base_model"], data["base_identity"]) = (adapter.Model.Source, adapter.Model.Identity);
        foreach (MapGroup group in adapter.Groups) data[LayersPrefix + group.Kind] = string.Join(',', group.Layers);
        if (bits > 0)
        {
            data["bits"] = bits.ToString(CultureInfo.InvariantCulture);
            long heads = Adapter.CountOf(HeadStack.Trained(options, adapter.Model));
            data["values"] = (adapter.ParameterCount - heads).ToString(CultureInfo.InvariantCulture);
        }
        data["method"] = method.Name;
        Add(method.OwnOptions);
        Add([AdapterOption.Head]);
        if (options.TrainHead && adapter.Model.Labels is { Count: > 0 } labels)
            data[LabelsKey] = JsonSerializer.Serialize(labels, JsonForms.Readable);
        if (adapter is TrainableAdapter { Shards: > 1 } trained) data[ShardsKey] = trained.Shards.ToString(CultureInfo.InvariantCulture);
        if (method.Generator is { } generator) data["generator"] = generator;
        if (method.Fingerprint(options, adapter.Groups) is { } fingerprint) data["fingerprint"] = fingerprint;
        return data;

        void Add(IEnumerable<AdapterOption> written)
        {
            foreach (AdapterOption option in written)
                if (option.FileKey is { } key && !(option.IsOmitted && option.Text(options) == option.Text(method.Defaults)))
                    data[key] = option.Text(options);
        }
    }

    /// <summary>All of the metadata: settings that agree in it have the same form on a model.</summary>
    public string Metadata => string.Concat(data.Select(pair => $"{pair.Key.Length} {pair.Key} {pair.Value.Length} {pair.Value} "));

    /// <summary>
    /// Refuses settings that do not fit the model, the tensors of the file, or each other. Nothing is believed of the metadata
    /// that would make an adapter larger than its tensors or its model are.
    /// </summary>
    /// <param name="model">The model.</param>
    /// <param name="file">The file.</param>
    /// <param name="known">The form of another file with the same metadata, of which the tensors alone are looked at then.</param>
    public AdapterForm Check(IModel model, Safetensors file, AdapterForm? known)
    {
        if (known is not null)
        {
            CheckTensors(Method.Trained(known.Options, model, known.Groups), HeadsOf(model), file);
            return known;
        }
        IReadOnlyList<MapGroup> groups;
        try
        {
            groups = Adapter.Check(model, Options);
        }
        catch (NolaException error)
        {
            throw new NolaException($"{path}: {error.Message}", error);
        }
        CheckTensors(Method.Trained(Options, model, groups), HeadsOf(model), file);
        CheckLabels(model, file);
        CheckLayers(groups);
        if (Method.Fingerprint(Options, groups) is { } fingerprint && fingerprint != Text("fingerprint"))
            throw new NolaException(
                $"{path}: the fingerprint of its bases is {Quoted.Of(Text("fingerprint"))} and this machine generates "
                + $"{fingerprint}; the file is damaged or {Method.OtherBases}.");
        return new AdapterForm(Options, groups);
    }

    private (string Name, int[] Shape)[] HeadsOf(IModel model) => [.. HeadStack.Trained(Options, model)];

    private AdapterOptions ReadOptions()
    {
        AdapterOptions options = Method.Defaults;
        foreach (AdapterOption option in Method.Options)
        {
            if (option.FileKey is not { } key || (option.IsOmitted && !data.ContainsKey(key))) continue;
            string text = Text(key);
            // People may write a word with capitals; files never have them.
            if (option.Set(options, text) is not { } read || (option.Get(read) is string word && word != text))
                throw Wrong(option, key, text);
            options = read;
        }
        return Bits > 0 ? Method.WithStoredBits(options, Bits) : options;
    }

    private NolaException Wrong(AdapterOption option, string key, string text) => option.Get(Method.Defaults) is string
        ? new($"{path}: its {key} is {Quoted.Of(text)}; expected {option.Values}.")
        : Bad(key);

    private void CheckGenerator()
    {
        if (Method.Generator is not { } generator || Text("generator") == generator) return;
        throw new NolaException(
            $"{path}: its bases come from generator {Quoted.Of(Text("generator"))} and this version has '{generator}'; "
            + "use the version of nola that wrote it.");
    }

    private void CheckKeys()
    {
        HashSet<string> known =
        [
            .. commonKeys,
            .. Method.Options.Where(option => !option.IsOmitted).Select(option => option.FileKey).OfType<string>(),
        ];
        if (Bits > 0) known.UnionWith(packedKeys);
        if (Method.Generator is not null) known.UnionWith(frozenKeys);
        foreach (string key in known) Text(key);
        known.UnionWith(Method.Options.Select(option => option.FileKey).OfType<string>());
        if (Method.Defaults.TrainHead || data.ContainsKey(AdapterOption.Head.FileKey!)) known.Add(LabelsKey);
        known.Add(ShardsKey);
        foreach (string key in data.Keys)
            if (!known.Contains(key) && !key.StartsWith(LayersPrefix, StringComparison.Ordinal))
                throw new NolaException(
                    $"{path}: its metadata has {Quoted.Of(key)}, which no {Method.Name} file of format '{Text("format")}' has; "
                    + "it is damaged or of a newer version of nola.");
    }

    // What the file's tensors must be, and nothing else.
    private void CheckTensors(
        IReadOnlyList<(string Name, int[] Shape)> trained, IReadOnlyList<(string Name, int[] Shape)> heads, Safetensors file)
    {
        long values = 0;
        HashSet<string> expected = [];
        foreach ((string name, int[] shape) in heads)
        {
            CheckTensor(file, name, "F32", [.. shape.Select(d => (long)d)]);
            expected.Add(name);
        }
        foreach ((string name, int[] shape) in trained)
        {
            long length = shape.Skip(1).Aggregate(1L, (product, d) => product * d);
            values += shape[0] * length;
            if (Bits > 0)
            {
                CheckTensor(file, name + ".codes", "U8", [shape[0], (length * Bits + 7) / 8]);
                CheckTensor(file, name + ".steps", "F32", [shape[0]]);
                expected.UnionWith([name + ".codes", name + ".steps"]);
            }
            else
            {
                CheckTensor(file, name, "F32", [.. shape.Select(d => (long)d)]);
                expected.Add(name);
            }
        }
        if (file.Entries.FirstOrDefault(entry => !expected.Contains(entry.Name)) is { } stranger)
            throw new NolaException($"{path}: tensor {Quoted.Of(stranger.Name)} belongs to no map of its targets; the file is damaged.");
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

    /// <summary>The names of the classes of a file's classifier; null where it has none.</summary>
    /// <exception cref="NolaException">They are no list of names.</exception>
    public static string[]? LabelsOf(Safetensors file)
    {
        if (!file.Metadata.TryGetValue(LabelsKey, out string? text)) return null;
        using JsonDocument document = JsonInput.Parse(text, $"{file.Path}: its labels");
        JsonElement list = document.RootElement;
        if (list.ValueKind != JsonValueKind.Array || list.GetArrayLength() == 0
            || list.EnumerateArray().Any(item => item.ValueKind != JsonValueKind.String))
            throw new NolaException($"{file.Path}: its labels are {Quoted.Of(text)}; expected a list of names. The file is damaged.");
        return [.. list.EnumerateArray().Select(item => item.GetString()!)];
    }

    private void CheckLabels(IModel model, Safetensors file)
    {
        if (!Options.TrainHead) return;
        string[]? labels = LabelsOf(file);
        if (labels is null && model.Labels.Count == 0) return;
        if (labels is null) throw new NolaException($"{path}: has a classifier and no names of classes; the file is damaged.");
        if (!labels.SequenceEqual(model.Labels))
            throw new NolaException(
                $"{path}: its classifier is for {labels.Length} classes, {Quoted.Of(string.Join(", ", labels))}, "
                + $"and the model was loaded for {model.Labels.Count}, {Quoted.Of(string.Join(", ", model.Labels))}; "
                + "load the model with the adapter's classes.");
    }

    private void CheckLayers(IReadOnlyList<MapGroup> groups)
    {
        Dictionary<string, string> here = groups.ToDictionary(group => LayersPrefix + group.Kind, group => string.Join(',', group.Layers));
        IEnumerable<string> written = data.Keys.Where(key => key.StartsWith(LayersPrefix, StringComparison.Ordinal));
        foreach (string key in here.Keys.Union(written))
        {
            (string there, string made) = (data.GetValueOrDefault(key, ""), here.GetValueOrDefault(key, ""));
            if (there != made)
                throw new NolaException(
                    $"{path}: its metadata has {Quoted.Of(key)} = {Quoted.Of(there)} and its targets make it '{made}'; "
                    + "the file is damaged.");
        }
    }

    private string Text(string key) => data.TryGetValue(key, out string? value)
        ? value
        : throw new NolaException($"{path}: not a Nola adapter: its metadata lacks '{key}'.");

    private int Whole(string key) => StrictNumber.TryWhole(Text(key), out int value) ? value : throw Bad(key);

    private NolaException Bad(string key) => new(
        $"{path}: its metadata has '{key}' = {Quoted.Of(Text(key))}, which cannot be read; the file is damaged.");
}
