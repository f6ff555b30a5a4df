using System.Text.Json;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// One example as a JSON object: a context (or prompt) and a completion, each text or an array of token ids; E2E's <c>mr</c> and
/// <c>ref</c>; Alpaca's <c>instruction</c>, <c>input</c> and <c>output</c>; a conversation (<c>messages</c>); or <c>text</c> alone.
/// Other keys are ignored.
/// </summary>
internal static class JsonRow
{
    /// <summary>Whether a value is an object that means to be an example: it has a field of one.</summary>
    public static bool IsOne(JsonElement value)
    {
        if (value.ValueKind != JsonValueKind.Object) return false;
        List<string> names = Names(value);
        bool alone = names.Contains(PairNames.Text) || names.Contains(PairNames.Messages);
        return alone || PairNames.IsContext(names) || PairNames.IsCompletion(names);
    }

    /// <summary>Reads an object.</summary>
    /// <param name="row">The object.</param>
    /// <param name="place">File and line or entry, for messages.</param>
    /// <param name="contextsOnly">There need be no completion.</param>
    /// <exception cref="NolaException">It is something else, lacks a side, has one twice, or one of another type.</exception>
    public static TextPair Read(JsonElement row, string place, bool contextsOnly)
    {
        if (row.ValueKind != JsonValueKind.Object)
            throw new NolaException($"{place}: expected one JSON object such as {{\"context\": …, \"completion\": …}}, and this "
                + $"is {JsonFields.Kind(row)}.");
        List<string> names = Names(row);
        string? context = PairNames.Context(names, place), completion = PairNames.Completion(names, place);
        bool pair = context is not null && completion is not null;
        if (names.Contains(PairNames.Messages))
        {
            if (pair)
                throw new NolaException($"{place}: both \"{PairNames.Messages}\" and \"{context}\" with \"{completion}\" are "
                    + "there; leave one or the other out.");
            return Conversation.Pair(row.GetProperty(PairNames.Messages), place, contextsOnly);
        }
        string category = Label(row, "category", names), origin = Label(row, "origin", names);
        if (context is null && completion is null && !contextsOnly && names.Contains(PairNames.Text))
        {
            string text = JsonFields.Text(row, PairNames.Text, place);
            return new TextPair("", text, place) { IsDocument = true, Category = category, Origin = origin };
        }
        if (context is null)
            throw new NolaException($"{place}: neither \"context\" nor \"prompt\" is there; "
                + "expected {\"context\": …, \"completion\": …}.");
        (string left, int[]? leftIds) = Context(row, context, place);
        if (completion is null)
        {
            if (contextsOnly) return new TextPair(left, "", place) { ContextIds = leftIds };
            throw new NolaException($"{place}: no \"completion\" is there beside \"{context}\"; "
                + "expected {\"context\": …, \"completion\": …}.");
        }
        (string right, int[]? rightIds) = Side(row.GetProperty(completion), completion, place);
        return new TextPair(left, right, place) { ContextIds = leftIds, CompletionIds = rightIds, Category = category, Origin = origin };
    }

    private static List<string> Names(JsonElement row)
    {
        List<string> names = [];
        foreach (JsonProperty property in row.EnumerateObject()) names.Add(property.Name);
        return names;
    }

    private static (string Text, int[]? Ids) Context(JsonElement row, string name, string place)
    {
        if (name is not (PairNames.Instruction or PairNames.Meaning)) return Side(row.GetProperty(name), name, place);
        string input = name == PairNames.Instruction ? JsonFields.TextOrNothing(row, PairNames.Input, place) : "";
        return (PairNames.Read(name, JsonFields.Text(row, name, place), input, place), null);
    }

    private static (string Text, int[]? Ids) Side(JsonElement value, string name, string place)
    {
        if (value.ValueKind == JsonValueKind.String) return (value.GetString()!, null);
        if (value.ValueKind == JsonValueKind.Array && value.EnumerateArray().All(IsToken))
            return ("", [.. value.EnumerateArray().Select(v => v.GetInt32())]);
        throw new NolaException($"{place}: \"{name}\" is {JsonFields.Kind(value)}; "
            + "expected text or an array of token ids, whole numbers from 0.");
    }

    private static bool IsToken(JsonElement value) => value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int id) && id >= 0;

    private static string Label(JsonElement row, string name, List<string> names)
    {
        if (!names.Contains(name)) return "";
        JsonElement value = row.GetProperty(name);
        return value.ValueKind == JsonValueKind.String ? value.GetString()! : "";
    }
}
