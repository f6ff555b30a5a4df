using Nola.Tensors;

namespace Nola.Models;

/// <summary>How text is continued.</summary>
public sealed record GenerateOptions
{
    /// <summary>Most new tokens, 64 as published.</summary>
    public int MaxNewTokens { get; init; } = 64;

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

    /// <summary>Checks every range.</summary>
    /// <exception cref="NolaException">A value is out of its range; the message names it.</exception>
    public void Validate()
    {
        Check(MaxNewTokens >= 0, "max-new", MaxNewTokens, "0 or more");
        Check(Temperature is >= 0 and <= 100, "temperature", Temperature, "0 (likeliest token) to 100");
        Check(TopK >= 0, "top-k", TopK, "0 (all tokens) or more");
        Check(TopP is > 0 and <= 1, "top-p", TopP, "above 0, at most 1");
    }

    private static void Check(bool fits, string key, object value, string range)
    {
        if (!fits) throw new NolaException(FormattableString.Invariant($"{key} is {value}; expected {range}."));
    }
}
