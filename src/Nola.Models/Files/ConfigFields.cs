using System.Text.Json;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>The fields of a <c>config.json</c>, read strictly. A null is as good as a field that is not there.</summary>
/// <param name="root">The object that has them.</param>
/// <param name="path">Where it came from, for messages.</param>
internal sealed class ConfigFields(JsonElement root, string path)
{
    // Every size is below it.
    private const int Largest = 10_000_000;

    /// <summary>Where they came from, for messages.</summary>
    public string Path => path;

    /// <summary>The names of all that are given.</summary>
    public IEnumerable<string> Names =>
        root.EnumerateObject().Where(given => given.Value.ValueKind != JsonValueKind.Null).Select(given => given.Name);

    /// <summary>Whether there is a field of that name, be it null.</summary>
    public bool Has(string name) => root.TryGetProperty(name, out _);

    /// <summary>A value, where one is given.</summary>
    public JsonElement? Given(string name) =>
        root.TryGetProperty(name, out JsonElement value) && value.ValueKind != JsonValueKind.Null ? value : null;

    /// <summary>A text.</summary>
    /// <exception cref="NolaException">It is something else.</exception>
    public string? Text(string name) => Given(name) switch
    {
        null => null,
        { ValueKind: JsonValueKind.String } value => value.GetString(),
        _ => throw Bad(name, "expected text"),
    };

    /// <summary>True or false.</summary>
    /// <exception cref="NolaException">It is something else.</exception>
    public bool? Flag(string name) => Given(name) switch
    {
        null => null,
        { ValueKind: JsonValueKind.True } => true,
        { ValueKind: JsonValueKind.False } => false,
        _ => throw Bad(name, "expected true or false"),
    };

    /// <summary>A number of layers, heads, columns, tokens.</summary>
    /// <exception cref="NolaException">It is something else.</exception>
    public int? Size(string name) => Given(name) switch
    {
        null => null,
        { ValueKind: JsonValueKind.Number } value when value.TryGetInt32(out int number) && number is > 0 and < Largest => number,
        _ => throw Bad(name, $"expected a positive whole number below {Largest}"),
    };

    /// <summary>What is added to a norm's square, as a float32.</summary>
    /// <exception cref="NolaException">It is negative, or no finite number.</exception>
    public float? Epsilon(string name) => Given(name) switch
    {
        null => null,
        { ValueKind: JsonValueKind.Number } value when StrictNumber.TryReal(value.GetRawText(), out float number) && number >= 0 => number,
        _ => throw Bad(name, "expected a finite number from 0"),
    };

    /// <summary>A factor or a frequency.</summary>
    /// <exception cref="NolaException">It is not above 0, or no finite number.</exception>
    public double? Positive(string name) => Given(name) switch
    {
        null => null,
        { ValueKind: JsonValueKind.Number } value when StrictNumber.TryReal(value.GetRawText(), out double number) && number > 0 => number,
        _ => throw Bad(name, "expected a finite number above 0"),
    };

    /// <summary>One token id, or a list of them; empty where none is given.</summary>
    /// <exception cref="NolaException">It is something else.</exception>
    public IReadOnlyList<int> Tokens(string name)
    {
        return Given(name) switch
        {
            null => [],
            { ValueKind: JsonValueKind.Array } list => [.. list.EnumerateArray().Select(Token)],
            { } value => [Token(value)],
        };

        int Token(JsonElement value) => value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int id)
            ? id
            : throw Bad(name, "expected a token id, or a list of them");
    }

    /// <summary>The fields of an object within.</summary>
    /// <exception cref="NolaException">It is something else.</exception>
    public ConfigFields? Within(string name) => Given(name) switch
    {
        null => null,
        { ValueKind: JsonValueKind.Object } value => new(value, $"{path}: {name}"),
        _ => throw Bad(name, "expected an object"),
    };

    /// <summary>What is said of a value that cannot be used.</summary>
    public NolaException Bad(string name, string why) => new($"{path}: {name} is {Shown(name)}; {why}.");

    /// <summary>What is said of a value that is needed.</summary>
    public NolaException Missing(string name, string why) => new($"{path}: {name} is missing; {why}.");

    /// <summary>A value as it is written, on one short line.</summary>
    public string Shown(string name) =>
        root.TryGetProperty(name, out JsonElement value) ? NolaException.OneLine(value.GetRawText(), 60) : "not given";

    /// <summary>Refuses a size that no model has.</summary>
    public static void CheckSize(int size, string name, string place)
    {
        if (size is < 1 or >= Largest) throw new NolaException($"{place}: {name} is {size}; expected 1 to {Largest - 1}.");
    }
}
