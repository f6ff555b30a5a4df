using System.Text.Json;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>The fields of JSON objects in data, each of the type that it must have.</summary>
internal static class JsonFields
{
    /// <summary>Whether a value is an object with such a field.</summary>
    public static bool Has(JsonElement from, string name) => from.ValueKind == JsonValueKind.Object && from.TryGetProperty(name, out _);

    /// <summary>A text that must be there.</summary>
    /// <exception cref="NolaException">It is missing, or something else.</exception>
    public static string Text(JsonElement from, string name, string place) =>
        TextOf(Field(from, name, place), $"\"{name}\"", place);

    /// <summary>A value that must be a text.</summary>
    /// <param name="value">The value.</param>
    /// <param name="what">What it is, for the message.</param>
    /// <param name="place">File and line or entry.</param>
    /// <exception cref="NolaException">It is something else.</exception>
    public static string TextOf(JsonElement value, string what, string place) => value.ValueKind == JsonValueKind.String
        ? value.GetString()!
        : throw new NolaException($"{place}: {what} is {Kind(value)}; expected text.");

    /// <summary>A text that may be missing or null; then empty.</summary>
    /// <exception cref="NolaException">It is something else.</exception>
    public static string TextOrNothing(JsonElement from, string name, string place) =>
        from.TryGetProperty(name, out JsonElement value) && value.ValueKind != JsonValueKind.Null
            ? TextOf(value, $"\"{name}\"", place)
            : "";

    /// <summary>The items of an array that must be there.</summary>
    /// <exception cref="NolaException">It is missing, or something else.</exception>
    public static JsonElement.ArrayEnumerator Array(JsonElement from, string name, string place)
    {
        JsonElement value = Field(from, name, place);
        return value.ValueKind == JsonValueKind.Array
            ? value.EnumerateArray()
            : throw new NolaException($"{place}: \"{name}\" is {Kind(value)}; expected an array.");
    }

    /// <summary>What a value is, in words.</summary>
    public static string Kind(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Array when value.GetArrayLength() == 0 => "empty array",
        JsonValueKind.Array => "array",
        JsonValueKind.True or JsonValueKind.False => "true or false",
        JsonValueKind kind => kind.ToString().ToLowerInvariant(),
    };

    private static JsonElement Field(JsonElement from, string name, string place)
    {
        if (from.ValueKind != JsonValueKind.Object)
            throw new NolaException($"{place}: is {Kind(from)}; expected an object with \"{name}\".");
        return from.TryGetProperty(name, out JsonElement value) ? value : throw new NolaException($"{place}: there is no \"{name}\".");
    }
}
