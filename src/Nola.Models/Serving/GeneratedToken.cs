using Nola.Tensors;

namespace Nola.Models;

/// <summary>A token that a <see cref="Scheduler"/> gives.</summary>
public sealed record GeneratedToken
{
    /// <summary>The <see cref="Id"/> of an item that is no token, but only says that a sample has ended.</summary>
    public const int NoToken = -1;

    /// <summary>Which of the request's samples it is of, from 0.</summary>
    public int Sample { get; init; }

    /// <summary>The token, or <see cref="NoToken"/>.</summary>
    public int Id { get; init; }

    /// <summary>Whether it is a token of the prompt.</summary>
    public bool IsPrompt { get; init; }

    /// <summary>
    /// The text that it adds, never with a part of a character, and empty for stop tokens. What may be the beginning of a stop string
    /// is held back, and comes with a later token if it is none. All of a sample's together are its text.
    /// </summary>
    public string Text { get; init; } = "";

    /// <summary>
    /// Logarithm of its probability, at temperature 1, after biases, penalties and bans; null for the first token of a prompt.
    /// </summary>
    public double? LogProbability { get; init; }

    /// <summary>The likeliest tokens in its place, the likeliest first; if it is one of them, with the same number.</summary>
    public IReadOnlyList<TokenLogProbability> TopLogProbabilities { get; init; } = [];

    /// <summary>Why the sample ended, on its last item.</summary>
    public FinishReason? FinishReason { get; init; }

    /// <summary>How many tokens of the prompt had been read before, for a prompt that begins alike.</summary>
    public int CachedTokens { get; init; }
}

/// <summary>As many requests wait as may.</summary>
/// <param name="waiting">How many wait.</param>
/// <param name="retryAfter">When there may be room.</param>
public sealed class SchedulerFullException(int waiting, TimeSpan retryAfter) : NolaException(
    $"{waiting} requests are waiting, as many as may; try again in {Math.Ceiling(retryAfter.TotalSeconds)} s.")
{
    /// <summary>When there may be room: a guess from how long requests took.</summary>
    public TimeSpan RetryAfter => retryAfter;
}

/// <summary>A request that was accepted and could not be continued, through no fault of who asked.</summary>
/// <param name="error">Why.</param>
public sealed class GenerationFailedException(Exception error) : NolaException(NolaException.OneLine(error.Message), error);

/// <summary>What a scheduler does, and did since it was made.</summary>
public sealed record SchedulerStatistics
{
    /// <summary>Requests that wait.</summary>
    public int Waiting { get; init; }

    /// <summary>Sequences that are continued.</summary>
    public int Running { get; init; }

    /// <summary>Requests that were accepted.</summary>
    public long Requests { get; init; }

    /// <summary>Requests that ended by themselves.</summary>
    public long Completed { get; init; }

    /// <summary>Requests that were canceled.</summary>
    public long Canceled { get; init; }

    /// <summary>Requests that failed.</summary>
    public long Failed { get; init; }

    /// <summary>Requests that were refused since too many waited.</summary>
    public long Refused { get; init; }

    /// <summary>Tokens of the prompts of sequences that joined.</summary>
    public long PromptTokens { get; init; }

    /// <summary>How many of them had been read before.</summary>
    public long CachedTokens { get; init; }

    /// <summary>Tokens that were generated.</summary>
    public long GeneratedTokens { get; init; }

    /// <summary>Passes of the model.</summary>
    public long Steps { get; init; }

    /// <summary>Mean time from a request to its first token; zero when there was none.</summary>
    public TimeSpan MeanTimeToFirstToken { get; init; }

    /// <summary>Bytes of keys and values that are held.</summary>
    public long CacheBytes { get; init; }

    /// <summary>How many of them for prompts that begin alike.</summary>
    public long PrefixBytes { get; init; }
}
