using System.Diagnostics.Metrics;

namespace Nola.Models;

/// <summary>Counters of a <see cref="Scheduler"/>, as numbers and as instruments of System.Diagnostics.Metrics.</summary>
internal sealed class SchedulerMeter : IDisposable
{
    private readonly Meter meter = new(Scheduler.MeterName);
    private readonly Counter<long> requests, promptTokens, cachedTokens, generatedTokens;
    private readonly Histogram<double> firstToken, duration, step;
    private readonly Histogram<int> batch;
    private long accepted, completed, canceled, failed, refused, prompt, cached, generated, steps, firsts;
    private double firstSeconds, meanSeconds;

    public SchedulerMeter(Func<int> waiting, Func<int> running, AdapterPool? pool)
    {
        requests = meter.CreateCounter<long>("nola.requests", "{request}", "Requests by outcome");
        promptTokens = meter.CreateCounter<long>("nola.prompt_tokens", "{token}", "Tokens of prompts");
        cachedTokens = meter.CreateCounter<long>("nola.cached_prompt_tokens", "{token}", "Tokens of prompts that had been read before");
        generatedTokens = meter.CreateCounter<long>("nola.generated_tokens", "{token}", "Tokens that were generated");
        firstToken = meter.CreateHistogram<double>("nola.time_to_first_token", "s", "From a request to its first token");
        duration = meter.CreateHistogram<double>("nola.request_duration", "s", "From a request to its end");
        step = meter.CreateHistogram<double>("nola.step_duration", "s", "A pass of the model, with mixing before it");
        batch = meter.CreateHistogram<int>("nola.batch_sequences", "{sequence}", "Sequences of a pass");
        meter.CreateObservableGauge("nola.waiting", waiting, "{request}", "Requests that wait");
        meter.CreateObservableGauge("nola.running", running, "{sequence}", "Sequences that are continued");
        if (pool is null) return;
        meter.CreateObservableGauge("nola.pool.adapters", () => pool.Statistics.Adapters, "{adapter}", "Adapters in the pool");
        meter.CreateObservableGauge("nola.pool.mixed_bytes", () => pool.Statistics.MixedBytes, "By", "Bytes of mixed factors");
        meter.CreateObservableCounter("nola.pool.hits", () => pool.Statistics.Hits, "{sequence}", "Sequences that found factors mixed");
        meter.CreateObservableCounter("nola.pool.misses", () => pool.Statistics.Misses, "{sequence}", "Sequences that had them mixed");
        meter.CreateObservableCounter("nola.pool.evictions", () => pool.Statistics.Evictions, "{adapter}", "Factors that made room");
    }

    /// <summary>The instruments.</summary>
    public Meter Meter => meter;

    /// <summary>How long requests took lately.</summary>
    public TimeSpan MeanDuration => TimeSpan.FromSeconds(Volatile.Read(ref meanSeconds));

    /// <summary>The numbers.</summary>
    public SchedulerStatistics Statistics
    {
        get
        {
            long count = Interlocked.Read(ref firsts);
            return new()
            {
                Requests = Interlocked.Read(ref accepted),
                Completed = Interlocked.Read(ref completed),
                Canceled = Interlocked.Read(ref canceled),
                Failed = Interlocked.Read(ref failed),
                Refused = Interlocked.Read(ref refused),
                PromptTokens = Interlocked.Read(ref prompt),
                CachedTokens = Interlocked.Read(ref cached),
                GeneratedTokens = Interlocked.Read(ref generated),
                Steps = Interlocked.Read(ref steps),
                MeanTimeToFirstToken = TimeSpan.FromSeconds(count == 0 ? 0 : Volatile.Read(ref firstSeconds) / count),
            };
        }
    }

    public void Accept() => Interlocked.Increment(ref accepted);

    public void Refuse() => Count(ref refused, "refused");

    public void Join(int length, int known)
    {
        Add(promptTokens, ref prompt, length);
        Add(cachedTokens, ref cached, known);
    }

    public void Generate(int tokens) => Add(generatedTokens, ref generated, tokens);

    /// <summary>Takes the time to the first token of a request.</summary>
    public void First(TimeSpan time)
    {
        firstToken.Record(time.TotalSeconds);
        Volatile.Write(ref firstSeconds, firstSeconds + time.TotalSeconds);
        Interlocked.Increment(ref firsts);
    }

    public void Step(TimeSpan time, int sequences)
    {
        step.Record(time.TotalSeconds);
        batch.Record(sequences);
        Interlocked.Increment(ref steps);
    }

    public void Complete(TimeSpan time)
    {
        duration.Record(time.TotalSeconds);
        // Of about the last sixteen.
        Volatile.Write(ref meanSeconds, meanSeconds + (time.TotalSeconds - meanSeconds) / (completed < 16 ? completed + 1 : 16));
        Count(ref completed, "completed");
    }

    public void Cancel() => Count(ref canceled, "canceled");

    public void Fail() => Count(ref failed, "failed");

    public void Dispose() => meter.Dispose();

    private void Count(ref long total, string outcome)
    {
        Interlocked.Increment(ref total);
        requests.Add(1, new KeyValuePair<string, object?>("outcome", outcome));
    }

    private static void Add(Counter<long> counter, ref long total, int more)
    {
        if (more == 0) return;
        counter.Add(more);
        Interlocked.Add(ref total, more);
    }
}
