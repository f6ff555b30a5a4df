using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// The tensors of a PEFT adapter by the modules that they are for. PEFT's names begin with <c>base_model.model.</c> and whatever the
/// model's class puts before its modules (<c>transformer.</c> in a GPT-2 with a head, nothing in one without).
/// </summary>
internal sealed class PeftTensors
{
    /// <summary>The key of the configuration that names modules which are trained and saved whole.</summary>
    public const string SavedModules = "modules_to_save";

    private const string Root = "base_model.model.", Bias = ".bias", BaseLayer = ".base_layer";

    private readonly IModel model;
    private readonly List<AdaptableMap> modules;
    private readonly Dictionary<string, HeadTensor> heads;
    private string? first;

    /// <summary>The tensors of a file, for a model.</summary>
    public PeftTensors(Safetensors file, IModel model)
    {
        (File, this.model, Prefix) = (file, model, model.Prefix);
        heads = model.Heads.SelectMany(head => head.HeadTensors).ToDictionary(tensor => tensor.Name);
        modules = [.. model.AdaptableMaps.Where(map => map.IsModule).OrderBy(map => map.Stream).ThenBy(map => map.Layer)];
    }

    /// <summary>The file.</summary>
    public Safetensors File { get; }

    /// <summary>What stands before the names of all modules but the head; the model's own where the file has none of them.</summary>
    public string Prefix { get; private set; }

    /// <summary>
    /// Each tensor with its module and what follows the module's name, <c>lora_A.weight</c>; names of adapters (<c>.default</c>) are
    /// left out.
    /// </summary>
    /// <param name="what">What the tensors are, for messages.</param>
    /// <param name="skips">Whether a tensor is of no such module; those of heads are read with the <see cref="Content"/>.</param>
    /// <exception cref="NolaException">A tensor is of no module of the model, or modules are called in two ways.</exception>
    public List<(AdaptableMap Map, string Name, SafetensorsEntry Entry)> Read(string what, Predicate<string> skips)
    {
        List<(AdaptableMap, string, SafetensorsEntry)> found = [];
        foreach (SafetensorsEntry entry in File.Entries)
        {
            if (skips(entry.Name) || IsHead(entry.Name)) continue;
            (AdaptableMap map, string rest) = Place(entry, what);
            found.Add((map, rest, entry));
        }
        return found.Count > 0 ? found : throw new NolaException($"{File.Path}: there is no {what} in it.");
    }

    /// <summary>The biases in the file, by those of the model that they are in place of.</summary>
    /// <exception cref="NolaException">One is of no module of the model, or there twice.</exception>
    public Dictionary<LayerBias, float[]> ReadBiases()
    {
        Dictionary<LayerBias, float[]> found = [];
        LayerBias[] own = [.. model.AdaptableLayers.SelectMany(layer => layer.Biases)];
        foreach (SafetensorsEntry entry in File.Entries.Where(entry => IsBias(entry.Name) && !IsHead(entry.Name)))
        {
            string name = entry.Name.StartsWith(Root, StringComparison.Ordinal) ? entry.Name[Root.Length..] : entry.Name;
            name = name[..^Bias.Length];
            if (name.EndsWith(BaseLayer, StringComparison.Ordinal)) name = name[..^BaseLayer.Length];
            LayerBias bias = own.FirstOrDefault(bias => Prefix + bias.Module == name)
                ?? throw new NolaException(
                    $"{File.Path}: tensor {Quoted.Of(entry.Name)} is the bias of no layer of this model. Is it for another base model?");
            if (!found.TryAdd(bias, Values(entry, "this model's biases", bias.Out)))
                throw new NolaException($"{File.Path}: there are two tensors for the bias of {bias.Module}; the file is damaged.");
        }
        return found;
    }

    /// <summary>Whether a tensor is of one of the model's heads.</summary>
    public bool IsHead(string name) => heads.ContainsKey(Plain(name));

    /// <summary>
    /// What a file says of an adapter: what its method reads, and the model's heads, where the configuration names them as modules that
    /// are saved whole.
    /// </summary>
    /// <param name="config">The configuration.</param>
    /// <param name="options">The settings that it says, without a head.</param>
    /// <param name="read">The values of one of the method's parameters.</param>
    /// <param name="frozen">What is frozen and does not follow from the settings, by name.</param>
    /// <exception cref="NolaException">Other modules are saved whole, a head is not whole, or the settings do not fit.</exception>
    public AdapterContent Content(
        PeftConfig config, AdapterOptions options, Func<string, Shape, AdapterTensor> read, params (string Name, float[] Values)[] frozen)
    {
        Dictionary<string, float[]> heads = ReadHeads(config);
        return AdapterContent.Of(
            model, options with { TrainHead = heads.Count > 0 },
            (name, shape) => heads.TryGetValue(name, out float[]? own) ? new(name, own, null) : read(name, shape), frozen);
    }

    /// <summary>
    /// Refuses another table than the model's: PEFT writes the base model's own beside the factors of an embedding or a head, and
    /// reads it as the base model's again.
    /// </summary>
    /// <exception cref="NolaException">It has another shape, or other values.</exception>
    public void CheckTable(AdaptableMap map, SafetensorsEntry entry)
    {
        (int vocabulary, int channels) = map.IsLookup ? (map.In, map.Out) : (map.Out, map.In);
        float[] values = Values(entry, "this model's tables", vocabulary, channels);
        if (WeightDigest.Of([vocabulary, channels], values).Hash != map.Host.TableDigest()!.Hash)
            throw new NolaException(
                $"{File.Path}: tensor {Quoted.Of(entry.Name)} has other values than {map.Name} of this model. "
                + "Is it for another base model?");
    }

    /// <summary>The name of a module in PEFT's model. The head stands beside what the prefix names, and has none.</summary>
    /// <param name="prefix">What stands before the names of other modules.</param>
    /// <param name="module">A map that is a module.</param>
    public static string FullName(string prefix, AdaptableMap module) =>
        module.IsInBlock || module.IsLookup ? prefix + module.Name : module.Name;

    /// <summary>Whether a tensor is a bias.</summary>
    public static bool IsBias(string name) => name.EndsWith(Bias, StringComparison.Ordinal);

    /// <summary>Refuses a file that does not hold what its configuration names, or holds more.</summary>
    /// <exception cref="NolaException">They do not fit each other.</exception>
    public void CheckModules(PeftConfig config, IReadOnlySet<AdaptableMap> found, string what)
    {
        foreach (AdaptableMap map in modules)
        {
            string name = FullName(Prefix, map);
            bool there = found.Contains(map);
            if (there == config.Targets(name)) continue;
            throw new NolaException(there
                ? $"{File.Path}: has {what} for {name}, which target_modules of {config.Path} does not name; they are of two adapters."
                : $"{File.Path}: has no {what} for {name}, which target_modules of {config.Path} names; the file is not whole.");
        }
        HashSet<string> adaptable = [.. modules.Select(map => map.Name)];
        foreach (string other in model.Modules.Append("lm_head").Where(module => !adaptable.Contains(module)).Distinct())
            if (config.Targets(other) || config.Targets(Prefix + other))
                throw new NolaException(
                    $"{config.Path}: target_modules names {Prefix + other}; only {Names()} can be loaded.");
    }

    /// <summary>Reads a tensor of that shape.</summary>
    /// <exception cref="NolaException">It has another shape, or a value that is not finite.</exception>
    public float[] Values(SafetensorsEntry entry, string why, params long[] shape)
    {
        if (!entry.Shape.SequenceEqual(shape))
            throw new NolaException(
                $"{File.Path}: tensor {Quoted.Of(entry.Name)} has shape [{string.Join(", ", entry.Shape)}]; "
                + $"{why} need [{string.Join(", ", shape)}]. Is it for another base model?");
        return File.ReadFinite(entry);
    }

    // The heads that the adapter has in place of the model's, by the names of our tensors; empty where it has none.
    private Dictionary<string, float[]> ReadHeads(PeftConfig config)
    {
        Dictionary<string, float[]> found = [];
        foreach (SafetensorsEntry entry in File.Entries.Where(entry => IsHead(entry.Name)))
        {
            string name = Plain(entry.Name);
            if (!found.TryAdd(name, Values(entry, "this model's heads", [.. heads[name].Shape.Select(d => (long)d)])))
                throw new NolaException($"{File.Path}: there are two tensors for {name}; the file is damaged.");
        }
        string[] named = config.Names(SavedModules), all = [.. model.Heads.Select(head => head.Name)];
        if (named.Except(all).Any())
            throw config.Bad(SavedModules, all.Length == 0
                ? "none, since the model has no classifier"
                : $"{string.Join(", ", all)} alone, the heads of this model");
        bool whole = found.Count == heads.Count && all.All(named.Contains);
        if ((named.Length > 0 || found.Count > 0) && !whole)
            throw new NolaException(
                $"{File.Path}: has {Listed(found.Keys)} of {Listed(heads.Keys)}, and {SavedModules} of {config.Path} names "
                + $"{Listed(named)}; expected tensors and names of all heads, or of none.");
        return found;

        static string Listed(IReadOnlyCollection<string> names) => names.Count == 0 ? "none" : string.Join(", ", names);
    }

    // The name of a saved module's tensor, without what PEFT puts around it.
    private static string Plain(string name)
    {
        if (name.StartsWith(Root, StringComparison.Ordinal)) name = name[Root.Length..];
        return name.Replace(".modules_to_save.default", "", StringComparison.Ordinal);
    }

    private (AdaptableMap Map, string Part) Place(SafetensorsEntry entry, string what)
    {
        string name = entry.Name.StartsWith(Root, StringComparison.Ordinal) ? entry.Name[Root.Length..] : entry.Name;
        foreach (AdaptableMap map in modules)
        {
            int at = name.IndexOf(map.Name + ".", StringComparison.Ordinal);
            if (at < 0 || (at > 0 && name[at - 1] != '.')) continue;
            bool prefixed = map.IsInBlock || map.IsLookup;
            if (at > 0 && !prefixed) continue;
            string module = name[..(at + map.Name.Length)];
            if (prefixed) TakePrefix(name[..at], module);
            return (map, name[(at + map.Name.Length + 1)..].Replace(".default", "", StringComparison.Ordinal));
        }
        throw new NolaException(
            $"{File.Path}: tensor {Quoted.Of(entry.Name)} is not a {what} of {Names()} of this model. Is it for another base model?");
    }

    private void TakePrefix(string prefix, string module)
    {
        if (first is null) (first, Prefix) = (module, prefix);
        if (prefix != Prefix)
            throw new NolaException(
                $"{File.Path}: modules are called {Quoted.Of(first)} and {Quoted.Of(module)}; expected all with the same beginning.");
    }

    private string Names()
    {
        string[] kinds = [.. modules.Select(map => map.Kind).Distinct()];
        return kinds.Length == 1 ? kinds[0] : $"{string.Join(", ", kinds[..^1])} and {kinds[^1]}";
    }
}
