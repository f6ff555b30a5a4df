using Nola.Tensors;

namespace Nola.Models;

/// <summary>PEFT's LoRA: lora_A (r, in) and lora_B (out, r) for each module.</summary>
internal sealed class PeftLora : PeftForm
{
    public static readonly PeftLora Instance = new();

    // Others take something out of the base model's weights, to which the adapter then does not fit.
    private static readonly string[] plainStarts = ["gaussian", "eva", "orthogonal"];

    private PeftLora() { }

    public override string PeftType => "LORA";

    public override string Plain => "only plain LoRA, with one rank and alpha for all maps,";

    public override IReadOnlySet<string> Silent { get; } = new HashSet<string>
    {
        "lora_dropout", "megatron_core", "loftq_config", "eva_config", "corda_config", "lora_ga_config", "qalora_group_size", "ensure_weight_tying",
    };

    public override IReadOnlySet<string> Understood { get; } = new HashSet<string> { "r", "lora_alpha", "bias", "init_lora_weights" };

    public override LoadedAdapter Load(PeftConfig config, PeftTensors tensors, IModel model)
    {
        int rank = config.Rank();
        float alpha = config.Number("lora_alpha") is { } a && StrictNumber.TryReal(a, out float number) && number > 0
            ? number
            : throw config.Bad("lora_alpha", "a finite number above 0");
        if (config.Given("bias") is { } bias && config.Text(bias, "bias") != "none") throw config.Bad("bias", "'none'");
        if (config.Given("init_lora_weights") is { ValueKind: not (System.Text.Json.JsonValueKind.True or System.Text.Json.JsonValueKind.False) } start
            && !plainStarts.Contains(config.Text(start, "init_lora_weights")))
            throw config.Bad("init_lora_weights", $"true, false, {string.Join(", ", plainStarts)}: others change the base model's weights");
        Dictionary<AdaptableMap, (float[]? A, float[]? B)> found = ReadFactors(tensors, rank);
        tensors.CheckModules(config, found.Keys.ToHashSet(), "factors");
        LoraOptions options = new() { Rank = rank, Alpha = alpha, Targets = [.. found.Keys.Select(map => map.Name)] };
        return LoadedAdapter.Of(model, options, parameter =>
        {
            (string kind, bool isA) = (parameter.Name[..^2], parameter.Name.EndsWith('A'));
            return [.. found.Where(f => f.Key.Kind == kind).OrderBy(f => f.Key.Layer).SelectMany(f => isA ? f.Value.A! : f.Value.B!)];
        });
    }

    /// <summary>A LoRA in PEFT's form.</summary>
    /// <param name="Tensors">The tensors.</param>
    /// <param name="Config">The configuration.</param>
    public sealed record Written(IEnumerable<SafetensorsTensor> Tensors, Dictionary<string, object> Config);

    /// <summary>Any adapter whose deltas are low-rank products, as the equal LoRA of whole modules.</summary>
    /// <exception cref="NolaException">It is no such adapter.</exception>
    public static Written Write(Adapter adapter)
    {
        IModel model = adapter.Model;
        ILookup<AdaptableMap, (AdaptableMap Map, LowRankFactors Factors)> maps = adapter.Stacks
            .SelectMany(stack => stack.Group.Maps.Select((map, row) => (Map: map, Factors: stack.Factors(row) ?? throw NotLowRank(adapter))))
            .OrderBy(part => part.Map.Stream)
            .ToLookup(part => ModuleOf(part.Map));
        int widest = maps.Max(map => map.Count()), rank = widest * adapter.Options.Rank;
        AdaptableMap[] modules = [.. maps.Select(map => map.Key)];
        string[] kinds = [.. modules.Select(module => module.Kind).Distinct().Order(StringComparer.Ordinal)];
        // When only some layers are adapted, PEFT needs the full names.
        bool everyLayer = modules.Length == model.AdaptableMaps.Count(map => map.IsModule && kinds.Contains(map.Kind));
        LowRankFactors one = maps.First().First().Factors;
        Dictionary<string, object> config = new()
        {
            ["peft_type"] = "LORA",
            ["task_type"] = "CAUSAL_LM",
            ["base_model_name_or_path"] = model.Source,
            ["r"] = rank,
            ["lora_alpha"] = StrictNumber.Shortest(one.Alpha) * (rank / one.Rank),
            ["lora_dropout"] = 0.0,
            ["bias"] = "none",
            ["fan_in_fan_out"] = !modules[0].Linear.Transposed,
            ["inference_mode"] = true,
            ["target_modules"] = everyLayer ? kinds : [.. modules.Select(module => model.Prefix + module.Name)],
        };
        return new(modules.SelectMany(module => Tensors($"base_model.model.{model.Prefix}{module.Name}", module, [.. maps[module]], rank)), config);

        AdaptableMap ModuleOf(AdaptableMap map) => map.IsModule ? map : model.AdaptableMaps.First(module => module.IsModule && module.Overlaps(map));
    }

    // Our factors are (in, r) and (r, out); PEFT's are their transposes.
    private static Dictionary<AdaptableMap, (float[]? A, float[]? B)> ReadFactors(PeftTensors tensors, int rank)
    {
        Dictionary<AdaptableMap, (float[]? A, float[]? B)> found = [];
        foreach ((AdaptableMap map, string name, SafetensorsEntry entry) in tensors.Read("LoRA factor"))
        {
            bool isA = name == "lora_A.weight";
            if (!isA && name != "lora_B.weight")
                throw new NolaException($"{tensors.File.Path}: tensor {Quoted.Of(entry.Name)} is not a LoRA factor; expected lora_A and lora_B.");
            (int rows, int columns) = isA ? (rank, map.In) : (map.Out, rank);
            float[] values = Transpose(tensors.Values(entry, $"this model and r = {rank}", rows, columns), rows, columns);
            (float[]? a, float[]? b) = found.GetValueOrDefault(map);
            if ((isA ? a : b) is not null)
                throw new NolaException(
                    $"{tensors.File.Path}: there are two tensors for lora_{(isA ? "A" : "B")} of {map.Name}; the file is damaged.");
            found[map] = isA ? (values, b) : (a, values);
        }
        foreach ((AdaptableMap map, (float[]? a, float[]? b)) in found)
            if (a is null || b is null)
                throw new NolaException($"{tensors.File.Path}: {map.Name} has only one of lora_A and lora_B.");
        return found;
    }

    // A' (r', in): the parts' A below each other. B' (out', r'): each part's B in its own rows and columns, zero elsewhere.
    private static SafetensorsTensor[] Tensors(string name, AdaptableMap module, (AdaptableMap Map, LowRankFactors Factors)[] parts, int rank)
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
        return [new SafetensorsTensor(name + ".lora_A.weight", [rank, inputs], a), new SafetensorsTensor(name + ".lora_B.weight", [outputs, rank], b)];
    }

    private static NolaException NotLowRank(Adapter adapter) => new(
        $"PeftFiles.Save: what a {adapter.Options.Method.Title} adapter adds is not a low-rank product, so that there is no LoRA equal to it.");

    private static float[] Transpose(float[] values, int rows, int columns)
    {
        float[] result = new float[values.Length];
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < columns; j++)
                result[j * rows + i] = values[i * columns + j];
        return result;
    }
}
