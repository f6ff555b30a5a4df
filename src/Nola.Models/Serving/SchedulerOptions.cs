using Nola.Tensors;

namespace Nola.Models;

/// <summary>Settings of a <see cref="Scheduler"/>.</summary>
public sealed record SchedulerOptions
{
    /// <summary>Most tokens that the model reads at once: one for each running sequence, and those of prompts.</summary>
    public int BatchTokens { get; init; } = 512;

    /// <summary>Most sequences that are continued at once.</summary>
    public int MaxRunning { get; init; } = 64;

    /// <summary>Most requests that wait.</summary>
    public int MaxQueue { get; init; } = 256;

    /// <summary>Most tokens of prompts that are read at once, so that running sequences never wait long for a new one.</summary>
    public int PromptChunk { get; init; } = 256;

    /// <summary>
    /// Most bytes of keys and values of the running sequences, 1 GiB by default; a request waits until prompt and text have room. One
    /// sequence always runs.
    /// </summary>
    public long CacheBytes { get; init; } = 1L << 30;

    /// <summary>Most bytes of keys and values that are kept for prompts that begin alike, 256 MiB by default; 0 for none.</summary>
    public long PrefixCacheBytes { get; init; } = 256L << 20;

    /// <summary>Checks every range.</summary>
    /// <exception cref="NolaException">A value is out of its range; the message names it.</exception>
    public void Validate()
    {
        Check(BatchTokens >= 1, nameof(BatchTokens), BatchTokens, "1 or more");
        Check(MaxRunning >= 1, nameof(MaxRunning), MaxRunning, "1 or more");
        Check(MaxRunning <= BatchTokens, nameof(MaxRunning), MaxRunning, $"at most {nameof(BatchTokens)}, which is {BatchTokens}");
        Check(MaxQueue >= 1, nameof(MaxQueue), MaxQueue, "1 or more");
        Check(PromptChunk >= 1, nameof(PromptChunk), PromptChunk, "1 or more");
        Check(CacheBytes >= 0, nameof(CacheBytes), CacheBytes, "0 or more");
        Check(PrefixCacheBytes >= 0, nameof(PrefixCacheBytes), PrefixCacheBytes, "0 or more");
    }

    private static void Check(bool fits, string name, long value, string range)
    {
        if (!fits) throw new NolaException($"{name} is {value}; expected {range}.");
    }
}
