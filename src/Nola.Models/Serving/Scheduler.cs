using System.Diagnostics;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// Continues requests of many callers in one batch. Requests join and leave between the steps of the model, prompts are read in parts
/// beside running sequences, and each request has its own adapter, options and random numbers; what it is answered does not depend on
/// the others, and is what <see cref="TextGeneration.GenerateAll"/> gives, on the CPU to the bit. A thread of its own drives the
/// model's device from the beginning to <see cref="DisposeAsync"/>: nothing else may use the device meanwhile.
/// </summary>
public sealed class Scheduler : IAsyncDisposable
{
    /// <summary>The meter of System.Diagnostics.Metrics that has the scheduler's instruments.</summary>
    public const string MeterName = "Nola.Scheduler";

    private readonly LanguageModel model;
    private readonly AdapterPool? pool;
    private readonly SchedulerOptions options;
    private readonly ITokenizer? tokenizer;
    private readonly SchedulerMeter meter;
    private readonly int cacheRows, prefixRows;
    private readonly long rowBytes;
    private readonly TaskCompletionSource drained = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource ended = new(TaskCreationOptions.RunContinuationsAsynchronously);

    // Guards the queue and the states of the scheduler; the thread waits on it.
    private readonly object gate = new();
    private readonly RequestQueue queue = new();
    private bool draining, closing, stirred;

    // Only the thread uses these: samples that are continued, and requests of which more samples are to join.
    private readonly List<ServedSample> running = [];
    private readonly List<ServedRequest> joining = [];
    private DecodeLoop loop;
    private volatile int runningCount, heldRows, keptRows;

    /// <summary>Starts a scheduler.</summary>
    /// <param name="model">What continues requests.</param>
    /// <param name="pool">The adapters that they may name, of the same model; it is the caller's still, and outlives the scheduler.</param>
    /// <param name="options">Settings.</param>
    /// <exception cref="NolaException">A setting is out of range, or the model's tokenizer cannot be read.</exception>
    public Scheduler(LanguageModel model, AdapterPool? pool = null, SchedulerOptions? options = null)
    {
        (this.model, this.pool, this.options) = (model, pool, options ?? new());
        this.options.Validate();
        if (pool is not null && pool.Model != model)
            throw new ArgumentException("Scheduler: the pool is of another model; make it of the model that the scheduler has.");
        tokenizer = model.FindTokenizer();
        // Read now, since later many threads ask.
        _ = model.StopTokens;
        rowBytes = KvCache.BytesOfRow(model.Shape);
        cacheRows = (int)Math.Min(int.MaxValue, this.options.CacheBytes / rowBytes);
        prefixRows = (int)Math.Min(int.MaxValue, this.options.PrefixCacheBytes / rowBytes);
        meter = new SchedulerMeter(() => Waiting, () => runningCount, pool);
        loop = NewLoop();
        new Thread(Run) { IsBackground = true, Name = "nola scheduler" }.Start();
    }

    /// <summary>Whether new requests are refused.</summary>
    public bool IsDraining
    {
        get
        {
            lock (gate) return draining;
        }
    }

    /// <summary>What it does, and what it did.</summary>
    public SchedulerStatistics Statistics => meter.Statistics with
    {
        Waiting = Waiting,
        Running = runningCount,
        CacheBytes = heldRows * rowBytes,
        PrefixBytes = keptRows * rowBytes,
    };

    /// <summary>The instruments of this scheduler, by which they are told from those of others in the process.</summary>
    internal System.Diagnostics.Metrics.Meter Meter => meter.Meter;

    /// <summary>Whoever holds this lock keeps requests waiting, for tests.</summary>
    internal object Gate => gate;

    /// <summary>Called by the thread before each step, for tests that say when one is taken.</summary>
    internal Action? BeforeStep { get; set; }

    private int Waiting
    {
        get
        {
            lock (gate) return queue.Count;
        }
    }

    /// <summary>
    /// Continues a prompt. The request is checked and waits for its turn when this returns; its tokens come as they are generated. It
    /// ends before the next step when <paramref name="cancel"/> asks for it, or when the enumeration is left. Enumerate it once.
    /// </summary>
    /// <param name="request">What is asked for.</param>
    /// <param name="cancel">Ends it; the enumeration then throws an <see cref="OperationCanceledException"/>.</param>
    /// <exception cref="NolaException">
    /// The prompt is empty, has an unknown token or is longer than the model reads, or an option is out of range. Thrown by the
    /// enumeration: this request cannot be continued, and the others go on.
    /// </exception>
    /// <exception cref="SchedulerFullException">Too many requests wait.</exception>
    /// <exception cref="ObjectDisposedException">The scheduler takes no more requests.</exception>
    public IAsyncEnumerable<GeneratedToken> GenerateAsync(GenerateRequest request, CancellationToken cancel = default)
    {
        int[] prompt = [.. request.Prompt];
        GenerateOptions whole = Check(request, prompt);
        int limit = Math.Min(whole.MaxNewTokens, model.Shape.Positions - prompt.Length + 1);
        ServedRequest served = new(request, prompt, whole, limit, Stir, cancel);
        lock (gate)
        {
            bool full = queue.Count >= options.MaxQueue;
            if (draining || full) served.Dispose();
            ObjectDisposedException.ThrowIf(draining, this);
            if (full)
            {
                meter.Refuse();
                throw new SchedulerFullException(queue.Count, RetryAfter());
            }
            queue.Add(served);
            meter.Accept();
            Monitor.PulseAll(gate);
        }
        return new ServedTokens(served, cancel);
    }

    /// <summary>Refuses new requests from now on, and waits until those that were accepted have been answered.</summary>
    /// <param name="cancel">Ends the waiting only.</param>
    public Task DrainAsync(CancellationToken cancel = default)
    {
        lock (gate)
        {
            draining = true;
            Monitor.PulseAll(gate);
        }
        return drained.Task.WaitAsync(cancel);
    }

    /// <summary>Answers what was accepted (whoever does not want to wait for that cancels it), and gives the device free.</summary>
    public async ValueTask DisposeAsync()
    {
        await DrainAsync().ConfigureAwait(false);
        lock (gate)
        {
            closing = true;
            Monitor.PulseAll(gate);
        }
        await ended.Task.ConfigureAwait(false);
        meter.Dispose();
    }

    private GenerateOptions Check(GenerateRequest request, int[] prompt)
    {
        PromptCheck.Check(prompt, "the prompt", model.Shape);
        GenerateOptions whole = request.Options.For(model);
        if (whole.Beams > 1) throw new NolaException($"beams is {whole.Beams}; a request that is answered token by token has 1.");
        if (whole.NumSamples > 1)
            throw new NolaException($"num-samples is {whole.NumSamples}; the number of texts is a property of the request, so expected 1.");
        if (request.Samples is < 1 or > GenerateRequest.MostSamples)
            throw new NolaException($"The number of samples is {request.Samples}; expected 1 to {GenerateRequest.MostSamples}.");
        if (request.TopLogProbabilities is < 0 or > GenerateRequest.MostTopLogProbabilities)
            throw new NolaException(
                $"The number of top log-probabilities is {request.TopLogProbabilities}; "
                + $"expected 0 to {GenerateRequest.MostTopLogProbabilities}.");
        if (request.Adapter is { } adapter && (pool is null || adapter.Pool != pool))
            throw new ArgumentException($"GenerateAsync: adapter {Quoted.Of(adapter.Name)} is of another pool than the scheduler's.");
        // Stop strings are looked for in text.
        if (whole.StopStrings.Count > 0) _ = model.Tokenizer;
        return whole;
    }

    // When one of those that wait may have got its turn.
    private TimeSpan RetryAfter()
    {
        double turns = Math.Ceiling((double)queue.Count / options.MaxRunning);
        return TimeSpan.FromSeconds(Math.Clamp(Math.Ceiling(turns * meter.MeanDuration.TotalSeconds), 1, 60));
    }

    private DecodeLoop NewLoop() => new(model, new DecodeLoopOptions
    {
        BatchTokens = options.BatchTokens,
        Chunk = options.PromptChunk,
        PrefixTokens = prefixRows,
        Isolates = true,
    });

    // Somebody may have been canceled.
    private void Stir()
    {
        lock (gate)
        {
            stirred = true;
            Monitor.PulseAll(gate);
        }
    }

    private void Run()
    {
        try
        {
            while (Wait()) Work();
        }
        finally
        {
            loop.Dispose();
            drained.TrySetResult();
            ended.TrySetResult();
        }
    }

    // Until there is something to do; false when there will be nothing more.
    private bool Wait()
    {
        List<ServedRequest> canceled;
        lock (gate)
        {
            while (queue.Count + running.Count + joining.Count == 0)
            {
                if (draining) drained.TrySetResult();
                if (closing) return false;
                Monitor.Wait(gate);
            }
            canceled = stirred ? queue.Remove(request => request.IsCanceled) : [];
            stirred = false;
        }
        foreach (ServedRequest request in canceled) Close(request, null);
        return true;
    }

    private void Work()
    {
        BeforeStep?.Invoke();
        long start = Stopwatch.GetTimestamp();
        try
        {
            foreach (ServedSample sample in running.Where(sample => sample.Request.IsCanceled)) sample.Continuation!.Cancel();
            Join();
            runningCount = running.Count;
            if (running.Count == 0) return;
            loop.Step(End);
            foreach (ServedSample sample in running)
            {
                NoteFirst(sample);
                sample.Flush();
            }
            meter.Step(Stopwatch.GetElapsedTime(start), runningCount);
            (heldRows, keptRows) = loop.Held;
        }
        catch (Exception error)
        {
            // Nothing is known of what the step has done: all that run fail, and what waits begins anew.
            FailAll(error);
        }
        runningCount = running.Count;
    }

    // Samples for which there is room: first of requests whose prompt was read, then of those whose turn it is. What of their adapters
    // is not mixed is mixed at once.
    private void Join()
    {
        List<ServedSample> joined = [];
        int unread = loop.Unread;
        foreach (ServedRequest request in joining.ToArray())
        {
            if (request.IsCanceled)
            {
                joining.Remove(request);
                if (!running.Exists(sample => sample.Request == request)) Close(request, null);
                continue;
            }
            while (request.Joined < request.Request.Samples && IsRead(request) && Fits(request)) Add(request);
            if (request.Joined == request.Request.Samples) joining.Remove(request);
        }
        while (unread < options.PromptChunk)
        {
            ServedRequest? next;
            lock (gate) next = queue.Next(Fits);
            if (next is null) break;
            Add(next);
            if (next.Request.Samples > 1) joining.Add(next);
        }
        if (joined.Count == 0) return;
        IReadOnlyDictionary<PooledContent, NolaException> failed = pool?.Mix() ?? new Dictionary<PooledContent, NolaException>();
        foreach (ServedSample sample in joined) Start(sample, failed);

        void Add(ServedRequest request)
        {
            ServedSample sample = new(request, request.Joined++, tokenizer);
            joined.Add(sample);
            running.Add(sample);
            unread += request.Prompt.Length;
        }
    }

    private void Start(ServedSample sample, IReadOnlyDictionary<PooledContent, NolaException> failed)
    {
        ServedRequest request = sample.Request;
        if (request.Adapter is { } adapter && failed.TryGetValue(adapter.Held, out NolaException? error))
        {
            Leave(sample);
            Close(request, new GenerationFailedException(error));
            return;
        }
        sample.Continuation = loop.Admit(
            request.Prompt, request.Options, request.Adapter?.Held.Mixed, request.Options.FirstSequence + sample.Index, sample.Listener);
    }

    // Whether one more sample of a request may run; room for its adapter is kept then.
    private bool Fits(ServedRequest request)
    {
        if (running.Count > 0
            && (running.Count >= options.MaxRunning || running.Sum(sample => sample.Request.Rows) + request.Rows > cacheRows))
            return false;
        return request.Adapter is not { } adapter || pool!.TryReserve(adapter);
    }

    // Further samples find the prompt in the cache of what was read before.
    private static bool IsRead(ServedRequest request) => request.Ended > 0 || request.HasToken;

    private void NoteFirst(ServedSample sample)
    {
        if (sample.Tokens == 0 || sample.Request.HasToken) return;
        sample.Request.HasToken = true;
        meter.First(sample.Request.Elapsed);
    }

    // A sample of the loop has ended.
    private void End(Continuation continuation)
    {
        ServedSample sample = running.First(sample => sample.Continuation == continuation);
        ServedRequest request = sample.Request;
        NoteFirst(sample);
        meter.Join(request.Prompt.Length, continuation.Search.Beginning.Length);
        meter.Generate(sample.Tokens);
        Leave(sample);
        if (request.IsCanceled || continuation.Error is not null)
        {
            Close(request, continuation.Error is { } failure ? new GenerationFailedException(failure) : null);
            return;
        }
        sample.End(continuation.FinishReason!.Value);
        if (++request.Ended == request.Request.Samples) Close(request, null);
    }

    // No longer runs, and its adapter may leave.
    private void Leave(ServedSample sample)
    {
        running.Remove(sample);
        if (sample.Request.Adapter is { } adapter) pool!.Release(adapter);
    }

    // Answered, canceled or failed; further samples that run end before the next step.
    private void Close(ServedRequest request, Exception? error)
    {
        if (request.IsClosed) return;
        bool complete = request.Ended == request.Request.Samples;
        // Before it is closed, after which nothing can cancel it.
        if (!complete) request.Cancel();
        request.Close(error ?? (complete ? null : new OperationCanceledException("The request was canceled.")));
        joining.Remove(request);
        if (error is not null) meter.Fail();
        else if (complete) meter.Complete(request.Elapsed);
        else meter.Cancel();
    }

    private void FailAll(Exception error)
    {
        GenerationFailedException failure = new(error);
        foreach (ServedSample sample in running.ToArray())
        {
            Leave(sample);
            Close(sample.Request, failure);
        }
        foreach (ServedRequest request in joining.ToArray()) Close(request, failure);
        loop.Dispose();
        loop = NewLoop();
    }
}
