using System.Text.Json;
using System.Text.RegularExpressions;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// The <c>adapter_config.json</c> of a PEFT adapter, read so that whatever would change the adapter's output is either understood or
/// refused by name. What all methods have is read here, their own keys by their <see cref="PeftForm"/>.
/// </summary>
internal sealed class PeftConfig : IDisposable
{
    // What says nothing about the output of a loaded adapter: people's notes, training, and the first values.
    private static readonly HashSet<string> silent =
    [
        "peft_type", "peft_version", "task_type", "auto_mapping", "base_model_name_or_path", "revision", "inference_mode", "fan_in_fan_out",
        "runtime_config", "low_cpu_mem_usage",
    ];

    private static readonly HashSet<string> understood =
        ["target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", PeftTensors.SavedModules];

    // PEFT's own choices where target_modules is not given: for GPT-2, and for LLaMA and its kin.
    private static readonly string[][] standardTargets = [["c_attn"], ["q_proj", "v_proj"]];

    private const int LongestPattern = 10_000;

    private static readonly TimeSpan longestMatch = TimeSpan.FromSeconds(1);

    private readonly JsonDocument document;
    private readonly string path;
    private readonly Modules targets, excluded;
    private readonly int[]? layers;
    private readonly Regex[] layerPatterns;
    private readonly Dictionary<string, (Regex Pattern, JsonElement Value)[]> tables = [];

    private PeftConfig(JsonDocument document, string path, IModel model)
    {
        (this.document, this.path) = (document, path);
        // PEFT's "all-linear" leaves embedding and head out.
        string[] linear = [.. model.AdaptableMaps.Where(map => map.IsModule && map.IsInBlock).Select(map => LastOf(map.Kind)).Distinct()];
        targets = ReadModules("target_modules", linear)
            ?? new(standardTargets.FirstOrDefault(names => names.All(linear.Contains)) ?? [], null);
        excluded = ReadModules("exclude_modules", linear) ?? new([], null);
        layers = ReadLayers();
        layerPatterns = [.. ReadLayerPatterns()];
    }

    /// <summary>Where it is, for messages.</summary>
    public string Path => path;

    private JsonElement Root => document.RootElement;

    /// <summary>Reads the configuration of an adapter for a model; the form that it is of says which of its keys are known.</summary>
    /// <exception cref="NolaException">It is of a method that cannot be loaded, or asks for more; the message names what.</exception>
    public static PeftConfig Read(string path, IModel model, out PeftForm form)
    {
        JsonDocument document = JsonInput.Read(path);
        try
        {
            if (document.RootElement.ValueKind != JsonValueKind.Object)
                throw new NolaException($"{path}: not a PEFT configuration; expected an object with peft_type and r.");
            form = FormOf(document.RootElement, path);
            foreach (JsonProperty property in document.RootElement.EnumerateObject())
            {
                string key = property.Name;
                if (silent.Contains(key) || understood.Contains(key) || form.Silent.Contains(key)
                    || form.Understood.Contains(key) || IsOff(property.Value))
                    continue;
                throw new NolaException(
                    $"{path}: {Quoted.Of(key)} is {Quoted.Of(property.Value.GetRawText())}; {form.Plain} can be loaded.");
            }
            return new PeftConfig(document, path, model);
        }
        catch
        {
            document.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => document.Dispose();

    /// <summary>A value, where one is given.</summary>
    public JsonElement? Given(string key) =>
        Root.TryGetProperty(key, out JsonElement value) && value.ValueKind != JsonValueKind.Null ? value : null;

    /// <summary>A number as it is written; null where none is given.</summary>
    public string? Number(string key) => Given(key) is { ValueKind: JsonValueKind.Number } value ? value.GetRawText() : null;

    /// <summary>A rank.</summary>
    /// <exception cref="NolaException">It is missing, or is none.</exception>
    public int Rank() =>
        Number("r") is { } r && StrictNumber.TryWhole(r, out int rank) && rank > 0 ? rank : throw Bad("r", "a whole number from 1");

    /// <summary>A number of things, from 1; <paramref name="otherwise"/> where none is given.</summary>
    /// <exception cref="NolaException">It is none.</exception>
    public int Count(string key, int otherwise)
    {
        if (Given(key) is null) return otherwise;
        return Number(key) is { } text && StrictNumber.TryWhole(text, out int count) && count > 0
            ? count
            : throw Bad(key, "a whole number from 1");
    }

    /// <summary>A finite number above 0; <paramref name="otherwise"/> where none is given.</summary>
    /// <exception cref="NolaException">It is none.</exception>
    public float Positive(string key, float otherwise)
    {
        if (Given(key) is null) return otherwise;
        return Number(key) is { } text && StrictNumber.TryReal(text, out float value) && value > 0
            ? value
            : throw Bad(key, "a finite number above 0");
    }

    /// <summary>A seed of PyTorch's generator; <paramref name="otherwise"/> where none is given.</summary>
    /// <exception cref="NolaException">It is none.</exception>
    public ulong Key(string key, ulong otherwise)
    {
        if (Given(key) is null) return otherwise;
        return Number(key) is { } text && StrictNumber.TryWhole(text, out ulong seed) && seed <= uint.MaxValue
            ? seed
            : throw Bad(key, $"a whole number from 0 to {uint.MaxValue}");
    }

    /// <summary>Refuses trained biases, for methods with which they cannot be loaded.</summary>
    /// <exception cref="NolaException">The configuration asks for some.</exception>
    public void CheckNoBias()
    {
        if (Given("bias") is { } bias && Text(bias, "bias") != "none") throw Bad("bias", "'none'");
    }

    /// <summary>A text.</summary>
    /// <exception cref="NolaException">It is something else.</exception>
    public string Text(JsonElement value, string key) => value.ValueKind == JsonValueKind.String
        ? value.GetString()!
        : throw new NolaException($"{path}: {key} is {Quoted.Of(value.GetRawText())}; expected text.");

    /// <summary>A list of names; empty where none is given.</summary>
    /// <exception cref="NolaException">It is something else.</exception>
    public string[] Names(string key) => Given(key) switch
    {
        null => [],
        { ValueKind: JsonValueKind.Array } list => [.. list.EnumerateArray().Select(value => Text(value, key))],
        { } value => [Text(value, key)],
    };

    /// <summary>Whether a switch is on; it is off where it is not given.</summary>
    /// <exception cref="NolaException">It is something else.</exception>
    public bool Flag(string key) => Given(key) switch
    {
        null or { ValueKind: JsonValueKind.False } => false,
        { ValueKind: JsonValueKind.True } => true,
        _ => throw Bad(key, "true or false"),
    };

    /// <summary>What is said of a value that cannot be used, or is not there.</summary>
    public NolaException Bad(string key, string expected) => Given(key) is { } value
        ? new($"{path}: {key} is {Quoted.Of(value.GetRawText())}; expected {expected}.")
        : new($"{path}: not a PEFT configuration; it has no {key}, which is {expected}.");

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
            throw TooLong(error);
        }
    }

    /// <summary>
    /// What a table of patterns says of a module, by PEFT's own rule: the first pattern that is its name, or the end of it after a dot;
    /// null where none is.
    /// </summary>
    /// <param name="key">The key of the table, such as <c>rank_pattern</c>.</param>
    /// <param name="name">For example <c>transformer.h.0.attn.c_attn</c>.</param>
    /// <exception cref="NolaException">The value is no such table, or takes too long to match.</exception>
    public JsonElement? Matching(string key, string name)
    {
        if (!tables.TryGetValue(key, out (Regex Pattern, JsonElement Value)[]? table)) tables[key] = table = ReadTable(key);
        try
        {
            return table.Where(row => row.Pattern.IsMatch(name)).Select(row => (JsonElement?)row.Value).FirstOrDefault();
        }
        catch (RegexMatchTimeoutException error)
        {
            throw TooLong(error);
        }
    }

    private (Regex Pattern, JsonElement Value)[] ReadTable(string key) => Given(key) switch
    {
        null => [],
        { ValueKind: JsonValueKind.Object } table =>
            [.. table.EnumerateObject().Select(row => (Pattern($@"^(?:.*\.)?(?:{row.Name})$", key), row.Value))],
        _ => throw Bad(key, "an object, whose keys are patterns of names"),
    };

    private NolaException TooLong(RegexMatchTimeoutException error) =>
        new($"{path}: the pattern {Quoted.Of(error.Pattern)} takes too long to match; write the modules as a list.", error);

    /// <summary>
    /// Whether IA3's list or pattern of feed-forward modules means a module: by PEFT's own rule the end of its name alone, whether or
    /// not a dot stands before it.
    /// </summary>
    /// <param name="key">The key of the list.</param>
    /// <param name="name">For example <c>transformer.h.0.mlp.c_proj</c>.</param>
    /// <exception cref="NolaException">The value is no such list, or takes too long to match.</exception>
    public bool IsFeedForward(string key, string name)
    {
        if (Given(key) is not { ValueKind: JsonValueKind.String } value)
            return Names(key).Any(end => name.EndsWith(end, StringComparison.Ordinal));
        try
        {
            return Pattern($"^(?:{value.GetString()})$", key).IsMatch(name);
        }
        catch (RegexMatchTimeoutException error)
        {
            throw TooLong(error);
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

    private Modules? ReadModules(string key, string[] linear)
    {
        if (Given(key) is not { } value) return null;
        if (value.ValueKind == JsonValueKind.Array) return new([.. value.EnumerateArray().Select(v => Text(v, key))], null);
        string text = Text(value, key);
        return text == "all-linear" ? new(linear, null) : new([], Pattern($"^(?:{text})$", key));
    }

    private int[]? ReadLayers()
    {
        const string Key = "layers_to_transform";
        if (Given(Key) is not { } value) return null;
        JsonElement[] items = value.ValueKind == JsonValueKind.Array ? [.. value.EnumerateArray()] : [value];
        int[] numbers = [.. items.Select(Layer)];
        // An empty list is no restriction.
        return numbers.Length == 0 ? null : numbers;

        int Layer(JsonElement item) => item.ValueKind == JsonValueKind.Number && item.TryGetInt32(out int layer) && layer >= 0
            ? layer
            : throw Bad(Key, "whole numbers from 0");
    }

    private IEnumerable<Regex> ReadLayerPatterns()
    {
        const string Key = "layers_pattern";
        JsonElement? value = Given(Key);
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

    private static PeftForm FormOf(JsonElement root, string path)
    {
        string type = root.TryGetProperty("peft_type", out JsonElement value) && value.ValueKind != JsonValueKind.Null
            ? value.ValueKind == JsonValueKind.String ? value.GetString()! : value.GetRawText()
            : "";
        PeftForm[] forms = [.. AdapterMethods.Known.Select(method => method.Peft).OfType<PeftForm>()];
        return forms.FirstOrDefault(form => form.PeftType == type) ?? throw new NolaException(
            $"{path}: peft_type is {Quoted.Of(type)}; only {string.Join(" and ", forms.Select(form => form.PeftType))} can be loaded.");
    }

    private static string LastOf(string kind) => kind[(kind.LastIndexOf('.') + 1)..];

    private static bool IsOff(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Null or JsonValueKind.False => true,
        JsonValueKind.Array => value.GetArrayLength() == 0,
        JsonValueKind.Object => value.GetPropertyCount() == 0,
        JsonValueKind.String => value.GetString()!.Length == 0,
        _ => false,
    };
}
