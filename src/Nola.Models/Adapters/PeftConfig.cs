using System.Text.Json;
using System.Text.RegularExpressions;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// The <c>adapter_config.json</c> of a PEFT LoRA, read so that whatever would change the adapter's output is either understood or
/// refused by name.
/// </summary>
internal sealed class PeftConfig
{
    // What says nothing about the output of an adapter that is loaded for GPT-2: people's notes, training, and the first values.
    private static readonly HashSet<string> silent =
    [
        "peft_type", "peft_version", "task_type", "auto_mapping", "base_model_name_or_path", "revision", "inference_mode", "lora_dropout",
        "fan_in_fan_out", "megatron_core", "loftq_config", "eva_config", "corda_config", "lora_ga_config", "runtime_config",
        "qalora_group_size", "ensure_weight_tying", "low_cpu_mem_usage",
    ];

    private static readonly HashSet<string> understood =
        ["r", "lora_alpha", "bias", "init_lora_weights", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"];

    // Others take something out of the base model's weights, to which the adapter then does not fit.
    private static readonly string[] plainStarts = ["gaussian", "eva", "orthogonal"];

    private const int LongestPattern = 10_000;

    private static readonly TimeSpan longestMatch = TimeSpan.FromSeconds(1);

    private readonly string path;
    private readonly Modules targets, excluded;
    private readonly int[]? layers;
    private readonly Regex[] layerPatterns;

    private PeftConfig(JsonElement root, string path)
    {
        this.path = path;
        string? type = Given(root, "peft_type") is { } t ? Text(t, "peft_type") : null;
        if (type != "LORA") throw new NolaException($"{path}: peft_type is {Quoted.Of(type ?? "")}; only LORA can be loaded.");
        foreach (JsonProperty property in root.EnumerateObject())
            if (!silent.Contains(property.Name) && !understood.Contains(property.Name) && !IsOff(property.Value))
                throw new NolaException(
                    $"{path}: {Quoted.Of(property.Name)} is {Quoted.Of(property.Value.GetRawText())}; only plain LoRA, "
                    + "with one rank and alpha for all maps, can be loaded.");
        Rank = Number(root, "r") is { } r && StrictNumber.TryWhole(r, out int rank) && rank > 0
            ? rank
            : throw Bad(root, "r", "a whole number from 1");
        Alpha = Number(root, "lora_alpha") is { } a && StrictNumber.TryReal(a, out float alpha) && alpha > 0
            ? alpha
            : throw Bad(root, "lora_alpha", "a finite number above 0");
        if (Given(root, "bias") is { } bias && Text(bias, "bias") != "none") throw Bad(root, "bias", "'none'");
        if (Given(root, "init_lora_weights") is { ValueKind: not (JsonValueKind.True or JsonValueKind.False) } start
            && !plainStarts.Contains(Text(start, "init_lora_weights")))
            throw Bad(root, "init_lora_weights", $"true, false, {string.Join(", ", plainStarts)}: others change the base model's weights");
        // PEFT's own choice for GPT-2.
        targets = ReadModules(root, "target_modules") ?? new(["c_attn"], null);
        excluded = ReadModules(root, "exclude_modules") ?? new([], null);
        layers = ReadLayers(root);
        layerPatterns = [.. ReadLayerPatterns(root)];
    }

    /// <summary>r.</summary>
    public int Rank { get; }

    /// <summary>Numerator of the output's scale.</summary>
    public float Alpha { get; }

    /// <summary>Reads a file.</summary>
    /// <exception cref="NolaException">It is not a plain LoRA's; the message names what is not.</exception>
    public static PeftConfig Read(string path)
    {
        using JsonDocument document = JsonInput.Read(path);
        if (document.RootElement.ValueKind != JsonValueKind.Object)
            throw new NolaException($"{path}: not a PEFT LoRA configuration; expected an object with peft_type, r and lora_alpha.");
        return new PeftConfig(document.RootElement, path);
    }

    /// <summary>Whether PEFT adapts a module of that name, by PEFT's own rules.</summary>
    /// <param name="name">For example <c>transformer.h.0.attn.c_attn</c>.</param>
    /// <exception cref="NolaException">A pattern takes too long to match.</exception>
    public bool Targets(string name)
    {
        try
        {
            if (excluded.Match(name) || !targets.Match(name)) return false;
            return layers is null || (LayerOf(name) is { } layer && layers.Contains(layer));
        }
        catch (RegexMatchTimeoutException error)
        {
            throw new NolaException(
                $"{path}: the pattern {Quoted.Of(error.Pattern)} takes too long to match; write the modules as a list.", error);
        }
    }

    // By the whole name or its end after a dot; or by a pattern of the whole name.
    private sealed record Modules(string[] Names, Regex? Pattern)
    {
        public bool Match(string name) => Pattern is not null
            ? Pattern.IsMatch(name)
            : Names.Any(end => name == end || name.EndsWith("." + end, StringComparison.Ordinal));
    }

    private int? LayerOf(string name)
    {
        foreach (Regex pattern in layerPatterns)
        {
            Match match = pattern.Match(name);
            if (match.Success && StrictNumber.TryWhole(match.Groups[1].ValueSpan, out int layer)) return layer;
        }
        return null;
    }

    private Modules? ReadModules(JsonElement root, string key)
    {
        if (Given(root, key) is not { } value) return null;
        if (value.ValueKind == JsonValueKind.Array) return new([.. value.EnumerateArray().Select(v => Text(v, key))], null);
        string text = Text(value, key);
        return text == "all-linear" ? new(["c_attn", "c_proj", "c_fc"], null) : new([], Pattern($"^(?:{text})$", key));
    }

    private int[]? ReadLayers(JsonElement root)
    {
        const string Key = "layers_to_transform";
        if (Given(root, Key) is not { } value) return null;
        JsonElement[] items = value.ValueKind == JsonValueKind.Array ? [.. value.EnumerateArray()] : [value];
        int[] numbers = [.. items.Select(Layer)];
        // An empty list is no restriction.
        return numbers.Length == 0 ? null : numbers;

        int Layer(JsonElement item) => item.ValueKind == JsonValueKind.Number && item.TryGetInt32(out int layer) && layer >= 0
            ? layer
            : throw Bad(root, Key, "whole numbers from 0");
    }

    private IEnumerable<Regex> ReadLayerPatterns(JsonElement root)
    {
        const string Key = "layers_pattern";
        JsonElement? value = Given(root, Key);
        string[] names = value switch
        {
            null => [],
            { ValueKind: JsonValueKind.Array } list => [.. list.EnumerateArray().Select(v => Text(v, Key))],
            { } one => [Text(one, Key)],
        };
        if (names.Length == 0) names = [@"[^.]*"];
        return names.Select(name => Pattern($@"^.*\.(?:{name})\.([0-9]+)\.", Key));
    }

    private Regex Pattern(string pattern, string key)
    {
        if (pattern.Length > LongestPattern)
            throw new NolaException(
                $"{path}: {key} has a pattern of {pattern.Length} characters; write the modules as a list.");
        try
        {
            return new Regex(pattern, RegexOptions.CultureInvariant, longestMatch);
        }
        catch (ArgumentException error)
        {
            throw new NolaException(
                $"{path}: {key} is no pattern that can be read ({Quoted.Of(error.Message.TrimEnd('.'))}); write the modules as a list.",
                error);
        }
    }

    private static string? Number(JsonElement root, string key) =>
        Given(root, key) is { ValueKind: JsonValueKind.Number } value ? value.GetRawText() : null;

    private string Text(JsonElement value, string key) => value.ValueKind == JsonValueKind.String
        ? value.GetString()!
        : throw new NolaException($"{path}: {key} is {Quoted.Of(value.GetRawText())}; expected text.");

    private NolaException Bad(JsonElement root, string key, string expected) => Given(root, key) is { } value
        ? new($"{path}: {key} is {Quoted.Of(value.GetRawText())}; expected {expected}.")
        : new($"{path}: not a PEFT LoRA configuration; it has no {key}, which is {expected}.");

    private static bool IsOff(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Null or JsonValueKind.False => true,
        JsonValueKind.Array => value.GetArrayLength() == 0,
        JsonValueKind.Object => value.GetPropertyCount() == 0,
        JsonValueKind.String => value.GetString()!.Length == 0,
        _ => false,
    };

    private static JsonElement? Given(JsonElement root, string key) =>
        root.TryGetProperty(key, out JsonElement value) && value.ValueKind != JsonValueKind.Null ? value : null;
}
