using System.Text.Json;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>How PEFT's directories have a method: which keys its configuration has, and which tensors.</summary>
internal abstract class PeftForm
{
    /// <summary>The value of <c>peft_type</c>.</summary>
    public abstract string PeftType { get; }

    /// <summary>What can be loaded, for messages.</summary>
    public abstract string Plain { get; }

    /// <summary>Its own keys that say nothing about the output of a loaded adapter.</summary>
    public abstract IReadOnlySet<string> Silent { get; }

    /// <summary>Its own keys that <see cref="Read"/> reads.</summary>
    public abstract IReadOnlySet<string> Understood { get; }

    /// <summary>Reads an adapter.</summary>
    /// <exception cref="NolaException">Configuration and tensors are not one whole adapter for the model.</exception>
    public abstract AdapterContent Read(PeftConfig config, PeftTensors tensors, IModel model);

    /// <summary>An adapter of the method in this form; null where PEFT cannot have it so.</summary>
    public abstract PeftWritten? Write(Adapter adapter);

    /// <summary>What all configurations have.</summary>
    protected static Dictionary<string, object> ConfigOf(string type, IModel model, IReadOnlyList<AdaptableMap> modules)
    {
        string[] kinds = [.. modules.Select(module => module.Kind).Distinct().Order(StringComparer.Ordinal)];
        // When only some layers are adapted, PEFT needs the full names; and when a name ends that of another module too, as output.dense of
        // vision transformers ends attention.output.dense.
        bool everyLayer = modules.Count == model.AdaptableMaps.Count(map =>
            map.IsModule && kinds.Any(kind => map.Kind == kind || map.Name.EndsWith("." + kind, StringComparison.Ordinal)));
        // PEFT has no name for the task of telling what an image shows.
        return new()
        {
            ["peft_type"] = type,
            ["task_type"] = model.Labels.Count > 0 ? "FEATURE_EXTRACTION" : "CAUSAL_LM",
            ["base_model_name_or_path"] = model.Source,
            ["fan_in_fan_out"] = modules.Any(module => !module.Transposed),
            ["inference_mode"] = true,
            ["target_modules"] = everyLayer ? kinds : [.. modules.Select(module => FullName(model, module))],
        };
    }

    /// <summary>The adapted modules, for a method that PEFT has on whole ones alone.</summary>
    /// <exception cref="NolaException">A map is a part of one.</exception>
    protected static IReadOnlyList<AdaptableMap> WholeModules(Adapter adapter)
    {
        string title = adapter.Options.Method.Title;
        AdaptableMap[] maps = [.. adapter.Groups.SelectMany(group => group.Maps)];
        return maps.FirstOrDefault(map => !map.IsModule) is { } part
            ? throw new NolaException(
                $"PeftFiles.Save: PEFT's {title} is on whole modules, and {part.Name} is a part of one; save it as a Nola adapter file.")
            : maps;
    }

    /// <summary>One parameter of a stack, a tensor of that shape for each module.</summary>
    /// <param name="stack">The stack.</param>
    /// <param name="parameter">Which of its parameters; its rows are the modules'.</param>
    /// <param name="model">The model.</param>
    /// <param name="name">What follows the module's name.</param>
    /// <param name="shape">The shape of one module's.</param>
    protected static IEnumerable<SafetensorsTensor> Rows(MapStack stack, int parameter, IModel model, string name, int[] shape)
    {
        float[] all = stack.Parameters[parameter].Value.ToArray();
        int length = all.Length / stack.Group.Count;
        return stack.Group.Maps.Select((map, row) => new SafetensorsTensor(
            $"base_model.model.{FullName(model, map)}.{name}", Shape.Create(shape), all[(row * length)..((row + 1) * length)]));
    }

    /// <summary>What was read for the modules of one kind, in the order of their layers.</summary>
    protected static float[] Stacked(IReadOnlyDictionary<AdaptableMap, float[]> found, string kind) =>
        [.. found.Where(one => one.Key.Kind == kind).OrderBy(one => one.Key.Layer).SelectMany(one => one.Value)];

    /// <summary>The name of an adapted module in PEFT's model.</summary>
    protected static string FullName(IModel model, AdaptableMap module) => PeftTensors.FullName(model.Prefix, module);
}

/// <summary>An adapter in PEFT's form, without a head of its own.</summary>
/// <param name="Tensors">The tensors.</param>
/// <param name="Config">The configuration.</param>
internal sealed record PeftWritten(IEnumerable<SafetensorsTensor> Tensors, Dictionary<string, object> Config);

/// <summary>
/// Adapters in the directory form of Hugging Face PEFT: <c>adapter_config.json</c> and <c>adapter_model.safetensors</c>. PEFT adapts
/// whole modules; an adapter on a part of one, such as the queries of GPT-2's <c>c_attn</c>, is written as the equal LoRA of the
/// whole, of a rank that holds all parts, with zeros between.
/// </summary>
public static class PeftFiles
{
    internal const string ConfigName = "adapter_config.json", WeightsName = "adapter_model.safetensors";

    private const long MostClasses = 1_000_000;

    /// <summary>
    /// Writes an adapter: in the form that PEFT has for its method, else as the LoRA that gives the same outputs, where its deltas are
    /// low-rank products.
    /// </summary>
    /// <param name="adapter">What is written.</param>
    /// <param name="directory">Made if it does not exist.</param>
    /// <param name="asLora">Whether it is written as a LoRA even if PEFT has the method.</param>
    /// <exception cref="NolaException">PEFT has no form for it, or the directory cannot be written.</exception>
    public static void Save(Adapter adapter, string directory, bool asLora = false) =>
        Write((asLora ? null : adapter.Options.Method.Peft?.Write(adapter)) ?? PeftLora.WriteAny(adapter), adapter, directory, "equal to");

    /// <summary>
    /// Writes the LoRA of a rank that is nearest to what an adapter adds to its maps' weights, whatever its method: the largest singular
    /// values of each map's sum of deltas. What it misses is said, and can be much.
    /// </summary>
    /// <param name="adapter">What is written.</param>
    /// <param name="directory">Made if it does not exist.</param>
    /// <param name="rank">The rank on each adapted map, from 1.</param>
    /// <returns>The Frobenius norm of what it misses of all maps, over that of what the adapter adds.</returns>
    /// <exception cref="NolaException">The adapter changes more than weights of blocks, or the directory cannot be written.</exception>
    public static double SaveNearest(Adapter adapter, string directory, int rank)
    {
        NearestLora nearest = new(adapter, rank);
        Write(nearest.Written, adapter, directory, "nearest to");
        return nearest.Error;
    }

    private static void Write(PeftWritten written, Adapter adapter, string directory, string how)
    {
        IModel model = adapter.Model;
        AtomicFile.EnsureDirectory(directory);
        HeadStack[] heads = [.. adapter.Stacks.OfType<HeadStack>()];
        if (heads.Length > 0) written.Config[PeftTensors.SavedModules] = heads.Select(head => head.Layers[0].Name);
        IEnumerable<SafetensorsTensor> saved = heads.SelectMany(head => head.Parameters).Select(parameter =>
            new SafetensorsTensor($"base_model.model.{parameter.Name}", DType.Float32, parameter.Shape, parameter.Value.ToArray));
        SafetensorsWriter.Write(Path.Combine(directory, WeightsName), written.Tensors.Concat(saved));
        string json = JsonSerializer.Serialize(written.Config, JsonForms.Indented);
        AtomicFile.WriteText(Path.Combine(directory, ConfigName), json + "\n");
        AtomicFile.WriteText(Path.Combine(directory, "README.md"), ModelCard(adapter, model, (string)written.Config["peft_type"], how));
    }

    /// <summary>Reads a PEFT adapter for a model.</summary>
    /// <exception cref="NolaException">It is not a whole adapter for this model, of a method that can be loaded.</exception>
    public static LoadedAdapter Load(string directory, IModel model) => LoadedAdapter.Of(model, Read(directory, model));

    /// <summary>Reads and checks a PEFT adapter, and makes nothing of it.</summary>
    /// <exception cref="NolaException">It is not a whole adapter for this model, of a method that can be loaded.</exception>
    internal static AdapterContent Read(string directory, IModel model)
    {
        string path = Path.Combine(directory, ConfigName), weights = Path.Combine(directory, WeightsName);
        if (!File.Exists(path))
            throw new NolaException($"{directory}: there is no {ConfigName}; expected a PEFT directory or a Nola adapter file.");
        if (!File.Exists(weights))
            throw new NolaException($"{directory}: there is no {WeightsName}; adapter_model.bin cannot be read safely.");
        using PeftConfig config = PeftConfig.Read(path, model, out PeftForm form);
        using Safetensors file = Safetensors.Open(weights);
        try
        {
            return form.Read(config, new PeftTensors(file, model), model);
        }
        catch (NolaException error) when (!error.Message.Contains(directory, StringComparison.Ordinal))
        {
            // What a method says of settings names no file.
            throw new NolaException($"{path}: {error.Message}", error);
        }
    }

    /// <summary>Whether a directory has the two files of a PEFT adapter.</summary>
    internal static bool AreIn(string directory) =>
        File.Exists(Path.Combine(directory, WeightsName)) && File.Exists(Path.Combine(directory, ConfigName));

    /// <summary>Numbered names for the classes of a directory's classifier; null where it has none.</summary>
    internal static IReadOnlyList<string>? Labels(string directory)
    {
        string weights = Path.Combine(directory, WeightsName);
        if (!File.Exists(weights)) return null;
        using Safetensors file = Safetensors.Open(weights);
        SafetensorsEntry? head = file.Entries.FirstOrDefault(
            entry => entry.Name.EndsWith("classifier.weight", StringComparison.Ordinal) && entry.Shape.Length == 2);
        return head is { Shape: [> 0 and < MostClasses and var classes, _] }
            ? [.. Enumerable.Range(0, (int)classes).Select(i => $"LABEL_{i}")]
            : null;
    }

    private static string ModelCard(Adapter adapter, IModel model, string form, string how) =>
        $"---\nbase_model: {model.Source}\nlibrary_name: peft\n---\n\n"
        + $"A {form} adapter {how} one of Nola ({adapter.Options.Method.Title}, "
        + (adapter.Options.Rank > 0 ? $"rank {adapter.Options.Rank}, " : "")
        + $"{adapter.ParameterCount:N0} trained values), written by `nola export`.\n";
}
