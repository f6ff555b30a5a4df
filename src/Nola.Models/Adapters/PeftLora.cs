using System.Text.Json;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// PEFT's LoRA: lora_A (r, in) and lora_B (out, r) for each module, of a token embedding lora_embedding_A (r, V) and
/// lora_embedding_B (C, r); of DoRA lora_magnitude_vector (out) too.
/// </summary>
internal sealed class PeftLora : PeftForm
{
    public static readonly PeftLora Instance = new();

    private const string Tying = "ensure_weight_tying", Stabilized = "use_rslora", Decomposed = "use_dora";
    private const string Lengths = "lora_magnitude_vector", Ranks = "rank_pattern", Alphas = "alpha_pattern";

    // Others take something out of the base model's weights, to which the adapter then does not fit.
    private static readonly string[] plainStarts = ["gaussian", "eva", "orthogonal"];

    private PeftLora() { }

    public override string PeftType => "LORA";

    public override string Plain => "only LoRA, rsLoRA and DoRA";

    public override IReadOnlySet<string> Silent { get; } = new HashSet<string>
    {
        "lora_dropout", "megatron_core", "loftq_config", "eva_config",
        "corda_config", "lora_ga_config", "qalora_group_size", Tying,
    };

    public override IReadOnlySet<string> Understood { get; } =
        new HashSet<string> { "r", "lora_alpha", "bias", "init_lora_weights", Stabilized, Decomposed, Ranks, Alphas };

    public override AdapterContent Read(PeftConfig config, PeftTensors tensors, IModel model)
    {
        LoraOptions options = new()
        {
            Rank = config.Rank(),
            Alpha = config.Number("lora_alpha") is { } a && StrictNumber.TryReal(a, out float number) && number > 0
                ? number
                : throw config.Bad("lora_alpha", "a finite number above 0"),
            Bias = BiasOf(config),
            RankStabilized = config.Flag(Stabilized),
            Decomposed = config.Flag(Decomposed),
        };
        if (config.Given("init_lora_weights") is { ValueKind: not (JsonValueKind.True or JsonValueKind.False) } start
            && !plainStarts.Contains(config.Text(start, "init_lora_weights")))
            throw config.Bad("init_lora_weights", $"true, false, {string.Join(", ", plainStarts)}: others change the base model's weights");
        (Dictionary<AdaptableMap, (float[]? A, float[]? B)> found, Dictionary<AdaptableMap, float[]> lengths) =
            ReadFactors(tensors, map => OwnOptions(config, tensors, options, map).Rank);
        CheckLengths(config, tensors, found.Keys, lengths);
        if (config.Given(Tying) is { ValueKind: JsonValueKind.True } && found.Keys.Any(map => !map.IsInBlock))
            throw config.Bad(Tying, "false, since an embedding and a head that share one adapter cannot be loaded");
        tensors.CheckModules(config, found.Keys.ToHashSet(), "factors");
        options = options with { Targets = [.. found.Keys.Select(map => map.Name)] };
        Dictionary<AdaptableMap, LoraOptions> own = found.Keys.ToDictionary(map => map, map => OwnOptions(config, tensors, options, map));
        if (own.Values.Any(one => (one.Rank, one.Alpha) != (options.Rank, options.Alpha)))
        {
            // The equal LoRA of one rank and of scale 1.
            int rank = own.Values.Max(one => one.Rank);
            options = options with { Rank = rank, Alpha = rank, RankStabilized = false };
            // Before room is made for it.
            Adapter.Check(model, options);
            foreach ((AdaptableMap map, LoraOptions one) in own)
            {
                found[map] = Widened(map, found[map].A!, found[map].B!, one, rank);
                if (!found[map].B!.All(float.IsFinite))
                    throw new NolaException(
                        $"{config.Path}: the scale of {map.Name} is {one.Scale:g3}, with which its lora_B is not finite in float32.");
            }
        }
        Dictionary<string, float[]> biases = Biases(tensors, options, model, found.Keys);
        return tensors.Content(config, options, (name, _) => new(name, Values(name), null));

        float[] Values(string name)
        {
            if (biases.TryGetValue(name, out float[]? added)) return added;
            IEnumerable<AdaptableMap> maps = found.Keys.Where(map => map.Kind == name[..^2]).OrderBy(map => map.Layer);
            return [.. maps.SelectMany(map => name[^1] switch { 'A' => found[map].A!, 'B' => found[map].B!, _ => lengths[map] })];
        }
    }

    public override PeftWritten Write(Adapter adapter) => Write(adapter, stack => stack is DoraStack dora
        ? row => dora.Parts(row).Factors
        : stack.Factors);

    /// <summary>Any adapter whose deltas are low-rank products and biases, as the equal LoRA of whole modules.</summary>
    /// <exception cref="NolaException">It is no such adapter.</exception>
    public static PeftWritten WriteAny(Adapter adapter) => Write(adapter, stack => stack.Factors);

    /// <summary>Any factors for an adapter's maps, as a plain LoRA of whole modules.</summary>
    public static PeftWritten WritePlain(Adapter adapter, Func<MapStack, Func<int, LowRankFactors?>> factorsOf) =>
        Write(adapter, factorsOf, isPlain: true);

    private static PeftWritten Write(Adapter adapter, Func<MapStack, Func<int, LowRankFactors?>> factorsOf, bool isPlain = false)
    {
        IModel model = adapter.Model;
        ILookup<AdaptableMap, (AdaptableMap Map, LowRankFactors Factors)> maps = adapter.Stacks
            .OfType<MapStack>()
            .SelectMany(stack =>
                stack.Group.Maps.Select((map, row) => (Map: map, Factors: factorsOf(stack)(row) ?? throw NotLowRank(adapter))))
            .OrderBy(part => part.Map.Stream)
            .ToLookup(part => ModuleOf(part.Map));
        if (adapter.Stacks.All(stack => stack is HeadStack))
            throw new NolaException("PeftFiles.Save: PEFT has no adapter that is a head alone; merge it, or keep its Nola file.");
        if (maps.Count == 0) throw NotLowRank(adapter);
        LowRankFactors one = maps.First().First().Factors;
        int widest = maps.Max(map => map.Count()), rank = widest * one.Rank;
        AdaptableMap[] modules = [.. maps.Select(map => map.Key)];
        Dictionary<string, object> config = ConfigOf("LORA", model, modules);
        config["r"] = rank;
        bool stabilized = !isPlain && adapter.Options is LoraOptions { RankStabilized: true };
        double times = rank / one.Rank;
        config["lora_alpha"] = StrictNumber.Shortest(one.Alpha) * (stabilized ? Math.Sqrt(times) : times);
        if (stabilized) config[Stabilized] = true;
        config["lora_dropout"] = 0.0;
        config["bias"] = adapter.Options is LoraOptions lora ? BiasNames.First(bias => bias.Value == lora.Bias).Key : "none";
        HashSet<string> targeted = [.. modules.Select(module => module.Name)];
        IEnumerable<SafetensorsTensor> biases = adapter.Stacks.OfType<BiasStack>().Select(stack =>
        {
            string module = stack.Bias.Module, name = NameOf(module) + (targeted.Contains(module) ? ".base_layer.bias" : ".bias");
            float[] whole = [.. stack.Bias.Values().Zip(stack.Values(), (bias, added) => bias + added)];
            return new SafetensorsTensor(name, [whole.Length], whole);
        });
        IEnumerable<SafetensorsTensor> factors = modules.SelectMany(module =>
            Tensors($"base_model.model.{FullName(model, module)}", module, [.. maps[module]], rank));
        SafetensorsTensor[] lengths = isPlain ? [] : [.. modules.SelectMany(WholeLengths)];
        if (lengths.Length > 0) config[Decomposed] = true;
        return new([.. factors, .. lengths, .. biases], config);

        string NameOf(string module) => $"base_model.model.{model.Prefix}{module}";

        AdaptableMap ModuleOf(AdaptableMap map) =>
            map.IsModule ? map : model.AdaptableMaps.First(module => module.IsModule && module.Overlaps(map));

        // DoRA's m of a module: what is trained of its parts, and the lengths of the model's own columns elsewhere.
        IEnumerable<SafetensorsTensor> WholeLengths(AdaptableMap module)
        {
            float[]? whole = null;
            foreach (DoraStack stack in adapter.Stacks.OfType<DoraStack>())
                for (int row = 0; row < stack.Group.Count; row++)
                {
                    AdaptableMap map = stack.Group.Maps[row];
                    if (ModuleOf(map) != module) continue;
                    whole ??= DoraStack.Lengths((LinearMap)module.Host, module.Column, module.Out);
                    stack.Parts(row).Lengths.CopyTo(whole, map.Column - module.Column);
                }
            return whole is null ? [] : [new SafetensorsTensor($"{NameOf(module.Name)}.{Lengths}", [whole.Length], whole)];
        }
    }

    private static readonly Dictionary<string, LoraBias> BiasNames = new()
    {
        ["none"] = LoraBias.None,
        ["all"] = LoraBias.All,
        ["lora_only"] = LoraBias.LoraOnly,
    };

    private static LoraBias BiasOf(PeftConfig config)
    {
        if (config.Given("bias") is not { } given) return LoraBias.None;
        return BiasNames.TryGetValue(config.Text(given, "bias"), out LoraBias bias)
            ? bias
            : throw config.Bad("bias", "'none', 'all' or 'lora_only'");
    }

    // What is added to each bias, by the name of our tensor. PEFT keeps whole biases; and of lora_only it loses them when it saves
    // (PEFT 0.17.1), so that the base model's are used when it reads the file again, as here.
    private static Dictionary<string, float[]> Biases(
        PeftTensors tensors, LoraOptions options, IModel model, IEnumerable<AdaptableMap> maps)
    {
        Dictionary<LayerBias, float[]> found = tensors.ReadBiases();
        LayerBias[] wanted =
            [.. LoraMethod.Biased(options, model, [.. maps.GroupBy(map => map.Kind).Select(kind => new MapGroup([.. kind]))])];
        if (found.Keys.Except(wanted).FirstOrDefault() is { } stranger)
            throw new NolaException(
                $"{tensors.File.Path}: has a bias of {stranger.Module}, which the configuration's bias does not ask for.");
        bool lost = options.Bias == LoraBias.LoraOnly && found.Count == 0;
        if (!lost && wanted.FirstOrDefault(bias => !found.ContainsKey(bias)) is { } missing)
            throw new NolaException(
                $"{tensors.File.Path}: has no bias of {missing.Module}, which the configuration's bias asks for; the file is not whole.");
        return wanted.ToDictionary(bias => bias.Name, bias => found.TryGetValue(bias, out float[]? whole)
            ? [.. whole.Zip(bias.Values(), (trained, own) => trained - own)]
            : new float[bias.Out]);
    }

    private static void CheckLengths(
        PeftConfig config, PeftTensors tensors, IEnumerable<AdaptableMap> maps, Dictionary<AdaptableMap, float[]> lengths)
    {
        bool asked = config.Flag(Decomposed);
        if (!asked && lengths.Count > 0)
            throw new NolaException(
                $"{tensors.File.Path}: has {Lengths} of {lengths.Keys.First().Name}, "
                + $"which {Decomposed} of {config.Path} does not ask for.");
        if (asked && maps.FirstOrDefault(map => !lengths.ContainsKey(map)) is { } missing)
            throw new NolaException(
                $"{tensors.File.Path}: has no {Lengths} of {missing.Name}, which {Decomposed} of {config.Path} asks for; "
                + "the file is not whole.");
    }

    // The rank and alpha of one module.
    private static LoraOptions OwnOptions(PeftConfig config, PeftTensors tensors, LoraOptions options, AdaptableMap map)
    {
        string name = PeftTensors.FullName(tensors.Prefix, map);
        if (config.Matching(Ranks, name) is { } rank)
            options = options with
            {
                Rank = rank.ValueKind == JsonValueKind.Number && rank.TryGetInt32(out int own) && own > 0
                    ? own
                    : throw config.Bad(Ranks, "whole numbers from 1"),
            };
        if (config.Matching(Alphas, name) is { } alpha)
            options = options with
            {
                Alpha = alpha.ValueKind == JsonValueKind.Number && StrictNumber.TryReal(alpha.GetRawText(), out float own) && own > 0
                    ? own
                    : throw config.Bad(Alphas, "finite numbers above 0"),
            };
        return options;
    }

    // Factors of a higher rank, whose product has the scale in it: zeros behind A (in, r) and below B (r, out).
    private static (float[] A, float[] B) Widened(AdaptableMap map, float[] a, float[] b, LoraOptions own, int rank)
    {
        float[] wide = new float[map.In * rank], tall = new float[rank * map.Out];
        for (int i = 0; i < map.In; i++) a.AsSpan(i * own.Rank, own.Rank).CopyTo(wide.AsSpan(i * rank));
        for (int i = 0; i < b.Length; i++) tall[i] = own.Scale * b[i];
        return (wide, tall);
    }

    // Our factors are (in, r) and (r, out); PEFT's are their transposes.
    private static (Dictionary<AdaptableMap, (float[]? A, float[]? B)> Factors, Dictionary<AdaptableMap, float[]> Lengths) ReadFactors(
        PeftTensors tensors, Func<AdaptableMap, int> rankOf)
    {
        Dictionary<AdaptableMap, (float[]? A, float[]? B)> found = [];
        Dictionary<AdaptableMap, float[]> lengths = [];
        foreach ((AdaptableMap map, string name, SafetensorsEntry entry) in tensors.Read("LoRA factor", PeftTensors.IsBias))
        {
            if (name == "base_layer.weight" && !map.IsInBlock)
            {
                tensors.CheckTable(map, entry);
                continue;
            }
            if (name is Lengths or Lengths + ".weight")
            {
                if (!lengths.TryAdd(map, tensors.Values(entry, "this model's maps", map.Out)))
                    throw new NolaException($"{tensors.File.Path}: there are two tensors {Lengths} of {map.Name}; the file is damaged.");
                continue;
            }
            bool isA = name == NameOfA(map);
            if (!isA && name != NameOfB(map))
                throw new NolaException(
                    $"{tensors.File.Path}: tensor {Quoted.Of(entry.Name)} is not a LoRA factor; "
                    + $"expected {NameOfA(map)} and {NameOfB(map)}.");
            int rank = rankOf(map);
            (int rows, int columns) = isA ? (rank, map.In) : (map.Out, rank);
            float[] values = HostMatrix.Transpose(tensors.Values(entry, $"this model and r = {rank}", rows, columns), rows, columns);
            (float[]? a, float[]? b) = found.GetValueOrDefault(map);
            if ((isA ? a : b) is not null)
                throw new NolaException(
                    $"{tensors.File.Path}: there are two tensors for lora_{(isA ? "A" : "B")} of {map.Name}; the file is damaged.");
            found[map] = isA ? (values, b) : (a, values);
        }
        foreach ((AdaptableMap map, (float[]? a, float[]? b)) in found)
            if (a is null || b is null)
                throw new NolaException($"{tensors.File.Path}: {map.Name} has only one of lora_A and lora_B.");
        return (found, lengths);
    }

    private static string NameOfA(AdaptableMap map) => map.IsLookup ? "lora_embedding_A" : "lora_A.weight";

    private static string NameOfB(AdaptableMap map) => map.IsLookup ? "lora_embedding_B" : "lora_B.weight";

    // A' (r', in): the parts' A below each other. B' (out', r'): each part's B in its own rows and columns, zero elsewhere.
    private static SafetensorsTensor[] Tensors(
        string name, AdaptableMap module, (AdaptableMap Map, LowRankFactors Factors)[] parts, int rank)
    {
        int inputs = module.In, outputs = module.Out;
        float[] a = new float[rank * inputs], b = new float[outputs * rank];
        int first = 0;
        foreach ((AdaptableMap map, LowRankFactors factors) in parts)
        {
            int r = factors.Rank;
            for (int j = 0; j < r; j++)
            {
                for (int i = 0; i < inputs; i++) a[(first + j) * inputs + i] = factors.A[i * r + j];
                for (int o = 0; o < map.Out; o++) b[(map.Column - module.Column + o) * rank + first + j] = factors.B[j * map.Out + o];
            }
            first += r;
        }
        return
        [
            new SafetensorsTensor($"{name}.{NameOfA(module)}", [rank, inputs], a),
            new SafetensorsTensor($"{name}.{NameOfB(module)}", [outputs, rank], b),
        ];
    }

    private static NolaException NotLowRank(Adapter adapter) => new(
        $"PeftFiles.Save: what a {adapter.Options.Method.Title} adapter adds is not a low-rank product, "
        + "so that there is no LoRA equal to it; the nearest one of a rank can be written, where weights alone are changed.")
    {
        Options = ["NearestRank"],
    };
}
