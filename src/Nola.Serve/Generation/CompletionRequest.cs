using System.Text.Json;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Serve;

/// <summary>Reads a request to <c>/v1/completions</c>.</summary>
internal static class CompletionRequest
{
    // What OpenAI's API gives who asks for nothing else.
    private const int DefaultTokens = 16;

    /// <summary>Reads the whole request.</summary>
    /// <param name="body">Its JSON.</param>
    /// <param name="models">What can be asked for.</param>
    /// <param name="most">Prompts that may wait, of which one request can have no more.</param>
    /// <exception cref="ApiException">It cannot be answered; the message says which field is why.</exception>
    public static GenerationJob Read(JsonElement body, ServedModels models, int most)
    {
        RequestFields fields = new(body);
        Target target = models.Resolve(fields.RequiredText("model"));
        LanguageModel model = models.Model;
        PromptForm form = Form(fields, model);
        int tokens = SamplingFields.MaxTokens(fields.Int("max_tokens", 0, int.MaxValue) ?? DefaultTokens, model);
        GenerateOptions options = SamplingFields.Read(fields, model, form, tokens);
        int samples = SamplingFields.Samples(fields);
        (bool stream, bool usage) = SamplingFields.Streaming(fields);
        (bool echo, int? logprobs) = (fields.Flag("echo"), fields.Int("logprobs", 0, GenerateRequest.MostTopLogProbabilities));
        fields.Only("best_of", value => RequestFields.Number(value, samples, samples) is not null, "as many as n");
        fields.Only("suffix", value => value.ValueKind == JsonValueKind.String && value.ValueEquals(""), "an empty text");
        fields.Only("add_special_tokens", value => value.ValueKind == JsonValueKind.True, "true");
        fields.TryGet("prompt", out JsonElement prompt);
        fields.RefuseOthers();
        // Last, since reading them is work.
        return new(target, form, Prompts(prompt, form, fields, model, most), options, samples)
        {
            Echo = echo,
            Logprobs = logprobs,
            Stream = stream,
            IncludeUsage = usage,
        };
    }

    // The text itself, as the API has it, unless the request says that it is what a task was taught to answer.
    private static PromptForm Form(RequestFields fields, LanguageModel model)
    {
        const string Key = "prompt_form";
        PromptForm form = fields.Text(Key) switch
        {
            null or "raw" => PromptForm.Raw,
            "context" => PromptForm.Context,
            "chat" => PromptForm.Chat,
            { } other => throw ApiException.Bad(
                Key, $"{Key} is {Quoted.Of(other)}; expected 'raw' (the text itself), 'context' (as in training) or 'chat'.",
                "invalid_value"),
        };
        if (form == PromptForm.Chat && model.FindChat() is null)
            throw ApiException.Bad(Key, $"{Key} is 'chat', and the model has no chat template; give 'context' or 'raw'.", "invalid_value");
        return form;
    }

    private static EncodedPrompt[] Prompts(
        JsonElement prompt, PromptForm form, RequestFields fields, LanguageModel model, int most)
    {
        if (prompt.ValueKind is JsonValueKind.Undefined or JsonValueKind.Null) throw fields.Missing("prompt", Expected);
        if (prompt.ValueKind == JsonValueKind.String) return [OfText(prompt.GetString()!, "prompt", form, model)];
        if (prompt.ValueKind != JsonValueKind.Array || prompt.GetArrayLength() == 0) throw fields.Wrong("prompt", prompt, Expected);
        if (prompt[0].ValueKind == JsonValueKind.Number) return [OfIds(prompt, "prompt", model)];
        if (prompt.GetArrayLength() > most)
            throw ApiException.Bad(
                "prompt", $"prompt has {prompt.GetArrayLength()} prompts; expected at most {most}, as many as may wait.", "invalid_value");
        return [.. prompt.EnumerateArray().Select((item, i) => item.ValueKind == JsonValueKind.String
            ? OfText(item.GetString()!, $"prompt[{i}]", form, model)
            : OfIds(item, $"prompt[{i}]", model))];
    }

    private const string Expected = "a text, a list of texts, token ids, or a list of lists of them";

    private static EncodedPrompt OfText(string text, string field, PromptForm form, LanguageModel model)
    {
        int[] ids = form.Encode(model, text);
        SamplingFields.Check(ids, field, model);
        return new(text, ids);
    }

    private static EncodedPrompt OfIds(JsonElement list, string field, LanguageModel model)
    {
        if (!RequestFields.TryIds(list, out int[]? ids))
            throw ApiException.Bad(field, $"{field} is {RequestFields.Shown(list)}; expected {Expected}.", "invalid_value");
        SamplingFields.Check(ids, field, model);
        return new(TextOf(ids, model.Tokenizer), ids);
    }

    // A model may have more tokens than its tokenizer knows.
    private static string TextOf(int[] ids, ITokenizer tokenizer) =>
        tokenizer.Decode(Array.TrueForAll(ids, id => id < tokenizer.Vocabulary) ? ids : [.. ids.Where(id => id < tokenizer.Vocabulary)]);
}
