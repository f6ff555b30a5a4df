using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Serve;

/// <summary><c>POST /tokenize</c> and <c>/detokenize</c>, and <c>GET /tokenizer_info</c>, as vLLM has them.</summary>
internal static class TokenEndpoints
{
    /// <summary>The token ids of a text or of a conversation.</summary>
    public static async Task TokenizeAsync(HttpContext context, ServerState state)
    {
        using JsonDocument body = await state.ReadAsync(context).ConfigureAwait(false);
        RequestFields fields = new(body.RootElement);
        if (fields.Text("model") is { } name) state.Models.Resolve(name);
        LanguageModel model = state.Model;
        int[] ids;
        if (fields.Text("prompt") is { } prompt) ids = Encode(prompt, fields.Flag("add_special_tokens", otherwise: true), model.Tokenizer);
        else if (fields.TryGet("messages", out _))
            ids = ChatRequest.Encode(ChatRequest.Messages(fields), PromptForms.OfConversations(model), model).Ids;
        else throw fields.Missing("prompt", "a text, or messages");
        fields.Only("add_special_tokens", value => value.ValueKind is JsonValueKind.True or JsonValueKind.False, "true or false");
        fields.Only("add_generation_prompt", value => value.ValueKind == JsonValueKind.True, "true");
        bool shown = fields.Flag("return_token_strs");
        fields.RefuseOthers();
        TokenTexts texts = new(model.Tokenizer);
        Tokenized answer = new(ids.Length, model.Shape.Positions, ids) { TokenStrs = shown ? [.. ids.Select(texts.Of)] : null };
        await JsonAnswer.WriteAsync(context.Response, answer, ServeJson.Wire.Tokenized).ConfigureAwait(false);
    }

    // Clients learn the number of the token that ends texts by asking for its name alone.
    private static int[] Encode(string text, bool begins, ITokenizer tokenizer)
    {
        if (EndOf(tokenizer) is { } end && text == new TokenTexts(tokenizer).Of(end)) return [end];
        return begins ? tokenizer.EncodePrompt(text) : tokenizer.EncodeMarkup(text);
    }

    // Null where no token ends texts.
    private static int? EndOf(ITokenizer tokenizer)
    {
        try
        {
            return tokenizer.EndOfText;
        }
        catch (NolaException)
        {
            return null;
        }
    }

    // Null where there is no template, or one that is not known, without which texts are encoded all the same.
    private static string? ChatOf(LanguageModel model)
    {
        try
        {
            return model.FindChat()?.Name;
        }
        catch (NolaException)
        {
            return null;
        }
    }

    /// <summary>The text of token ids.</summary>
    public static async Task DetokenizeAsync(HttpContext context, ServerState state)
    {
        using JsonDocument body = await state.ReadAsync(context).ConfigureAwait(false);
        RequestFields fields = new(body.RootElement);
        if (fields.Text("model") is { } name) state.Models.Resolve(name);
        ITokenizer tokenizer = state.Model.Tokenizer;
        IReadOnlyList<int> ids = fields.Ids("tokens") ?? throw fields.Missing("tokens", "a list of token ids");
        fields.RefuseOthers();
        foreach (int id in ids)
            if (id >= tokenizer.Vocabulary)
                throw ApiException.Bad(
                    "tokens", $"tokens has {id}, which is outside the tokenizer's vocabulary of {tokenizer.Vocabulary}.", "invalid_value");
        Detokenized answer = new(tokenizer.Decode([.. ids]));
        await JsonAnswer.WriteAsync(context.Response, answer, ServeJson.Wire.Detokenized).ConfigureAwait(false);
    }

    /// <summary>What clients that encode texts themselves ask about the tokenizer.</summary>
    public static Task InfoAsync(HttpContext context, ServerState state)
    {
        LanguageModel model = state.Model;
        ITokenizer tokenizer = model.Tokenizer;
        TokenTexts texts = new(tokenizer);
        int? begin = (tokenizer as ModelTokenizer)?.BeginOfText;
        int? last = EndOf(tokenizer);
        string? end = last is { } token ? texts.Of(token) : null;
        TokenizerInfo info = new(
            tokenizer.GetType().Name, tokenizer.Vocabulary, model.Shape.Positions, end, last,
            begin is { } id ? texts.Of(id) : null, begin, end, null, ChatOf(model), model.StopTokens);
        return JsonAnswer.WriteAsync(context.Response, info, ServeJson.Wire.TokenizerInfo);
    }
}
