namespace Nola.Models;

/// <summary>How a <see cref="DecodeLoop"/> works.</summary>
internal sealed record DecodeLoopOptions
{
    /// <summary>Most tokens that are read at once: one for each sequence, and those of new prompts.</summary>
    public int BatchTokens { get; init; } = 512;

    /// <summary>
    /// Most tokens of prompts that are read at once, so that running sequences never wait long; prompts are whole by default.
    /// </summary>
    public int Chunk { get; init; } = int.MaxValue;

    /// <summary>Most tokens whose keys and values are kept for prompts that begin alike.</summary>
    public int PrefixTokens { get; init; }

    /// <summary>Whether a prompt that cannot be continued ends by itself, instead of the loop with an exception.</summary>
    public bool Isolates { get; init; }
}
