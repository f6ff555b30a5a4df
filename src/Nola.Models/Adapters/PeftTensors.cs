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
    private string? first;

    /// <summary>The tensors of a file, for a model.</summary>
    public PeftTensors(Safetensors file, IModel model)
    {
        (File, this.model, Prefix) = (file, model, model.Prefix);
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
    /// <param name="skips">Whether a tensor is of no such module.</param>
    /// <exception cref="NolaException">A tensor is of no module of the model, or modules are called in two ways.</exception>
    public List<(AdaptableMap Map, string Name, SafetensorsEntry Entry)> Read(string what, Predicate<string> skips)
    {
        List<(AdaptableMap, string, SafetensorsEntry)> found = [];
        foreach (SafetensorsEntry entry in File.Entries)
        {
            if (skips(entry.Name)) continue;
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

    /// <summary>Whether a tensor is of a classifier.</summary>
    public bool IsHead(string name) => model.Classifiers.Any(classifier => Module(name) == classifier.Name);

    /// <summary>
    /// The classifiers that the adapter has in place of the model's, by the names of our tensors; empty where it has none.
    /// </summary>
    /// <exception cref="NolaException">Other modules are saved whole, or a classifier is not whole.</exception>
    public Dictionary<string, float[]> ReadHeads(PeftConfig config)
    {
        Dictionary<string, float[]> found = [];
        foreach (SafetensorsEntry entry in File.Entries.Where(entry => IsHead(entry.Name)))
        {
            LinearMap classifier = model.Classifiers.First(classifier => classifier.Name == Module(entry.Name));
            float[] values = IsBias(entry.Name)
                ? Values(entry, "this model's classes", classifier.Out)
                : Values(entry, "this model's classes", classifier.Out, classifier.In);
            if (!found.TryAdd(classifier.Name + entry.Name[entry.Name.LastIndexOf('.')..], values))
                throw new NolaException($"{File.Path}: there are two tensors for {classifier.Name}; the file is damaged.");
        }
        string[] named = config.Names(SavedModules), classifiers = [.. model.Classifiers.Select(classifier => classifier.Name)];
        if (named.FirstOrDefault(name => !classifiers.Contains(name)) is not null)
            throw config.Bad(SavedModules, $"{string.Join(", ", classifiers)} alone");
        bool whole = found.Count == 2 * classifiers.Length && classifiers.All(named.Contains);
        if ((named.Length > 0 || found.Count > 0) && !whole)
            throw new NolaException(
                $"{File.Path}: has {found.Count} tensors of classifiers, and {SavedModules} of {config.Path} names "
                + $"{(named.Length == 0 ? "none" : string.Join(", ", named))}; expected weight and bias of each, or nothing of them.");
        return found;
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

    // A saved module's name, without what PEFT puts around it.
    private static string Module(string name)
    {
        if (name.StartsWith(Root, StringComparison.Ordinal)) name = name[Root.Length..];
        name = name.Replace(".modules_to_save.default", "", StringComparison.Ordinal);
        return name[..Math.Max(0, name.LastIndexOf('.'))];
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
