using System.Text.Json;

namespace Nola.Tensors;

/// <summary>One tensor of a safetensors file.</summary>
/// <param name="Name">Its key.</param>
/// <param name="Type">The format's name of the element type, for example <c>F32</c>.</param>
/// <param name="Shape">Dimensions, outermost first; empty for a scalar.</param>
/// <param name="Begin">First byte, counted from the end of the header.</param>
/// <param name="End">The byte after the last.</param>
public sealed record SafetensorsEntry(string Name, string Type, long[] Shape, long Begin, long End)
{
    /// <summary>Number of elements.</summary>
    public long Length => Shape.Aggregate(1L, (product, d) => product * d);
}

/// <summary>Parsing and validation of the header, by the rules of the reference implementation.</summary>
internal static class SafetensorsHeader
{
    /// <summary>The reference implementation's limit on the header's length, in bytes.</summary>
    public const long MaxLength = 100_000_000;

    // Bits of an element of each type that the format knows.
    private static readonly Dictionary<string, int> bits = new()
    {
        ["F4"] = 4,
        ["F6_E2M3"] = 6,
        ["F6_E3M2"] = 6,
        ["BOOL"] = 8,
        ["U8"] = 8,
        ["I8"] = 8,
        ["F8_E5M2"] = 8,
        ["F8_E4M3"] = 8,
        ["F8_E8M0"] = 8,
        ["F8_E4M3FNUZ"] = 8,
        ["F8_E5M2FNUZ"] = 8,
        ["I16"] = 16,
        ["U16"] = 16,
        ["F16"] = 16,
        ["BF16"] = 16,
        ["I32"] = 32,
        ["U32"] = 32,
        ["F32"] = 32,
        ["C64"] = 64,
        ["F64"] = 64,
        ["I64"] = 64,
        ["U64"] = 64,
    };

    /// <summary>Bits of an element; 0 for a type that the format does not know.</summary>
    public static int Bits(string type) => bits.GetValueOrDefault(type);

    /// <summary>Reads the header's JSON and checks every rule; entries come back in order of their bytes.</summary>
    /// <param name="json">The N bytes of the header.</param>
    /// <param name="dataLength">Bytes of the file after the header.</param>
    /// <param name="file">For messages.</param>
    /// <param name="metadata">The file's <c>__metadata__</c>.</param>
    public static List<SafetensorsEntry> Parse(
        ReadOnlySpan<byte> json, long dataLength, string file, out Dictionary<string, string> metadata)
    {
        metadata = [];
        if (json.IsEmpty || json[0] != (byte)'{') throw Bad(file, "the header does not begin with '{'");
        List<SafetensorsEntry> entries = [];
        using JsonDocument document = JsonInput.Parse(
            json.TrimEnd((byte)' ').ToArray(), $"{file}: not a valid safetensors file: the header");
        foreach (JsonProperty property in document.RootElement.EnumerateObject())
        {
            if (property.Name == "__metadata__") metadata = Metadata(property.Value, file);
            else entries.Add(Entry(property, file));
        }
        entries.Sort((a, b) => a.Begin != b.Begin ? a.Begin.CompareTo(b.Begin) : a.End.CompareTo(b.End));
        CheckLayout(entries, dataLength, file);
        return entries;
    }

    private static void CheckLayout(List<SafetensorsEntry> entries, long dataLength, string file)
    {
        long end = 0;
        foreach (SafetensorsEntry entry in entries)
        {
            if (entry.Begin != end)
                throw Bad(file, $"tensor '{entry.Name}' begins at byte {entry.Begin} where {end} was expected, "
                    + $"so there is {(entry.Begin < end ? "an overlap" : "a hole")}");
            end = entry.End;
        }
        if (end != dataLength)
            throw Bad(
                file,
                $"the tensors take {end} bytes and the file holds {dataLength} after its header; it is cut off or has something behind it");
    }

    private static SafetensorsEntry Entry(JsonProperty property, string file)
    {
        string name = property.Name;
        JsonElement value = property.Value;
        if (value.ValueKind != JsonValueKind.Object
            || !value.TryGetProperty("dtype", out JsonElement type) || type.ValueKind != JsonValueKind.String
            || !value.TryGetProperty("shape", out JsonElement shape) || shape.ValueKind != JsonValueKind.Array
            || !value.TryGetProperty("data_offsets", out JsonElement offsets)
            || offsets.ValueKind != JsonValueKind.Array || offsets.GetArrayLength() != 2)
            throw Bad(file, $"tensor '{name}' needs dtype, shape and two data_offsets");
        string typeName = type.GetString()!;
        int size = Bits(typeName);
        if (size == 0) throw Bad(file, $"tensor '{name}' has the unknown dtype '{typeName}'");
        long[] dimensions = [.. shape.EnumerateArray().Select(d => Natural(d, name, file))];
        long begin = Natural(offsets[0], name, file), end = Natural(offsets[1], name, file);
        try
        {
            long total = size;
            foreach (long d in dimensions) total = checked(total * d);
            if (total % 8 != 0 || begin > end || end - begin != total / 8)
                throw Bad(file, $"tensor '{name}' of {typeName} [{string.Join(", ", dimensions)}] needs {total / 8} bytes "
                    + $"and its offsets are {begin} and {end}");
        }
        catch (OverflowException)
        {
            throw Bad(file, $"tensor '{name}' has a shape too large to exist: [{string.Join(", ", dimensions)}]");
        }
        return new SafetensorsEntry(name, typeName, dimensions, begin, end);
    }

    private static Dictionary<string, string> Metadata(JsonElement value, string file)
    {
        if (value.ValueKind != JsonValueKind.Object) throw Bad(file, "__metadata__ is not an object");
        Dictionary<string, string> metadata = [];
        foreach (JsonProperty property in value.EnumerateObject())
        {
            if (property.Value.ValueKind != JsonValueKind.String) throw Bad(file, $"__metadata__ '{property.Name}' is not a string");
            metadata[property.Name] = property.Value.GetString()!;
        }
        return metadata;
    }

    private static long Natural(JsonElement value, string name, string file) =>
        value.ValueKind == JsonValueKind.Number && value.TryGetInt64(out long number) && number >= 0
            ? number
            : throw Bad(file, $"tensor '{name}' has {value.GetRawText()} where a whole number from 0 is expected");

    /// <summary>The one sentence for a file that breaks a rule.</summary>
    public static NolaException Bad(string file, string what) =>
        new($"{file}: not a valid safetensors file: {what}. Download or write it again.");
}
