using System.Diagnostics;
using Nola.Models;

namespace Nola.Serve;

/// <summary>A request that is being answered: what was asked, what comes, and what is told of it beside the texts.</summary>
internal sealed class RunningRequest : IAsyncDisposable
{
    private readonly GenerationRun run;
    private readonly Activity? activity;
    private readonly IAsyncEnumerator<(int Prompt, GeneratedToken Token)> tokens;
    private bool peeked, more;

    private RunningRequest(ServerState state, GenerationJob job, string operation, CancellationToken cancel)
    {
        (run, activity) = state.Start(job, operation, cancel);
        (Job, tokens) = (job, run.TokensAsync().GetAsyncEnumerator(CancellationToken.None));
        Id = $"{(operation == "chat" ? "chatcmpl" : "cmpl")}-{Guid.NewGuid():N}";
        Created = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
    }

    /// <summary>What was asked.</summary>
    public GenerationJob Job { get; }

    /// <summary>What the answer is called.</summary>
    public string Id { get; }

    /// <summary>When it began, in seconds since 1970.</summary>
    public long Created { get; }

    /// <summary>How many tokens, until now.</summary>
    public Usage Usage => new(Job.PromptTokens, run.Generated) { PromptTokensDetails = new(run.Cached) };

    /// <summary>
    /// Begins to answer, and waits for the first token: whatever keeps it from coming is told before the answer has begun, by its status.
    /// </summary>
    /// <param name="state">What all requests share.</param>
    /// <param name="job">What is asked.</param>
    /// <param name="operation">What OpenTelemetry calls it: <c>chat</c> or <c>text_completion</c>.</param>
    /// <param name="cancel">Ends it.</param>
    public static async Task<RunningRequest> StartAsync(ServerState state, GenerationJob job, string operation, CancellationToken cancel)
    {
        RunningRequest request = new(state, job, operation, cancel);
        try
        {
            request.more = await request.tokens.MoveNextAsync().ConfigureAwait(false);
            request.peeked = true;
            return request;
        }
        catch (Exception error)
        {
            request.activity?.SetStatus(ActivityStatusCode.Error, error.Message);
            await request.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>The tokens with the number of their prompt; to be taken once.</summary>
    public async IAsyncEnumerable<(int Prompt, GeneratedToken Token)> TokensAsync()
    {
        Debug.Assert(peeked);
        while (more)
        {
            yield return tokens.Current;
            more = await tokens.MoveNextAsync().ConfigureAwait(false);
        }
        activity?.SetTag("gen_ai.usage.output_tokens", run.Generated);
    }

    /// <summary>Ends what still runs.</summary>
    public async ValueTask DisposeAsync()
    {
        // First, so that whoever waits for a token does so no longer.
        run.Dispose();
        try
        {
            await tokens.DisposeAsync().ConfigureAwait(false);
        }
        catch (Exception error) when (error is OperationCanceledException or ObjectDisposedException)
        {
            // That is what it was to do.
        }
        activity?.Dispose();
    }
}
