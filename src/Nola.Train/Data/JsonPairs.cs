using System.Text.Encodings.Web;
using System.Text.Json;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>JSONL pairs, DART's JSON, and WebNLG in the LoRA code's JSON form.</summary>
internal static class JsonPairs
{
    /// <summary>
    /// One object a line: context or prompt, and completion, each text or an array of token ids. With
    /// <paramref name="contextsOnly"/> there need be no completion.
    /// </summary>
    public static IEnumerable<TextPair> ReadLines(TextReader reader, string place, bool contextsOnly = false)
    {
        for (int line = 1; reader.ReadLine() is { } text; line++)
        {
            if (string.IsNullOrWhiteSpace(text)) continue;
            yield return ParseLine(text, $"{place}, line {line}", contextsOnly);
        }
    }

    /// <summary>The reverse of <see cref="ReadLines"/>.</summary>
    public static void WriteLines(Stream stream, IEnumerable<TextPair> pairs)
    {
        // Text stays readable; a browser will not run it.
        JsonWriterOptions options = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
        foreach (TextPair pair in pairs)
        {
            using (Utf8JsonWriter json = new(stream, options))
            {
                json.WriteStartObject();
                WriteSide(json, "context", pair.Context, pair.ContextIds);
                WriteSide(json, "completion", pair.Completion, pair.CompletionIds);
                if (pair.Category.Length > 0) json.WriteString("category", pair.Category);
                if (pair.Origin.Length > 0) json.WriteString("origin", pair.Origin);
                json.WriteEndObject();
            }
            stream.WriteByte((byte)'\n');
        }
    }

    /// <summary>DART (an array of triple sets with annotations) or WebNLG (an object with entries).</summary>
    public static IEnumerable<TextPair> ReadDocument(TextReader reader, string place)
    {
        JsonDocument document;
        try
        {
            document = JsonDocument.Parse(reader.ReadToEnd());
        }
        catch (JsonException error)
        {
            throw new NolaException($"{place}: not valid JSON ({error.Message}) For one object a line use the extension .jsonl.", error);
        }
        using (document)
        {
            try
            {
                return document.RootElement.ValueKind == JsonValueKind.Array ? Dart(document.RootElement, place) : WebNlg(document.RootElement, place);
            }
            catch (Exception error) when (error is KeyNotFoundException or InvalidOperationException)
            {
                throw new NolaException($"{place}: neither DART's JSON (tripleset, annotations) nor WebNLG's (entries, lexicalisations).", error);
            }
        }
    }

    /// <summary>Triples in the form that the LoRA and NOLA code train on: <c>subject : property : object | …</c>.</summary>
    public static string Linearise(IEnumerable<(string Subject, string Property, string Object)> triples) =>
        string.Join(" | ", triples.Select(t => $"{t.Subject} : {t.Property} : {t.Object}"));

    private static TextPair ParseLine(string text, string place, bool contextsOnly)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(text);
            JsonElement root = document.RootElement;
            if (root.ValueKind != JsonValueKind.Object) throw new NolaException($"{place}: expected one JSON object on a line.");
            if (!root.TryGetProperty("context", out JsonElement context) && !root.TryGetProperty("prompt", out context))
                throw new NolaException($"{place}: neither \"context\" nor \"prompt\"; expected {{\"context\": …, \"completion\": …}}.");
            (string left, int[]? leftIds) = Side(context, "context", place);
            if (!root.TryGetProperty("completion", out JsonElement completion))
            {
                if (contextsOnly) return new TextPair(left, "", place) { ContextIds = leftIds };
                throw new NolaException($"{place}: no \"completion\"; expected {{\"context\": …, \"completion\": …}}.");
            }
            (string right, int[]? rightIds) = Side(completion, "completion", place);
            return new TextPair(left, right, place) { ContextIds = leftIds, CompletionIds = rightIds, Category = Label(root, "category"), Origin = Label(root, "origin") };
        }
        catch (JsonException error)
        {
            throw new NolaException($"{place}: not valid JSON ({error.Message})", error);
        }
    }

    private static string Label(JsonElement root, string name) =>
        root.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.String ? value.GetString()! : "";

    private static void WriteSide(Utf8JsonWriter json, string name, string text, int[]? ids)
    {
        if (ids is null)
        {
            json.WriteString(name, text);
            return;
        }
        json.WriteStartArray(name);
        foreach (int id in ids) json.WriteNumberValue(id);
        json.WriteEndArray();
    }

    private static (string Text, int[]? Ids) Side(JsonElement value, string name, string place)
    {
        if (value.ValueKind == JsonValueKind.String) return (value.GetString()!, null);
        if (value.ValueKind == JsonValueKind.Array && value.EnumerateArray().All(v => v.ValueKind == JsonValueKind.Number && v.TryGetInt32(out int id) && id >= 0))
            return ("", [.. value.EnumerateArray().Select(v => v.GetInt32())]);
        throw new NolaException($"{place}: \"{name}\" is {value.ValueKind.ToString().ToLowerInvariant()}; expected text or an array of token ids.");
    }

    // LoRA's converter lower-cases DART's relations and keeps every annotation.
    private static List<TextPair> Dart(JsonElement root, string place)
    {
        List<TextPair> pairs = [];
        int number = 0;
        foreach (JsonElement item in root.EnumerateArray())
        {
            number++;
            string context = Linearise(item.GetProperty("tripleset").EnumerateArray()
                .Select(t => (t[0].GetString()!, t[1].GetString()!.ToLowerInvariant(), t[2].GetString()!)));
            foreach (JsonElement annotation in item.GetProperty("annotations").EnumerateArray())
                pairs.Add(new TextPair(context, annotation.GetProperty("text").GetString()!, $"{place}, entry {number}") { Origin = annotation.GetProperty("source").GetString()! });
        }
        return pairs;
    }

    // LoRA's converter keeps the texts that are marked good.
    private static List<TextPair> WebNlg(JsonElement root, string place)
    {
        List<TextPair> pairs = [];
        foreach (JsonElement wrapper in root.GetProperty("entries").EnumerateArray())
        {
            foreach (JsonProperty entry in wrapper.EnumerateObject())
            {
                string context = Linearise(entry.Value.GetProperty("modifiedtripleset").EnumerateArray()
                    .Select(t => (t.GetProperty("subject").GetString()!, t.GetProperty("property").GetString()!, t.GetProperty("object").GetString()!)));
                string category = entry.Value.TryGetProperty("category", out JsonElement name) ? name.GetString() ?? "" : "";
                foreach (JsonElement text in entry.Value.GetProperty("lexicalisations").EnumerateArray())
                    if (text.GetProperty("comment").GetString() == "good")
                        pairs.Add(new TextPair(context, text.GetProperty("lex").GetString()!, $"{place}, entry {entry.Name}") { Category = category });
            }
        }
        return pairs;
    }
}
