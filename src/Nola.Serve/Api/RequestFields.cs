using System.Diagnostics.CodeAnalysis;
using System.Text.Json;
using Nola.Tensors;

namespace Nola.Serve;

/// <summary>
/// The fields of a JSON object that a client sent, each read strictly. A field that is <c>null</c> was not given. Whatever nobody has
/// read in the end is refused by name, since a field without effect would be a wrong answer that looks like a right one.
/// </summary>
internal sealed class RequestFields
{
    private readonly JsonElement root;
    private readonly string place;
    private readonly HashSet<string> read = [];

    /// <summary>The fields of an object.</summary>
    /// <param name="root">The object.</param>
    /// <param name="place">Where it stands in the request, for example <c>messages[0]</c>; empty for the request itself.</param>
    /// <exception cref="ApiException">It is no object.</exception>
    public RequestFields(JsonElement root, string place = "")
    {
        (this.root, this.place) = (root, place);
        if (root.ValueKind != JsonValueKind.Object)
            throw ApiException.Bad(
                place.Length == 0 ? null : place, $"{(place.Length == 0 ? "The body" : place)} is {Kind(root)}; expected a JSON object.");
    }

    /// <summary>The name of a field in the whole request.</summary>
    public string Name(string field) => place.Length == 0 ? field : $"{place}.{field}";

    /// <summary>A field, if it was given.</summary>
    public bool TryGet(string field, out JsonElement value)
    {
        read.Add(field);
        return root.TryGetProperty(field, out value) && value.ValueKind != JsonValueKind.Null;
    }

    /// <summary>A text; null when it was not given.</summary>
    /// <exception cref="ApiException">It is no text.</exception>
    public string? Text(string field)
    {
        if (!TryGet(field, out JsonElement value)) return null;
        return value.ValueKind == JsonValueKind.String ? value.GetString() : throw Wrong(field, value, "a text");
    }

    /// <summary>A text that must be there.</summary>
    /// <exception cref="ApiException">It is missing, or no text.</exception>
    public string RequiredText(string field) => Text(field) ?? throw Missing(field, "a text");

    /// <summary>A switch; false when it was not given.</summary>
    /// <exception cref="ApiException">It is neither <c>true</c> nor <c>false</c>.</exception>
    public bool Flag(string field, bool otherwise = false)
    {
        if (!TryGet(field, out JsonElement value)) return otherwise;
        return value.ValueKind is JsonValueKind.True or JsonValueKind.False
            ? value.GetBoolean()
            : throw Wrong(field, value, "true or false");
    }

    /// <summary>A whole number; null when it was not given.</summary>
    /// <exception cref="ApiException">It is no whole number, or out of range.</exception>
    public long? Whole(string field, long least, long most)
    {
        if (!TryGet(field, out JsonElement value)) return null;
        string expected = most is int.MaxValue or long.MaxValue ? $"a whole number from {least}" : $"a whole number from {least} to {most}";
        bool fits = value.ValueKind == JsonValueKind.Number && value.TryGetInt64(out long number) && number >= least && number <= most;
        return fits ? value.GetInt64() : throw Wrong(field, value, expected);
    }

    /// <summary>A whole number of 32 bits; null when it was not given.</summary>
    /// <exception cref="ApiException">It is no whole number, or out of range.</exception>
    public int? Int(string field, int least, int most) => (int?)Whole(field, least, most);

    /// <summary>A finite number; null when it was not given.</summary>
    /// <exception cref="ApiException">It is no number, or out of range.</exception>
    public double? Real(string field, double least, double most, bool above = false)
    {
        if (!TryGet(field, out JsonElement value)) return null;
        string expected = above
            ? FormattableString.Invariant($"a number above {least}, at most {most}")
            : FormattableString.Invariant($"a number from {least} to {most}");
        return Number(value, least, most, above) ?? throw Wrong(field, value, expected);
    }

    /// <summary>A text, or a list of them; empty when it was not given.</summary>
    /// <exception cref="ApiException">It is something else, or there are too many.</exception>
    public IReadOnlyList<string> Texts(string field, int most)
    {
        if (!TryGet(field, out JsonElement value)) return [];
        if (value.ValueKind == JsonValueKind.String) return [value.GetString()!];
        bool texts = value.ValueKind == JsonValueKind.Array && value.EnumerateArray().All(item => item.ValueKind == JsonValueKind.String);
        if (!texts || value.GetArrayLength() > most) throw Wrong(field, value, $"a text, or a list of at most {most} texts");
        return [.. value.EnumerateArray().Select(item => item.GetString()!)];
    }

    /// <summary>A list of token ids; null when it was not given.</summary>
    /// <exception cref="ApiException">It is something else.</exception>
    public IReadOnlyList<int>? Ids(string field)
    {
        if (!TryGet(field, out JsonElement value)) return null;
        return TryIds(value, out int[]? ids) ? ids : throw Wrong(field, value, "a list of token ids, which are whole numbers from 0");
    }

    /// <summary>Fields that change nothing here, whatever they say.</summary>
    public void Ignore(params ReadOnlySpan<string> fields)
    {
        foreach (string field in fields) read.Add(field);
    }

    /// <summary>A field that this server knows in one value only, the one that changes nothing.</summary>
    /// <exception cref="ApiException">It has another value.</exception>
    public void Only(string field, Func<JsonElement, bool> isNeutral, string allowed)
    {
        if (TryGet(field, out JsonElement value) && !isNeutral(value))
            throw ApiException.Bad(
                Name(field), $"{Name(field)} is {Shown(value)}, which this server does not support; leave it out, or give {allowed}.",
                "unsupported_parameter");
    }

    /// <summary>Refuses the fields that nobody has read.</summary>
    /// <exception cref="ApiException">There is one.</exception>
    public void RefuseOthers()
    {
        foreach (JsonProperty property in root.EnumerateObject())
            if (!read.Contains(property.Name))
                throw ApiException.Bad(
                    Name(NolaException.OneLine(property.Name, 60)),
                    $"{Quoted.Of(Name(property.Name))} is no field that this server knows; leave it out, since it would have no effect.",
                    "unknown_parameter");
    }

    /// <summary>A field that must be there.</summary>
    public ApiException Missing(string field, string expected) =>
        ApiException.Bad(Name(field), $"{Name(field)} is missing; expected {expected}.", "missing_required_parameter");

    /// <summary>A field whose value is none.</summary>
    public ApiException Wrong(string field, JsonElement value, string expected) =>
        ApiException.Bad(Name(field), $"{Name(field)} is {Shown(value)}; expected {expected}.", "invalid_value");

    /// <summary>A number in a range; null where it is none.</summary>
    public static double? Number(JsonElement value, double least, double most, bool above = false)
    {
        if (value.ValueKind != JsonValueKind.Number || !value.TryGetDouble(out double number) || !double.IsFinite(number)) return null;
        return number >= least && number <= most && !(above && number == least) ? number : null;
    }

    /// <summary>A list of token ids.</summary>
    public static bool TryIds(JsonElement value, [NotNullWhen(true)] out int[]? ids)
    {
        ids = null;
        if (value.ValueKind != JsonValueKind.Array) return false;
        int[] found = new int[value.GetArrayLength()];
        int count = 0;
        foreach (JsonElement item in value.EnumerateArray())
        {
            if (item.ValueKind != JsonValueKind.Number || !item.TryGetInt32(out found[count]) || found[count] < 0) return false;
            count++;
        }
        ids = found;
        return true;
    }

    /// <summary>What a message repeats of a value.</summary>
    public static string Shown(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.String => Quoted.Of(value.GetString()!, 40),
        JsonValueKind.Object or JsonValueKind.Array => Kind(value),
        _ => NolaException.OneLine(value.GetRawText(), 40),
    };

    private static string Kind(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Object => "an object",
        JsonValueKind.Array => "a list",
        JsonValueKind.String => "a text",
        JsonValueKind.Number => "a number",
        JsonValueKind.Null => "null",
        _ => "a truth value",
    };
}
