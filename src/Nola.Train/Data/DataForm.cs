using System.Text.Json;

namespace Nola.Train;

/// <summary>How pairs are written down.</summary>
internal enum DataForm
{
    /// <summary>A table with a header, its fields between commas, semicolons or tabs.</summary>
    Table,

    /// <summary>A JSON object on each line.</summary>
    JsonLines,

    /// <summary>One JSON value.</summary>
    Json,

    /// <summary>WebNLG's or DART's XML.</summary>
    Xml,

    /// <summary>LoRA's text, <c>context||completion</c> on each line; for contexts alone, one of them on each line.</summary>
    Text,
}

/// <summary>Telling how a file is written.</summary>
internal static class DataForms
{
    /// <summary>The extensions that tell it, for messages.</summary>
    public const string Known = ".csv, .tsv, .jsonl, .json, .xml and .txt (context||completion), each also with .gz";

    /// <summary>By the extension, which may have <c>.gz</c> after it; null when it is not known.</summary>
    public static DataForm? OfName(string name) => Extension(name) switch
    {
        ".csv" or ".tsv" => DataForm.Table,
        ".jsonl" or ".ndjson" => DataForm.JsonLines,
        ".json" => DataForm.Json,
        ".xml" => DataForm.Xml,
        ".txt" => DataForm.Text,
        _ => null,
    };

    /// <summary>The extension in lower case, without <c>.gz</c>.</summary>
    public static string Extension(string name) =>
        Path.GetExtension(name.EndsWith(".gz", StringComparison.OrdinalIgnoreCase) ? name[..^3] : name).ToLowerInvariant();

    /// <summary>By the first line that is not blank; null when it can be anything.</summary>
    public static DataForm? OfContent(string line, bool contextsOnly)
    {
        string start = line.Trim();
        if (start.StartsWith("<?xml", StringComparison.Ordinal) || start.StartsWith("<!", StringComparison.Ordinal)
            || start.StartsWith("<benchmark", StringComparison.Ordinal)) return DataForm.Xml;
        if (start.StartsWith('[') && start[1..].TrimStart() is "" or ['{', ..]) return DataForm.Json;
        if (start.StartsWith('{')) return IsRow(start) ? DataForm.JsonLines : DataForm.Json;
        if (CsvPairs.Delimiter(line, contextsOnly) is not null) return DataForm.Table;
        return start.Contains("||", StringComparison.Ordinal) ? DataForm.Text : null;
    }

    // A whole object on its line, and not WebNLG's, which is one object.
    private static bool IsRow(string line)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(line);
            return !document.RootElement.TryGetProperty("entries", out _);
        }
        catch (JsonException)
        {
            // Of lines that are all objects, the first one has its end somewhere; reading it says what is wrong.
            return line.EndsWith('}');
        }
    }
}
