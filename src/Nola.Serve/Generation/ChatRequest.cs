using System.Text.Json;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Serve;

/// <summary>Reads a request to <c>/v1/chat/completions</c>.</summary>
internal static class ChatRequest
{
    /// <summary>Reads the whole request.</summary>
    /// <param name="body">Its JSON.</param>
    /// <param name="models">What can be asked for.</param>
    /// <exception cref="ApiException">It cannot be answered; the message says which field is why.</exception>
    public static GenerationJob Read(JsonElement body, ServedModels models)
    {
        RequestFields fields = new(body);
        Target target = models.Resolve(fields.RequiredText("model"));
        LanguageModel model = models.Model;
        PromptForm form = Form(fields, model);
        int? most = fields.Int("max_completion_tokens", 1, int.MaxValue), older = fields.Int("max_tokens", 1, int.MaxValue);
        GenerateOptions options = SamplingFields.Read(fields, model, form, SamplingFields.MaxTokens(most ?? older, model));
        int samples = SamplingFields.Samples(fields);
        (bool stream, bool usage) = SamplingFields.Streaming(fields);
        int? logprobs = Logprobs(fields);
        OnlyText(fields);
        IReadOnlyList<ChatMessage> messages = Messages(fields);
        fields.RefuseOthers();
        return new(target, form, [Encode(messages, form, model)], options, samples)
        {
            Logprobs = logprobs,
            Stream = stream,
            IncludeUsage = usage,
        };
    }

    /// <summary>The conversation of a request.</summary>
    /// <exception cref="ApiException">There is none, or it has something other than text.</exception>
    public static IReadOnlyList<ChatMessage> Messages(RequestFields fields)
    {
        const string Key = "messages", Expected = "a list of messages, each with role and content";
        if (!fields.TryGet(Key, out JsonElement list)) throw fields.Missing(Key, Expected);
        if (list.ValueKind != JsonValueKind.Array || list.GetArrayLength() == 0) throw fields.Wrong(Key, list, Expected);
        return [.. list.EnumerateArray().Select((item, i) => Message(new(item, $"{Key}[{i}]")))];
    }

    /// <summary>The tokens of a conversation.</summary>
    /// <exception cref="ApiException">The form has no place for a message, or it is too long.</exception>
    public static EncodedPrompt Encode(IReadOnlyList<ChatMessage> messages, PromptForm form, LanguageModel model)
    {
        int[] ids;
        try
        {
            ids = form.Encode(model, messages);
        }
        catch (NolaException error)
        {
            throw ApiException.Bad("messages", error.Message, "invalid_value");
        }
        SamplingFields.Check(ids, "messages", model);
        return new("", ids);
    }

    private static PromptForm Form(RequestFields fields, LanguageModel model)
    {
        const string Key = "prompt_form";
        switch (fields.Text(Key))
        {
            case null:
                return PromptForms.OfConversations(model);
            case "context":
                return PromptForm.Context;
            case "chat" when model.FindChat() is not null:
                return PromptForm.Chat;
            case "chat":
                throw ApiException.Bad(Key, $"{Key} is 'chat', and the model has no chat template; give 'context'.", "invalid_value");
            case { } other:
                throw ApiException.Bad(Key, $"{Key} is {Quoted.Of(other)}; expected 'chat' or 'context'.", "invalid_value");
        }
    }

    private static int? Logprobs(RequestFields fields)
    {
        int? top = fields.Int("top_logprobs", 0, GenerateRequest.MostTopLogProbabilities);
        if (fields.Flag("logprobs")) return top ?? 0;
        return top is null or 0
            ? null
            : throw ApiException.Bad("top_logprobs", $"top_logprobs is {top} without logprobs; give logprobs too.", "invalid_value");
    }

    private static void OnlyText(RequestFields fields)
    {
        fields.Only(
            "modalities",
            value => value.ValueKind == JsonValueKind.Array && value.EnumerateArray().All(item => Is(item, "text")), "['text']");
        fields.Only("reasoning_effort", value => Is(value, "none"), "'none'");
        fields.Only("add_generation_prompt", value => value.ValueKind == JsonValueKind.True, "true");
        fields.Only("continue_final_message", value => value.ValueKind == JsonValueKind.False, "false");
    }

    private static bool Is(JsonElement value, string text) => value.ValueKind == JsonValueKind.String && value.ValueEquals(text);

    private static ChatMessage Message(RequestFields fields)
    {
        string role = fields.RequiredText("role") switch
        {
            "developer" => ChatMessage.System,
            { } known when ChatMessage.Roles.Contains(known) => known,
            { } other => throw ApiException.Bad(
                fields.Name("role"), $"{fields.Name("role")} is {Quoted.Of(other)}; expected {string.Join(", ", ChatMessage.Roles)}.",
                "invalid_value"),
        };
        string content = Content(fields);
        // A label for people; no template has a place for it.
        fields.Ignore("name");
        // The harness of EleutherAI writes it beside the content.
        fields.Only("type", value => Is(value, "text"), "'text'");
        foreach (string none in (ReadOnlySpan<string>)["refusal", "audio", "function_call"]) fields.Only(none, _ => false, "null");
        fields.Only("tool_calls", value => value.ValueKind == JsonValueKind.Array && value.GetArrayLength() == 0, "an empty list");
        fields.RefuseOthers();
        return new(role, content);
    }

    // A text, or a list of parts of which each is one.
    private static string Content(RequestFields fields)
    {
        const string Key = "content", Expected = "a text, or a list of parts with type 'text'";
        if (!fields.TryGet(Key, out JsonElement content)) throw fields.Missing(Key, Expected);
        if (content.ValueKind == JsonValueKind.String) return content.GetString()!;
        if (content.ValueKind != JsonValueKind.Array) throw fields.Wrong(Key, content, Expected);
        return string.Concat(content.EnumerateArray().Select((item, i) =>
        {
            RequestFields part = new(item, $"{fields.Name(Key)}[{i}]");
            if (part.RequiredText("type") is var type and not "text")
                throw ApiException.Bad(
                    part.Name("type"), $"{part.Name("type")} is {Quoted.Of(type)}; this server reads 'text' only.", "invalid_value");
            string text = part.RequiredText("text");
            part.RefuseOthers();
            return text;
        }));
    }
}
