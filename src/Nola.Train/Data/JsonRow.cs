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
        string[] names = [.. value.EnumerateObject().Select(property => property.Name)];
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
        string? context = PairNames.Context(Has, place), completion = PairNames.Completion(Has, place);
        bool pair = context is not null && completion is not null;
        if (row.TryGetProperty(PairNames.Messages, out JsonElement messages))
        {
            if (pair)
                throw new NolaException($"{place}: both \"{PairNames.Messages}\" and \"{context}\" with \"{completion}\" are "
                    + "there; leave one or the other out.");
            return ChatTemplate.Pair(messages, place, contextsOnly);
        }
        if (context is null && completion is null && !contextsOnly && Has(PairNames.Text))
            return new TextPair("", JsonFields.Text(row, PairNames.Text, place), place) { IsDocument = true };
        if (context is null)
            throw new NolaException($"{place}: neither \"context\" nor \"prompt\" is there; "
                + $"expected {{\"context\": …, \"completion\": …}}.");
        TextPair read = ReadContext(row, context, place);
        if (completion is null)
            return contextsOnly ? read : throw new NolaException($"{place}: no \"completion\" is there beside \"{context}\"; "
                + $"expected {{\"context\": …, \"completion\": …}}.");
        (string text, int[]? ids) = Side(row.GetProperty(completion), completion, place);
        return read with { Completion = text, CompletionIds = ids, Category = Label(row, "category"), Origin = Label(row, "origin") };

        bool Has(string name) => row.TryGetProperty(name, out _);
    }

    private static TextPair ReadContext(JsonElement row, string name, string place)
    {
        if (name is PairNames.Instruction or PairNames.Meaning)
        {
            string input = name == PairNames.Instruction ? JsonFields.TextOrNothing(row, PairNames.Input, place) : "";
            return new TextPair(PairNames.Read(name, JsonFields.Text(row, name, place), input, place), "", place);
        }
        (string text, int[]? ids) = Side(row.GetProperty(name), name, place);
        return new TextPair(text, "", place) { ContextIds = ids };
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

    private static string Label(JsonElement row, string name) =>
        row.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.String ? value.GetString()! : "";
}
