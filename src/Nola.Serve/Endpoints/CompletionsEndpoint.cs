using System.Text.Json;
using Microsoft.AspNetCore.Http;

namespace Nola.Serve;

/// <summary><c>POST /v1/completions</c>.</summary>
internal static class CompletionsEndpoint
{
    /// <summary>Answers a request.</summary>
    public static async Task AnswerAsync(HttpContext context, ServerState state)
    {
        GenerationJob job;
        using (JsonDocument body = await state.ReadAsync(context).ConfigureAwait(false))
            job = CompletionRequest.Read(body.RootElement, state.Models, state.Options.Scheduler.MaxQueue);
        RunningRequest request =
            await RunningRequest.StartAsync(state, job, "text_completion", context.RequestAborted).ConfigureAwait(false);
        await using (request.ConfigureAwait(false))
        {
            if (job.Stream) await StreamAsync(context, state, request).ConfigureAwait(false);
            else await WholeAsync(context, state, request).ConfigureAwait(false);
        }
    }

    private static async Task WholeAsync(HttpContext context, ServerState state, RunningRequest request)
    {
        List<CompletionChoice>[] parts = [.. Enumerable.Range(0, request.Job.Choices).Select(_ => new List<CompletionChoice>())];
        CompletionParts texts = new(request.Job, state.Model.Tokenizer);
        await foreach ((int prompt, Models.GeneratedToken token) in request.TokensAsync().ConfigureAwait(false))
            foreach (CompletionChoice part in texts.Add(prompt, token)) parts[part.Index].Add(part);
        Completion answer = Of(request, [.. parts.Select(CompletionParts.Join)]) with { Usage = request.Usage };
        await JsonAnswer.WriteAsync(context.Response, answer, ServeJson.Wire.Completion).ConfigureAwait(false);
    }

    private static async Task StreamAsync(HttpContext context, ServerState state, RunningRequest request)
    {
        EventStream events = new(context);
        await events.GuardAsync(SendAsync, state.Log).ConfigureAwait(false);

        async Task SendAsync()
        {
            CompletionParts texts = new(request.Job, state.Model.Tokenizer);
            await foreach ((int prompt, Models.GeneratedToken token) in request.TokensAsync().ConfigureAwait(false))
                foreach (CompletionChoice part in texts.Add(prompt, token))
                    await events.SendAsync(Of(request, [part]), ServeJson.Wire.Completion).ConfigureAwait(false);
            if (request.Job.IncludeUsage)
                await events.SendAsync(Of(request, []) with { Usage = request.Usage }, ServeJson.Wire.Completion).ConfigureAwait(false);
        }
    }

    private static Completion Of(RunningRequest request, IReadOnlyList<CompletionChoice> choices) =>
        new(request.Id, "text_completion", request.Created, request.Job.Target.Name, choices)
        {
            SystemFingerprint = request.Job.Target.Fingerprint,
        };
}
