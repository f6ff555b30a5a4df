using System.Text.Encodings.Web;
using System.Text.Json;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>Pairs as JSON: an object on each line, or a whole document with an array of them, or DART's or WebNLG's own.</summary>
internal static class JsonPairs
{
    /// <summary>One object a line (<see cref="JsonRow"/>); blank lines are skipped.</summary>
    /// <param name="reader">The file.</param>
    /// <param name="place">Its name, for messages.</param>
    /// <param name="contextsOnly">There need be no completion.</param>
    public static IEnumerable<TextPair> ReadLines(TextReader reader, string place, bool contextsOnly = false)
    {
        for (int line = 1; reader.ReadLine() is { } text; line++)
        {
            if (string.IsNullOrWhiteSpace(text)) continue;
            string at = $"{place}, line {line}";
            using JsonDocument document = JsonInput.Parse(text, at);
            yield return JsonRow.Read(document.RootElement, at, contextsOnly);
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
                // What was changed beside the conversation is written as it is now.
                if (pair.Messages is [.., { Role: ChatMessage.Assistant } last] messages && last.Content == pair.Completion)
                    WriteMessages(json, messages);
                else
                {
                    if (!pair.IsDocument) WriteSide(json, "context", pair.Context, pair.ContextIds);
                    WriteSide(json, pair.IsDocument ? PairNames.Text : "completion", pair.Completion, pair.CompletionIds);
                }
                if (pair.Category.Length > 0) json.WriteString("category", pair.Category);
                if (pair.Origin.Length > 0) json.WriteString("origin", pair.Origin);
                json.WriteEndObject();
            }
            stream.WriteByte((byte)'\n');
        }
    }

    private static void WriteMessages(Utf8JsonWriter json, IReadOnlyList<ChatMessage> messages)
    {
        json.WriteStartArray(PairNames.Messages);
        foreach (ChatMessage message in messages)
        {
            json.WriteStartObject();
            json.WriteString("role", message.Role);
            json.WriteString("content", message.Content);
            json.WriteEndObject();
        }
        json.WriteEndArray();
    }

    /// <summary>
    /// An array of objects (<see cref="JsonRow"/>), DART (an array of triple sets with annotations) or WebNLG (an object with entries).
    /// </summary>
    /// <param name="reader">The file.</param>
    /// <param name="place">Its name, for messages.</param>
    /// <param name="contextsOnly">In an array of pairs there need be no completion.</param>
    public static List<TextPair> ReadDocument(TextReader reader, string place, bool contextsOnly = false)
    {
        using JsonDocument document = Parse(reader.ReadToEnd(), place);
        JsonElement root = document.RootElement;
        if (JsonFields.Has(root, "entries")) return [.. WebNlg(root, place)];
        bool array = root.ValueKind == JsonValueKind.Array, empty = array && root.GetArrayLength() == 0;
        bool dart = array && !empty && JsonFields.Has(root[0], "tripleset");
        if (!array || !(empty || dart || JsonRow.IsOne(root[0])))
            throw new NolaException($"{place}: neither DART's JSON (an array with tripleset and annotations) nor WebNLG's "
                + "(entries with lexicalisations), nor an array of pairs such as {\"context\": …, \"completion\": …}.");
        return [.. root.EnumerateArray().SelectMany((item, i) => Entry(item, dart, contextsOnly, $"{place}, entry {i + 1}"))];
    }

    /// <summary>Triples in the form that the LoRA and NOLA code train on: <c>subject : property : object | …</c>.</summary>
    public static string Linearise(IEnumerable<(string Subject, string Property, string Object)> triples) =>
        string.Join(" | ", triples.Select(t => $"{t.Subject} : {t.Property} : {t.Object}"));

    private static JsonDocument Parse(string text, string place)
    {
        try
        {
            return JsonInput.Parse(text, place);
        }
        catch (NolaException error) when (error.InnerException is JsonException)
        {
            throw new NolaException($"{error.Message} For one object a line use the extension .jsonl.", error.InnerException);
        }
    }

    private static IEnumerable<TextPair> Entry(JsonElement item, bool dart, bool contextsOnly, string place) =>
        dart ? Dart(item, place) : [JsonRow.Read(item, place, contextsOnly)];

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

    // LoRA's converter lower-cases DART's relations and keeps every annotation.
    private static IEnumerable<TextPair> Dart(JsonElement item, string place)
    {
        string context = Linearise([.. JsonFields.Array(item, "tripleset", place).Select(triple => DartTriple(triple, place))]);
        foreach (JsonElement annotation in JsonFields.Array(item, "annotations", place))
        {
            string text = JsonFields.Text(annotation, "text", place), source = JsonFields.Text(annotation, "source", place);
            yield return new TextPair(context, text, place) { Origin = source };
        }
    }

    private static (string, string, string) DartTriple(JsonElement triple, string place)
    {
        if (triple.ValueKind != JsonValueKind.Array || triple.GetArrayLength() != 3)
        {
            string what = triple.ValueKind == JsonValueKind.Array
                ? $"has {triple.GetArrayLength()} of three parts"
                : $"is {JsonFields.Kind(triple)}";
            throw new NolaException($"{place}: a triple {what}; expected an array of subject, relation and object.");
        }
        return (Part(0, "subject"), Part(1, "relation").ToLowerInvariant(), Part(2, "object"));

        string Part(int index, string name) => JsonFields.TextOf(triple[index], $"the {name} of a triple", place);
    }

    // LoRA's converter keeps the texts that are marked good.
    private static IEnumerable<TextPair> WebNlg(JsonElement root, string place)
    {
        foreach (JsonElement wrapper in JsonFields.Array(root, "entries", place))
        {
            if (wrapper.ValueKind != JsonValueKind.Object)
                throw new NolaException($"{place}: an entry is {JsonFields.Kind(wrapper)}; expected an object.");
            foreach (JsonProperty entry in wrapper.EnumerateObject())
                foreach (TextPair pair in WebNlgEntry(entry.Value, $"{place}, entry {entry.Name}"))
                    yield return pair;
        }
    }

    private static IEnumerable<TextPair> WebNlgEntry(JsonElement entry, string place)
    {
        string context = Linearise([.. JsonFields.Array(entry, "modifiedtripleset", place)
            .Select(triple => (Part(triple, "subject"), Part(triple, "property"), Part(triple, "object")))]);
        string category = JsonFields.TextOrNothing(entry, "category", place);
        foreach (JsonElement text in JsonFields.Array(entry, "lexicalisations", place))
            if (JsonFields.Text(text, "comment", place) == "good")
                yield return new TextPair(context, JsonFields.Text(text, "lex", place), place) { Category = category };

        string Part(JsonElement triple, string name) => JsonFields.Text(triple, name, place);
    }
}
