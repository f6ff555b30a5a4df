namespace Nola.Models;

/// <summary>What a <see cref="Scheduler"/> is asked to continue.</summary>
public sealed record GenerateRequest
{
    /// <summary>The most samples of a request.</summary>
    public const int MostSamples = 128;

    /// <summary>The most likely tokens that can be told with each token.</summary>
    public const int MostTopLogProbabilities = 20;

    /// <summary>At least one token.</summary>
    public required IReadOnlyList<int> Prompt { get; init; }

    /// <summary>How it is continued: without beams, and one sample, since the number of those is <see cref="Samples"/>.</summary>
    public GenerateOptions Options { get; init; } = new();

    /// <summary>
    /// How many texts, 1 to <see cref="MostSamples"/>. Sample s draws the numbers of sequence <see cref="GenerateOptions.FirstSequence"/>
    /// + s; all are equal when nothing is drawn.
    /// </summary>
    public int Samples { get; init; } = 1;

    /// <summary>What it is read with; null for the base model alone.</summary>
    public PooledAdapter? Adapter { get; init; }

    /// <summary>Whether the tokens of the prompt are told too, with their probabilities, before the first sample's.</summary>
    public bool PromptLogProbabilities { get; init; }

    /// <summary>How many of the likeliest tokens are told with each, 0 to <see cref="MostTopLogProbabilities"/>.</summary>
    public int TopLogProbabilities { get; init; }
}
