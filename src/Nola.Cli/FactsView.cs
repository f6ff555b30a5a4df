using System.Text.Json;
using Nola.Tensors;

namespace Nola.Cli;

/// <summary>A JSON object as people read it: its values one below the other, its lists of objects as tables.</summary>
internal static class FactsView
{
    private const string Indent = "  ", Gap = "  ";

    // Far more than a value ever has, unless somebody made it to be long.
    private const int LongestValue = 2000;

    /// <summary>The lines of an object: plain values first, then whatever has parts, with its name above.</summary>
    public static IEnumerable<string> Lines(JsonElement facts)
    {
        JsonProperty[] properties = [.. facts.EnumerateObject()], plain = [.. properties.Where(p => IsPlain(p.Value))];
        foreach (string line in Aligned([.. plain.Select(p => (string[])[Shown(p.Name), Text(p.Name, p.Value)])])) yield return line;
        foreach (JsonProperty property in properties.Except(plain).Where(p => !IsEmpty(p.Value)))
        {
            yield return "";
            yield return Shown(property.Name);
            foreach (string line in Parts(property.Value)) yield return line.Length > 0 ? Indent + line : "";
        }
    }

    // An object's lines; a list's table, or the lines of each of its objects.
    private static IEnumerable<string> Parts(JsonElement value)
    {
        if (value.ValueKind == JsonValueKind.Object) return Lines(value);
        JsonElement[] items = [.. value.EnumerateArray()];
        bool isTable = items.All(item => item.ValueKind == JsonValueKind.Object && item.EnumerateObject().All(p => IsPlain(p.Value)));
        // Without a table, an empty line is between two items.
        return isTable ? Table(items) : items.SelectMany((item, i) => Item(item).Prepend("").Skip(i == 0 ? 1 : 0));
    }

    private static IEnumerable<string> Item(JsonElement item) =>
        item.ValueKind == JsonValueKind.Object ? Lines(item) : [Text("", item)];

    private static IEnumerable<string> Table(JsonElement[] items)
    {
        string[] names = [.. items.SelectMany(item => item.EnumerateObject().Select(p => p.Name)).Distinct()];
        return Aligned([[.. names.Select(Shown)], .. items.Select(item => Array.ConvertAll(names, name => Cell(item, name)))]);
    }

    private static string Cell(JsonElement item, string name) => item.TryGetProperty(name, out JsonElement cell) ? Text(name, cell) : "";

    private static IEnumerable<string> Aligned(string[][] rows)
    {
        if (rows.Length == 0) return [];
        int[] widths = [.. Enumerable.Range(0, rows[0].Length).Select(column => rows.Max(row => row[column].Length))];
        return rows.Select(row => string.Join(Gap, row.Select((cell, column) => cell.PadRight(widths[column]))).TrimEnd());
    }

    private static bool IsPlain(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Object => false,
        JsonValueKind.Array => value.GetArrayLength() > 0
            && value.EnumerateArray().All(item => item.ValueKind is not (JsonValueKind.Object or JsonValueKind.Array)),
        _ => true,
    };

    private static bool IsEmpty(JsonElement value) =>
        value.ValueKind == JsonValueKind.Array ? value.GetArrayLength() == 0 : !value.EnumerateObject().Any();

    private static string Text(string name, JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Array => string.Join(name == "shape" ? " × " : ", ", value.EnumerateArray().Select(item => Text("", item))),
        JsonValueKind.String => Shown(value.GetString()!),
        JsonValueKind.Null => "none",
        _ => value.GetRawText(),
    };

    private static string Shown(string text) => NolaException.OneLine(text, LongestValue);
}
