using Nola.Models;

namespace Nola.Serve;

/// <summary>What a request asks to be generated, checked whole.</summary>
/// <param name="Target">By what.</param>
/// <param name="Form">How the prompts were written as tokens.</param>
/// <param name="Prompts">The prompts.</param>
/// <param name="Options">How they are continued.</param>
/// <param name="Samples">Texts for each prompt.</param>
internal sealed record GenerationJob(
    Target Target, PromptForm Form, IReadOnlyList<EncodedPrompt> Prompts, GenerateOptions Options, int Samples)
{
    /// <summary>Number of texts.</summary>
    public int Choices => Prompts.Count * Samples;

    /// <summary>Begin each text with its prompt.</summary>
    public bool Echo { get; init; }

    /// <summary>How many of the likeliest tokens are told in each place; null to tell no log-probabilities.</summary>
    public int? Logprobs { get; init; }

    /// <summary>Send the texts as they come.</summary>
    public bool Stream { get; init; }

    /// <summary>End a stream with the numbers of tokens.</summary>
    public bool IncludeUsage { get; init; }

    /// <summary>Tokens of all prompts.</summary>
    public int PromptTokens => Prompts.Sum(prompt => prompt.Ids.Length);

    /// <summary>What the engine is asked for one of the prompts.</summary>
    public GenerateRequest Request(int prompt) => new()
    {
        Prompt = Prompts[prompt].Ids,
        // As one call of the library numbers its sequences.
        Options = Options with { FirstSequence = prompt * Samples },
        Samples = Samples,
        Adapter = Target.Adapter,
        PromptLogProbabilities = Echo && Logprobs is not null,
        TopLogProbabilities = Logprobs ?? 0,
    };
}

/// <summary>A prompt as text and as tokens.</summary>
internal sealed record EncodedPrompt(string Text, int[] Ids);
