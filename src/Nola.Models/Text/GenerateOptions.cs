using Nola.Tensors;

namespace Nola.Models;

/// <summary>How text is continued.</summary>
public sealed record GenerateOptions
{
    /// <summary>The decoding by which the LoRA and NOLA papers' E2E scores were made: 10 beams, no 4-gram twice.</summary>
    public static GenerateOptions Published { get; } = new() { Beams = 10, NoRepeatNgram = 4 };

    /// <summary>Most new tokens, 64 as published.</summary>
    public int MaxNewTokens { get; init; } = 64;

    /// <summary>Least new tokens: no stop token before.</summary>
    public int MinNewTokens { get; init; }

    /// <summary>Sequences that a beam search keeps at each step; 1 for none, 10 as published.</summary>
    public int Beams { get; init; } = 1;

    /// <summary>p of a beam's score Σ log p / lengthᵖ, 0.8 as published; larger ones favour longer texts.</summary>
    public double LengthPenalty { get; init; } = 0.8;

    /// <summary>Whose beam search.</summary>
    public BeamRules BeamRules { get; init; }

    /// <summary>No sequence of this many tokens twice, 4 as published; 0 for no limit.</summary>
    public int NoRepeatNgram { get; init; }

    /// <summary>Makes tokens that are there already less likely (Keskar et al. 2019); 1 for no penalty.</summary>
    public float RepetitionPenalty { get; init; } = 1;

    /// <summary>0 takes the likeliest token each time; 1 samples from the model's distribution; above 1 flattens it.</summary>
    public float Temperature { get; init; }

    /// <summary>Sample from this many likeliest tokens only; 0 for all.</summary>
    public int TopK { get; init; }

    /// <summary>Sample from the fewest tokens whose probabilities reach this sum (Holtzman et al. 2020); 1 for all.</summary>
    public float TopP { get; init; } = 1;

    /// <summary>Of the sampling: the same seed gives the same text.</summary>
    public ulong Seed { get; init; }

    /// <summary>Tokens that end the text: 50256 and 628 (a blank line) as published.</summary>
    public IReadOnlyList<int> StopTokens { get; init; } = [Gpt2Tokenizer.EndOfText, 628];

    /// <summary>Most tokens that the model reads at once when there are many prompts: one for each beam, and those of new prompts.</summary>
    public int BatchTokens { get; init; } = 512;

    /// <summary>Checks every range.</summary>
    /// <exception cref="NolaException">A value is out of its range; the message names it.</exception>
    public void Validate()
    {
        Check(MaxNewTokens >= 0, "max-new", MaxNewTokens, "0 or more");
        Check(MinNewTokens >= 0 && MinNewTokens <= MaxNewTokens, "min-new", MinNewTokens, $"0 to max-new, which is {MaxNewTokens}");
        Check(Beams is >= 1 and <= 1000, "beams", Beams, "1 (no beam search) to 1000");
        Check(LengthPenalty is >= -10 and <= 10, "length-penalty", LengthPenalty, "-10 to 10");
        Check(Enum.IsDefined(BeamRules), "beam-rules", BeamRules, BeamRulesNames.Known);
        Check(NoRepeatNgram >= 0, "no-repeat-ngram", NoRepeatNgram, "0 (no limit) or more");
        Check(RepetitionPenalty is > 0 and <= 100, "repetition-penalty", RepetitionPenalty, "above 0, at most 100; 1 is none");
        Check(Temperature is >= 0 and <= 100, "temperature", Temperature, "0 (likeliest token) to 100");
        Check(TopK >= 0, "top-k", TopK, "0 (all tokens) or more");
        Check(TopP is > 0 and <= 1, "top-p", TopP, "above 0, at most 1");
        Check(StopTokens.All(token => token >= 0), "stop", string.Join(", ", StopTokens), "token ids from 0");
        Check(BatchTokens >= 1, "batch-tokens", BatchTokens, "1 or more");
        if (Beams > 1 && Temperature > 0)
            throw new NolaException(FormattableString.Invariant($"beams is {Beams} and temperature {Temperature}; a beam search does not sample, so give one of them."));
    }

    private static void Check(bool fits, string key, object value, string range)
    {
        if (!fits) throw new NolaException(FormattableString.Invariant($"{key} is {value}; expected {range}."));
    }
}
