using System.Runtime.CompilerServices;
using System.Threading.Channels;
using Nola.Models;

namespace Nola.Serve;

/// <summary>
/// A job that is being done: all of its prompts wait or run in the scheduler, and their tokens come in the order in which they are made.
/// </summary>
internal sealed class GenerationRun : IDisposable
{
    private readonly CancellationTokenSource stop;
    private readonly List<IAsyncEnumerable<GeneratedToken>> running = [];
    private readonly int[] cached;

    /// <summary>Puts the prompts into the scheduler's queue, all of them or none.</summary>
    /// <param name="scheduler">What generates.</param>
    /// <param name="job">What is asked.</param>
    /// <param name="cancel">Ends it.</param>
    /// <exception cref="SchedulerFullException">There is no room for all.</exception>
    public GenerationRun(Scheduler scheduler, GenerationJob job, CancellationToken cancel)
    {
        stop = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        cached = new int[job.Prompts.Count];
        try
        {
            for (int prompt = 0; prompt < job.Prompts.Count; prompt++)
                running.Add(scheduler.GenerateAsync(job.Request(prompt), stop.Token));
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Tokens that were chosen until now.</summary>
    public int Generated { get; private set; }

    /// <summary>Tokens of prompts that did not have to be read.</summary>
    public int Cached => cached.Sum();

    /// <summary>The tokens with the number of their prompt; to be taken once.</summary>
    /// <exception cref="OperationCanceledException">Somebody ended it.</exception>
    public async IAsyncEnumerable<(int Prompt, GeneratedToken Token)> TokensAsync()
    {
        IAsyncEnumerable<(int Prompt, GeneratedToken Token)> all = running.Count == 1 ? Numbered(0) : Merged();
        await foreach ((int prompt, GeneratedToken token) in all.ConfigureAwait(false))
        {
            cached[prompt] = Math.Max(cached[prompt], token.CachedTokens);
            if (!token.IsPrompt && token.Id >= 0) Generated++;
            yield return (prompt, token);
        }
    }

    /// <summary>Ends what still runs.</summary>
    public void Dispose()
    {
        stop.Cancel();
        stop.Dispose();
    }

    private async IAsyncEnumerable<(int Prompt, GeneratedToken Token)> Numbered(int prompt)
    {
        await foreach (GeneratedToken token in running[prompt].ConfigureAwait(false)) yield return (prompt, token);
    }

    private async IAsyncEnumerable<(int Prompt, GeneratedToken Token)> Merged([EnumeratorCancellation] CancellationToken cancel = default)
    {
        Channel<(int, GeneratedToken)> tokens = Channel.CreateUnbounded<(int, GeneratedToken)>(new() { SingleReader = true });
        Task work = Task.WhenAll(Enumerable.Range(0, running.Count).Select(PumpAsync));
        _ = work.ContinueWith(done => tokens.Writer.TryComplete(done.Exception?.InnerException), CancellationToken.None,
            TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        await foreach ((int, GeneratedToken) token in tokens.Reader.ReadAllAsync(cancel).ConfigureAwait(false)) yield return token;
        await work.ConfigureAwait(false);

        async Task PumpAsync(int prompt)
        {
            try
            {
                await foreach (GeneratedToken token in running[prompt].ConfigureAwait(false)) tokens.Writer.TryWrite((prompt, token));
            }
            catch (Exception error)
            {
                // One that fails is the answer of all.
                tokens.Writer.TryComplete(error);
                throw;
            }
        }
    }
}
