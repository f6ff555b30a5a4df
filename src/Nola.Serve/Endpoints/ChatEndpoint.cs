using System.Text;
using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Nola.Models;

namespace Nola.Serve;

/// <summary><c>POST /v1/chat/completions</c>.</summary>
internal static class ChatEndpoint
{
    /// <summary>Answers a request.</summary>
    public static async Task AnswerAsync(HttpContext context, ServerState state)
    {
        GenerationJob job;
        using (JsonDocument body = await state.ReadAsync(context).ConfigureAwait(false))
            job = ChatRequest.Read(body.RootElement, state.Models);
        RunningRequest request = await RunningRequest.StartAsync(state, job, "chat", context.RequestAborted).ConfigureAwait(false);
        await using (request.ConfigureAwait(false))
        {
            if (job.Stream) await StreamAsync(context, state, request).ConfigureAwait(false);
            else await WholeAsync(context, state, request).ConfigureAwait(false);
        }
    }

    private static async Task WholeAsync(HttpContext context, ServerState state, RunningRequest request)
    {
        StringBuilder[] texts = [.. Enumerable.Range(0, request.Job.Samples).Select(_ => new StringBuilder())];
        List<ChatTokenLogprob>[] logprobs = [.. texts.Select(_ => new List<ChatTokenLogprob>())];
        string[] reasons = [.. texts.Select(_ => "length")];
        ChatParts parts = new(request.Job, state.Model.Tokenizer);
        await foreach ((_, GeneratedToken token) in request.TokensAsync().ConfigureAwait(false))
        {
            (int index, string text, ChatTokenLogprob? logprob, string? finish) = parts.Add(token);
            texts[index].Append(text);
            if (logprob is not null) logprobs[index].Add(logprob);
            if (finish is not null) reasons[index] = finish;
        }
        ChatChoice[] choices = [.. texts.Select((text, i) => new ChatChoice(
            i, new(ChatMessage.Assistant, text.ToString()), request.Job.Logprobs is null ? null : new(logprobs[i]), reasons[i]))];
        ChatCompletion answer = new(request.Id, request.Created, request.Job.Target.Name, choices, request.Usage)
        {
            SystemFingerprint = request.Job.Target.Fingerprint,
        };
        await JsonAnswer.WriteAsync(context.Response, answer, ServeJson.Wire.ChatCompletion).ConfigureAwait(false);
    }

    private static async Task StreamAsync(HttpContext context, ServerState state, RunningRequest request)
    {
        EventStream events = new(context);
        await events.GuardAsync(SendAllAsync, state.Log).ConfigureAwait(false);

        async Task SendAllAsync()
        {
            for (int i = 0; i < request.Job.Samples; i++)
                await SendAsync(new(i, new() { Role = ChatMessage.Assistant, Content = "" }, null, null)).ConfigureAwait(false);
            ChatParts parts = new(request.Job, state.Model.Tokenizer);
            await foreach ((_, GeneratedToken token) in request.TokensAsync().ConfigureAwait(false))
            {
                (int index, string text, ChatTokenLogprob? logprob, string? finish) = parts.Add(token);
                ChatLogprobs? logprobs = logprob is null ? null : new([logprob]);
                if (text.Length > 0 || logprobs is not null)
                    await SendAsync(new(index, new() { Content = text }, logprobs, null)).ConfigureAwait(false);
                if (finish is not null) await SendAsync(new(index, new(), null, finish)).ConfigureAwait(false);
            }
            if (request.Job.IncludeUsage)
                await events.SendAsync(Chunk(request, []) with { Usage = request.Usage }, ServeJson.Wire.ChatChunk).ConfigureAwait(false);
        }

        Task SendAsync(ChatChunkChoice choice) => events.SendAsync(Chunk(request, [choice]), ServeJson.Wire.ChatChunk);
    }

    private static ChatChunk Chunk(RunningRequest request, IReadOnlyList<ChatChunkChoice> choices) =>
        new(request.Id, request.Created, request.Job.Target.Name, choices) { SystemFingerprint = request.Job.Target.Fingerprint };
}
