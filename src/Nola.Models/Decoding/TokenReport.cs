namespace Nola.Models;

/// <summary>A token with the logarithm of its probability.</summary>
/// <param name="Id">The token.</param>
/// <param name="LogProbability">At temperature 1, natural logarithm, at most 0.</param>
public readonly record struct TokenLogProbability(int Id, double LogProbability);

/// <summary>A token of a sequence, as it is told while the sequence is continued.</summary>
/// <param name="Id">The token.</param>
/// <param name="LogProbability">Of it; null for the first of a prompt, before which there is nothing.</param>
/// <param name="Top">The likeliest tokens in its place, the likeliest first, as many as were asked for.</param>
/// <param name="IsPrompt">Whether it is a token of the prompt.</param>
internal readonly record struct TokenReport(int Id, double? LogProbability, IReadOnlyList<TokenLogProbability> Top, bool IsPrompt);

/// <summary>Who is told the tokens of one sequence.</summary>
/// <param name="Tell">Told each token as soon as it is known, in their order.</param>
internal sealed record TokenListener(Action<TokenReport> Tell)
{
    /// <summary>How many of the likeliest tokens are told with each.</summary>
    public int Top { get; init; }

    /// <summary>Whether the tokens of the prompt are told too, with their probabilities.</summary>
    public bool Prompt { get; init; }

    /// <summary>One that wants to know new tokens only; null where nobody does.</summary>
    public static TokenListener? Of(Action<int>? onToken) => onToken is null ? null : new(report => onToken(report.Id));
}
