using System.Diagnostics;
using System.Threading.Channels;

namespace Nola.Models;

/// <summary>A request on its way: its samples, and the channel to whoever asked.</summary>
internal sealed class ServedRequest : IDisposable
{
    private readonly Channel<GeneratedToken> tokens =
        Channel.CreateUnbounded<GeneratedToken>(new() { SingleReader = true, SingleWriter = true });

    private readonly long start = Stopwatch.GetTimestamp();
    private readonly CancellationTokenRegistration registration;
    private volatile bool canceled;

    /// <summary>A request that was checked.</summary>
    /// <param name="request">What is asked for.</param>
    /// <param name="prompt">Its prompt.</param>
    /// <param name="options">Its options, with all that was left to be chosen.</param>
    /// <param name="limit">Most new tokens of a sample.</param>
    /// <param name="onCancel">Told that somebody wants it to end.</param>
    /// <param name="cancel">Ends it.</param>
    public ServedRequest(
        GenerateRequest request, int[] prompt, GenerateOptions options, int limit, Action onCancel, CancellationToken cancel)
    {
        (Request, Prompt, Options, Limit, OnCancel) = (request, prompt, options, limit, onCancel);
        registration = cancel.UnsafeRegister(static self => ((ServedRequest)self!).Cancel(), this);
    }

    /// <summary>What is asked for.</summary>
    public GenerateRequest Request { get; }

    /// <summary>The tokens that are continued.</summary>
    public int[] Prompt { get; }

    /// <summary>How.</summary>
    public GenerateOptions Options { get; }

    /// <summary>Most new tokens of a sample.</summary>
    public int Limit { get; }

    /// <summary>What it is read with; null for the base model alone.</summary>
    public PooledAdapter? Adapter => Request.Adapter;

    /// <summary>Whose turn it takes: requests of one adapter wait behind each other.</summary>
    public string Key => Adapter?.Fingerprint ?? "";

    /// <summary>Rows of the cache that a sample may come to need.</summary>
    public long Rows => (long)Prompt.Length + Limit;

    /// <summary>How many samples have joined.</summary>
    public int Joined { get; set; }

    /// <summary>How many samples have ended.</summary>
    public int Ended { get; set; }

    /// <summary>How often others went before it although it was older.</summary>
    public int Passed { get; set; }

    /// <summary>Whether somebody wants it to end.</summary>
    public bool IsCanceled => canceled;

    /// <summary>Whether it has been answered.</summary>
    public bool IsClosed { get; private set; }

    /// <summary>Whether a token of it was generated.</summary>
    public bool HasToken { get; set; }

    /// <summary>Time since it was asked.</summary>
    public TimeSpan Elapsed => Stopwatch.GetElapsedTime(start);

    private Action OnCancel { get; }

    /// <summary>Ends it before the next step.</summary>
    public void Cancel()
    {
        if (canceled || IsClosed) return;
        canceled = true;
        OnCancel();
    }

    /// <summary>Gives a token to whoever asked.</summary>
    public void Tell(GeneratedToken token) => tokens.Writer.TryWrite(token);

    /// <summary>Says that it is answered, or why it cannot be.</summary>
    public void Close(Exception? error)
    {
        IsClosed = true;
        tokens.Writer.TryComplete(error);
        Dispose();
    }

    /// <summary>The tokens as they come.</summary>
    public IAsyncEnumerable<GeneratedToken> ReadAllAsync(CancellationToken cancel) => tokens.Reader.ReadAllAsync(cancel);

    /// <inheritdoc/>
    public void Dispose() => registration.Unregister();
}
