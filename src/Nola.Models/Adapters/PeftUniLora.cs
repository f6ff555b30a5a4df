using System.Buffers.Binary;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// PEFT's Uni-LoRA: unilora_theta_d (d) of the whole model, and the seed that deals its values; or for each module which values its
/// entries are, unilora_indices_A (r, in) and unilora_indices_B (out, r), with unilora_scales_A and unilora_scales_B.
/// </summary>
internal sealed class PeftUniLora : PeftForm
{
    public static readonly PeftUniLora Instance = new();

    private const string Theta = "base_model.unilora_theta_d", Indices = "unilora_indices_", Scales = "unilora_scales_";
    private const string Seed = "proj_seed", Length = "theta_d_length", Saves = "save_indices", Bound = "init_theta_d_bound";

    private PeftUniLora() { }

    public override string PeftType => "UNILORA";

    public override string Plain => "only Uni-LoRA without trained biases";

    public override IReadOnlySet<string> Silent { get; } = new HashSet<string> { "unilora_dropout", Bound, "init_weights", Saves };

    public override IReadOnlySet<string> Understood { get; } = new HashSet<string> { "r", Seed, Length, "bias" };

    public override AdapterContent Read(PeftConfig config, PeftTensors tensors, IModel model)
    {
        config.CheckNoBias();
        UniLoraOptions options = new()
        {
            Rank = config.Rank(),
            Seed = ReadSeed(config),
            Length = config.Count(Length, 256),
        };
        float[] theta = tensors.Values(tensors.File.Get(Theta), $"{Length} of {config.Path}", options.Length);
        Dictionary<AdaptableMap, Dealt> own = ReadIndices(tensors, options);
        AdaptableMap[] targets =
        [
            .. model.AdaptableMaps.Where(map => map.IsModule && config.Targets(PeftTensors.FullName(tensors.Prefix, map))),
        ];
        if (targets.Length == 0) throw config.Bad("target_modules", "modules of this model");
        tensors.CheckModules(config, own.Count > 0 ? own.Keys.ToHashSet() : targets.ToHashSet(), "indices");
        options = options with { Targets = [.. targets.Select(map => map.Name)] };
        IReadOnlyList<MapGroup> groups = Adapter.Check(model, options);
        if (own.Count == 0) return tensors.Content(config, options, Read);
        Dealt all = Joined(tensors, [.. UniLoraMethod.InOrder(model, groups).Select(map => own[map])], options);
        int[] dealt = UniLoraMethod.Dealt(options, groups);
        if (all.Indices.AsSpan().SequenceEqual(dealt) && all.Scales.AsSpan().SequenceEqual(UniLoraMethod.Scales(dealt, options.Length)))
            return tensors.Content(config, options, Read);
        return tensors.Content(
            config, options, Read, (Indices, [.. all.Indices.Select(index => (float)index)]), (Scales, all.Scales)) with
        {
            Create = () => UniLoraMethod.Instance.Create(options, model, groups, all.Indices, all.Scales, isDealt: false),
        };

        AdapterTensor Read(string name, Shape shape) => new(name, theta, null);
    }

    // PEFT adapts whole modules only, and indices of a file's own are not dealt by a seed; the equal LoRA has them.
    public override PeftWritten? Write(Adapter adapter)
    {
        UniLoraOptions options = (UniLoraOptions)adapter.Options;
        UniLoraMethod.Vector vector = adapter.Stacks.OfType<UniLoraMethod.Vector>().First();
        AdaptableMap[] modules = [.. adapter.Groups.SelectMany(group => group.Maps)];
        if (!vector.IsDealt || modules.Any(map => !map.IsModule)) return null;
        Dictionary<string, object> config = ConfigOf(PeftType, adapter.Model, modules);
        config["r"] = options.Rank;
        config[Length] = options.Length;
        config[Seed] = options.Seed;
        config[Bound] = StrictNumber.Shortest(options.Bound);
        config["unilora_dropout"] = 0.0;
        config[Saves] = false;
        config["bias"] = "none";
        return new([new SafetensorsTensor(Theta, [options.Length], vector.Theta.Value.ToArray())], config);
    }

    // Which values some entries are, and what each value of the vector is multiplied by; NaN where no entry says it.
    private sealed record Dealt(int[] Indices, float[] Scales);

    // NumPy's generator reads more bits than PyTorch's.
    private static ulong ReadSeed(PeftConfig config)
    {
        if (config.Given(Seed) is null) return 42;
        return config.Number(Seed) is { } text && StrictNumber.TryWhole(text, out ulong seed)
            ? seed
            : throw config.Bad(Seed, "a whole number from 0");
    }

    private static Dictionary<AdaptableMap, Dealt> ReadIndices(PeftTensors tensors, UniLoraOptions options)
    {
        Dictionary<AdaptableMap, Dictionary<string, SafetensorsEntry>> found = [];
        if (tensors.File.Entries.All(entry => entry.Name == Theta || tensors.IsHead(entry.Name))) return [];
        foreach ((AdaptableMap map, string name, SafetensorsEntry entry) in tensors.Read("Uni-LoRA tensor", name => name == Theta))
        {
            if (!found.TryGetValue(map, out Dictionary<string, SafetensorsEntry>? own)) found[map] = own = [];
            if (name is not (Indices + "A" or Indices + "B" or Scales + "A" or Scales + "B") || !own.TryAdd(name, entry))
                throw new NolaException(
                    $"{tensors.File.Path}: tensor {Quoted.Of(entry.Name)} is not one of Uni-LoRA's; "
                    + $"expected {Indices}A, {Indices}B, {Scales}A and {Scales}B once for each module.");
        }
        return found.ToDictionary(one => one.Key, one => Module(tensors, one.Key, one.Value, options));
    }

    private static Dealt Module(
        PeftTensors tensors, AdaptableMap map, Dictionary<string, SafetensorsEntry> entries, UniLoraOptions options)
    {
        if (entries.Count < 4)
            throw new NolaException($"{tensors.File.Path}: {map.Name} has not all of its indices and scales; the file is not whole.");
        long[] a = [options.Rank, map.In], b = [map.Out, options.Rank];
        int[] indices =
        [
            .. ReadIndices(tensors, entries[Indices + "A"], a, options), .. ReadIndices(tensors, entries[Indices + "B"], b, options),
        ];
        string why = $"this model and r = {options.Rank}";
        float[] scales = [.. tensors.Values(entries[Scales + "A"], why, a), .. tensors.Values(entries[Scales + "B"], why, b)];
        float[] table = new float[options.Length];
        Array.Fill(table, float.NaN);
        for (int i = 0; i < indices.Length; i++) Say(tensors, table, indices[i], scales[i]);
        return new(indices, table);
    }

    private static int[] ReadIndices(PeftTensors tensors, SafetensorsEntry entry, long[] shape, UniLoraOptions options)
    {
        string path = tensors.File.Path;
        if (entry.Type != "I64" || !entry.Shape.SequenceEqual(shape))
            throw new NolaException(
                $"{path}: tensor {Quoted.Of(entry.Name)} is {entry.Type} and has shape [{string.Join(", ", entry.Shape)}]; "
                + $"this model and r = {options.Rank} need I64 [{string.Join(", ", shape)}]. Is it for another base model?");
        byte[] bytes = tensors.File.ReadBytes(entry);
        int[] indices = new int[entry.Length];
        for (int i = 0; i < indices.Length; i++)
        {
            long index = BinaryPrimitives.ReadInt64LittleEndian(bytes.AsSpan(i * sizeof(long)));
            if (index < 0 || index >= options.Length)
                throw new NolaException(
                    $"{path}: element {i} of tensor {Quoted.Of(entry.Name)} is {index}; expected 0 to {options.Length - 1}, "
                    + $"the values of {Theta}.");
            indices[i] = (int)index;
        }
        return indices;
    }

    private static Dealt Joined(PeftTensors tensors, Dealt[] modules, UniLoraOptions options)
    {
        float[] table = new float[options.Length];
        Array.Fill(table, float.NaN);
        foreach (Dealt module in modules)
            for (int i = 0; i < table.Length; i++)
                if (!float.IsNaN(module.Scales[i])) Say(tensors, table, i, module.Scales[i]);
        return new([.. modules.SelectMany(module => module.Indices)], [.. table.Select(scale => float.IsNaN(scale) ? 0 : scale)]);
    }

    private static void Say(PeftTensors tensors, float[] table, int index, float scale)
    {
        if (!float.IsNaN(table[index]) && table[index] != scale)
            throw new NolaException(FormattableString.Invariant(
                $"{tensors.File.Path}: value {index} has the scales {table[index]} and {scale}; expected one for all of its entries."));
        table[index] = scale;
    }
}
