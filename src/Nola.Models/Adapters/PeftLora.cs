using System.Text.Json;
using System.Text.RegularExpressions;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// LoRA adapters in the directory form of Hugging Face PEFT: <c>adapter_config.json</c> and
/// <c>adapter_model.safetensors</c> with lora_A (r, in) and lora_B (out, r). PEFT adapts GPT-2's fused <c>c_attn</c> whole;
/// an adapter on q and v is written as the equal LoRA of a rank that holds all parts, with zeros between.
/// </summary>
public static partial class PeftLora
{
    private const string ConfigName = "adapter_config.json", WeightsName = "adapter_model.safetensors";

    /// <summary>Writes any adapter as a PEFT LoRA.</summary>
    /// <exception cref="NolaException">The directory cannot be written.</exception>
    public static void Save(Adapter adapter, string directory)
    {
        adapter.BeginStep();
        ILookup<string, (Adapter.Factors F, int Row)> maps = adapter.FactorSets
            .SelectMany(f => f.Layers.Select((layer, row) => (Name: f.Kind.MapName(layer), F: f, Row: row)))
            .ToLookup(x => x.Name, x => (x.F, x.Row));
        int widest = maps.Max(map => map.Count());
        int rank = widest * adapter.Rank;
        AtomicFile.EnsureDirectory(directory);
        SafetensorsWriter.Write(Path.Combine(directory, WeightsName), maps.SelectMany(map => Tensors(adapter, map.Key, [.. map], rank)));
        string[] modules = [.. maps.Select(map => map.Key.Split('.', 3)[2]).Distinct().Order(StringComparer.Ordinal)];
        AtomicFile.WriteText(Path.Combine(directory, ConfigName), Config(adapter, rank, maps.Select(map => map.Key), modules));
        AtomicFile.WriteText(Path.Combine(directory, "README.md"), ModelCard(adapter));
    }

    /// <summary>Puts a PEFT LoRA on a model. When it fails, the model is as it was.</summary>
    /// <exception cref="NolaException">
    /// It is not a whole LoRA for GPT-2's <c>c_attn</c>, <c>c_proj</c> or <c>c_fc</c> of this size.
    /// </exception>
    public static Adapter Load(string directory, Gpt2 model)
    {
        string path = Path.Combine(directory, ConfigName), weights = Path.Combine(directory, WeightsName);
        if (!File.Exists(path)) throw new NolaException($"{directory}: there is no {ConfigName}; expected a PEFT LoRA directory or a Nola adapter file.");
        if (!File.Exists(weights)) throw new NolaException($"{directory}: there is no {WeightsName}; adapter_model.bin cannot be read safely.");
        PeftConfig config = PeftConfig.Read(path);
        using Safetensors file = Safetensors.Open(weights);
        Dictionary<(int Layer, string Map), Module> found = ReadFactors(file, config.Rank, model.Config);
        CheckModules(found, config, model.Config, path, weights);
        string[] targets = [.. found.Keys.Select(key => $"h.{key.Layer}.{key.Map}")];
        LoraAdapter adapter = LoraAdapter.Attach(model, new LoraOptions { Rank = config.Rank, Alpha = config.Alpha, Targets = targets });
        try
        {
            foreach (Adapter.Factors f in adapter.FactorSets)
            {
                model.Device.Upload([.. f.Layers.SelectMany(layer => found[(layer, f.Kind.Name())].A!)], f.A.Value);
                model.Device.Upload([.. f.Layers.SelectMany(layer => found[(layer, f.Kind.Name())].B!)], f.B.Value);
            }
            return adapter;
        }
        catch
        {
            adapter.Dispose();
            throw;
        }
    }

    /// <summary>One adapted module of a file: its name in PEFT's model, and both factors as (in, r) and (r, out).</summary>
    private sealed record Module(string Name)
    {
        public float[]? A { get; set; }

        public float[]? B { get; set; }
    }

    // Our factors are (in, r) and (r, out); PEFT's are their transposes.
    private static Dictionary<(int, string), Module> ReadFactors(Safetensors file, int rank, Gpt2Config config)
    {
        Dictionary<(int, string), Module> found = [];
        foreach (SafetensorsEntry entry in file.Entries)
        {
            Match match = KeyPattern().Match(entry.Name);
            if (!match.Success)
                throw new NolaException(
                    $"{file.Path}: tensor {Quoted.Of(entry.Name)} is not a LoRA factor of GPT-2's c_attn, c_proj or c_fc.");
            string map = match.Groups["map"].Value, name = match.Groups["module"].Value;
            (int inputs, int outputs, _) = MapKinds.All.First(k => k.Name() == map).Sizes(config);
            bool isA = match.Groups["factor"].Value == "A";
            (int rows, int columns) = isA ? (rank, inputs) : (outputs, rank);
            if (!StrictNumber.TryWhole(match.Groups["layer"].ValueSpan, out int layer) || layer >= config.Layers)
                throw new NolaException(
                    $"{file.Path}: tensor {Quoted.Of(entry.Name)} is of layer {Quoted.Of(match.Groups["layer"].Value)}, "
                    + $"and this model has {config.Layers}, counted from 0. Is it for another base model?");
            if (entry.Shape is not [var r, var c] || r != rows || c != columns)
                throw new NolaException(
                    $"{file.Path}: tensor {Quoted.Of(entry.Name)} has shape [{string.Join(", ", entry.Shape)}]; "
                    + $"this model and r = {rank} need [{rows}, {columns}]. Is it for another base model?");
            if (!found.TryGetValue((layer, map), out Module? module)) found[(layer, map)] = module = new(name);
            if (module.Name != name || (isA ? module.A : module.B) is not null)
                throw new NolaException(
                    $"{file.Path}: there are two tensors for lora_{(isA ? "A" : "B")} of h.{layer}.{map}; the file is damaged.");
            float[] values = Transpose(file.ReadFinite(entry), rows, columns);
            if (isA) module.A = values;
            else module.B = values;
        }
        foreach (((int layer, string map), Module module) in found)
            if (module.A is null || module.B is null)
                throw new NolaException(
                    $"{file.Path}: h.{layer}.{map} has only one of lora_A and lora_B.");
        if (found.Count == 0) throw new NolaException($"{file.Path}: there is no LoRA factor in it.");
        return found;
    }

    // The file must hold what its configuration names, and nothing else.
    private static void CheckModules(
        Dictionary<(int Layer, string Map), Module> found, PeftConfig config, Gpt2Config model, string path, string weights)
    {
        string first = found.Values.First().Name;
        // transformer. in a model with a head.
        int end = first.StartsWith("h.", StringComparison.Ordinal) ? 0 : first.LastIndexOf(".h.", StringComparison.Ordinal) + 1;
        string prefix = first[..end];
        foreach (MapKind kind in MapKinds.All.Where(k => k is not (MapKind.Q or MapKind.K or MapKind.V)))
        {
            for (int layer = 0; layer < model.Layers; layer++)
            {
                string name = prefix + kind.MapName(layer);
                bool there = found.TryGetValue((layer, kind.Name()), out Module? module);
                if (there && module!.Name != name)
                    throw new NolaException(
                        $"{weights}: modules are called {Quoted.Of(first)} and {Quoted.Of(module.Name)}; "
                        + $"expected all below '{prefix}h'.");
                if (there == config.Targets(name)) continue;
                throw new NolaException(there
                    ? $"{weights}: has factors for {name}, which target_modules of {path} does not name; they are of two adapters."
                    : $"{weights}: has no factors for {name}, which target_modules of {path} names; the file is not whole.");
            }
        }
        foreach (string other in (ReadOnlySpan<string>)[prefix + "wte", prefix + "wpe", "lm_head"])
            if (config.Targets(other))
                throw new NolaException(
                    $"{path}: target_modules names {other}; only c_attn, c_proj and c_fc can be loaded.");
    }

    // A' (r', in): the parts' A below each other. B' (out', r'): each part's B in its own rows and columns, zero elsewhere.
    private static IEnumerable<SafetensorsTensor> Tensors(Adapter adapter, string map, (Adapter.Factors F, int Row)[] parts, int rank)
    {
        int inputs = parts[0].F.In, outputs = adapter.Model.Map(map).Out, r = adapter.Rank;
        float[] a = new float[rank * inputs], b = new float[outputs * rank];
        for (int part = 0; part < parts.Length; part++)
        {
            (Adapter.Factors f, int row) = parts[part];
            ReadOnlySpan<float> fromA = f.A.Value.ToArray().AsSpan(row * inputs * r, inputs * r), fromB = f.B.Value.ToArray().AsSpan(row * r * f.Out, r * f.Out);
            for (int j = 0; j < r; j++)
            {
                for (int i = 0; i < inputs; i++) a[(part * r + j) * inputs + i] = fromA[i * r + j];
                for (int o = 0; o < f.Out; o++) b[(f.Column + o) * rank + part * r + j] = fromB[j * f.Out + o];
            }
        }
        string name = "base_model.model.transformer." + map;
        yield return new SafetensorsTensor(name + ".lora_A.weight", [rank, inputs], a);
        yield return new SafetensorsTensor(name + ".lora_B.weight", [outputs, rank], b);
    }

    private static string Config(Adapter adapter, int rank, IEnumerable<string> maps, string[] modules)
    {
        // When only some layers are adapted, PEFT needs the full names.
        bool everyLayer = maps.Count() == modules.Length * adapter.Model.Config.Layers;
        return JsonSerializer.Serialize(
            new Dictionary<string, object>
            {
                ["peft_type"] = "LORA",
                ["task_type"] = "CAUSAL_LM",
                ["base_model_name_or_path"] = adapter.Model.Source,
                ["r"] = rank,
                ["lora_alpha"] = StrictNumber.Shortest(adapter.Alpha) * (rank / adapter.Rank),
                ["lora_dropout"] = 0.0,
                ["bias"] = "none",
                ["fan_in_fan_out"] = true,
                ["inference_mode"] = true,
                ["target_modules"] = everyLayer ? modules : [.. maps.Select(map => "transformer." + map)],
            },
            new JsonSerializerOptions { WriteIndented = true }) + "\n";
    }

    private static string ModelCard(Adapter adapter) =>
        $"---\nbase_model: {adapter.Model.Source}\nlibrary_name: peft\n---\n\n"
        + $"A LoRA equal to a Nola adapter ({(adapter is NolaAdapter ? "NOLA" : "LoRA")}, rank {adapter.Rank}, {adapter.ParameterCount:N0} trained values), written by `nola export`.\n";

    private static float[] Transpose(float[] values, int rows, int columns)
    {
        float[] result = new float[values.Length];
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < columns; j++)
                result[j * rows + i] = values[i * columns + j];
        return result;
    }

    [GeneratedRegex(
        @"^(base_model\.model\.)?(?<module>(.*\.)?h\.(?<layer>[0-9]+)\.(?<map>attn\.c_attn|attn\.c_proj|mlp\.c_fc|mlp\.c_proj))"
        + @"\.lora_(?<factor>[AB])(\.default)?\.weight\z")]
    private static partial Regex KeyPattern();
}
