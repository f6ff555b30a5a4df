namespace Nola.Models;

/// <summary>Settings of an <see cref="AdapterPool"/>.</summary>
public sealed record AdapterPoolOptions
{
    /// <summary>
    /// Most bytes of factors that are mixed at once, 256 MiB by default. The adapters of one step may take more where a single one does,
    /// and pinned ones stay.
    /// </summary>
    public long MixedMemory { get; init; } = 256L << 20;
}

/// <summary>What a pool holds and what it did since it was made.</summary>
/// <param name="Adapters">Number of adapters.</param>
/// <param name="Bytes">Of their trained values.</param>
/// <param name="Mixed">Adapters whose factors are mixed.</param>
/// <param name="MixedBytes">Of these factors.</param>
/// <param name="Hits">How often a sequence that joined found its factors mixed, or about to be.</param>
/// <param name="Misses">How often they had to be mixed.</param>
/// <param name="Evictions">How often factors left to make room.</param>
/// <param name="MixTime">Time spent mixing.</param>
public sealed record AdapterPoolStatistics(
    int Adapters, long Bytes, int Mixed, long MixedBytes, long Hits, long Misses, long Evictions, TimeSpan MixTime);
