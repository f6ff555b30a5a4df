using System.Globalization;
using System.Text.Json;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>One key that a run can be set with, in a configuration file and as <c>--name</c> on the command line.</summary>
/// <param name="Name">The key, in kebab case.</param>
/// <param name="Help">What it does, and what its default is.</param>
/// <param name="Values">What may be given, for messages and help.</param>
/// <param name="IsFlag">Whether it is true or false.</param>
internal sealed record Setting(string Name, string Help, string Values, bool IsFlag = false);

/// <summary>
/// The settings of a run as text, gathered from a JSON file and from the command line (which wins), with the getters that
/// check them. Unknown keys and values that cannot be read are refused with a sentence that names them.
/// </summary>
internal sealed class Settings(IReadOnlyList<Setting> known)
{
    // Keys of earlier versions.
    private static readonly Dictionary<string, string> renamed = new() { ["quantise-bits"] = "quantize-bits" };

    private readonly Dictionary<string, string> values = [];

    /// <summary>All keys.</summary>
    public IReadOnlyList<Setting> Known => known;

    /// <summary>Sets a key.</summary>
    /// <exception cref="NolaException">There is no such key; the message suggests the nearest.</exception>
    public void Set(string key, string value, string place)
    {
        key = renamed.GetValueOrDefault(key, key);
        if (known.All(s => s.Name != key))
        {
            string nearest = Spelling.Nearest(key, known.Select(s => s.Name));
            throw new NolaException(
                $"{place}: the key {Quoted.Of(key)} is not known; did you mean '{nearest}'? Known keys: " +
                $"{string.Join(", ", known.Select(s => s.Name))}.");
        }
        values[key] = value;
    }

    /// <summary>Sets a key to a JSON value; an array becomes a comma-separated list.</summary>
    /// <exception cref="NolaException">There is no such key, or the value is none.</exception>
    public void Set(JsonProperty property, string place) => Set(property.Name, Text(property.Value, property.Name, place), place);

    /// <summary>Reads a JSON object of keys; arrays become comma-separated lists.</summary>
    /// <exception cref="NolaException">It is not such an object, or has an unknown key.</exception>
    public void ReadJson(string path)
    {
        using JsonDocument document = JsonInput.Read(path, handWritten: true);
        if (document.RootElement.ValueKind != JsonValueKind.Object)
            throw new NolaException($"{path}: expected one JSON object of settings.");
        foreach (JsonProperty property in document.RootElement.EnumerateObject()) Set(property, path);
    }

    /// <summary>Takes over what was given elsewhere; it wins.</summary>
    public void Set(Settings other)
    {
        foreach ((string key, string value) in other.values) values[key] = value;
    }

    /// <summary>Forgets a key, if it was given.</summary>
    public void Remove(string key) => values.Remove(key);

    /// <summary>The keys that were given, as text.</summary>
    public IReadOnlyDictionary<string, string> Given => values;

    /// <summary>The same settings, to be changed by themselves.</summary>
    public Settings Copy()
    {
        Settings copy = new(known);
        foreach ((string key, string value) in values) copy.values[key] = value;
        return copy;
    }

    /// <summary>Whether a key was given.</summary>
    public bool Has(string key) => values.ContainsKey(key);

    /// <summary>A text.</summary>
    public string Text(string key, string standard) => values.GetValueOrDefault(key, standard);

    /// <summary>A comma-separated list.</summary>
    public string[] List(string key, params string[] standard) => values.TryGetValue(key, out string? text)
        ? text.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)
        : standard;

    /// <summary>True or false.</summary>
    public bool Flag(string key) =>
        values.TryGetValue(key, out string? text) && (bool.TryParse(text, out bool value) ? value : throw Bad(key, text));

    /// <summary>A whole number.</summary>
    public int Whole(string key, int standard) => !values.TryGetValue(key, out string? text) ? standard
        : StrictNumber.TryWhole(text, out int value) ? value : throw Bad(key, text);

    /// <summary>A seed.</summary>
    public ulong Seed(string key, ulong standard) => !values.TryGetValue(key, out string? text) ? standard
        : StrictNumber.TryWhole(text, out ulong value) ? value : throw Bad(key, text);

    /// <summary>A number.</summary>
    public double Real(string key, double standard) => !values.TryGetValue(key, out string? text) ? standard
        : StrictNumber.TryReal(text, out double value) ? value : throw Bad(key, text);

    /// <summary>One of the names of an enumeration, whatever their capitals.</summary>
    public T Choice<T>(string key, T standard) where T : struct, Enum
    {
        if (!values.TryGetValue(key, out string? text)) return standard;
        string? name = Enum.GetNames<T>().FirstOrDefault(name => name.Equals(text, StringComparison.OrdinalIgnoreCase));
        return name is null ? throw Bad(key, text) : Enum.Parse<T>(name);
    }

    /// <summary>The names that <see cref="Choice"/> takes, for help and messages: <c>uniform, normal or sign</c>.</summary>
    internal static string Names<T>() where T : struct, Enum => Names([.. Enum.GetNames<T>().Select(name => name.ToLowerInvariant())]);

    /// <summary>Some names in a row: <c>uniform, normal or sign</c>.</summary>
    internal static string Names(params ReadOnlySpan<string> names) =>
        names.Length == 1 ? names[0] : $"{string.Join(", ", names[..^1].ToArray())} or {names[^1]}";

    private static string Text(JsonElement value, string key, string path) => value.ValueKind switch
    {
        JsonValueKind.String => value.GetString()!,
        JsonValueKind.Number => value.GetRawText(),
        JsonValueKind.True => "true",
        JsonValueKind.False => "false",
        JsonValueKind.Array => string.Join(',', value.EnumerateArray().Select(v => Text(v, key, path))),
        _ => throw new NolaException($"{path}: '{key}' is {value.ValueKind.ToString().ToLowerInvariant()}; "
            + "expected text, a number, true or false, or a list of them."),
    };

    /// <summary>What is said of a value that cannot be read.</summary>
    internal NolaException Bad(string key) => Bad(key, Text(key, ""));

    private NolaException Bad(string key, string text) => new(
        $"{key} is {Quoted.Of(text)}; expected {known.First(s => s.Name == key).Values}.");
}
