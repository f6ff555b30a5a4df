using System.Text.Json.Serialization;

namespace Nola.Serve;

/// <summary>An answer of <c>/v1/completions</c>, or a part of one that is streamed.</summary>
internal sealed record Completion(string Id, string Object, long Created, string Model, IReadOnlyList<CompletionChoice> Choices)
{
    /// <summary>Which coefficients and which base answered.</summary>
    public required string SystemFingerprint { get; init; }

    /// <summary>How many tokens; in a stream only the last part has it.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public Usage? Usage { get; init; }
}

/// <summary>One of the texts.</summary>
internal sealed record CompletionChoice(int Index, string Text, CompletionLogprobs? Logprobs, string? FinishReason);

/// <summary>
/// Log-probabilities in the form of the first API: four lists of equal length. The first token of an echoed prompt has none.
/// </summary>
internal sealed record CompletionLogprobs(
    IReadOnlyList<string> Tokens,
    IReadOnlyList<double?> TokenLogprobs,
    IReadOnlyList<IReadOnlyDictionary<string, double>?> TopLogprobs,
    IReadOnlyList<int> TextOffset);

/// <summary>How many tokens were read and written.</summary>
internal sealed record Usage(int PromptTokens, int CompletionTokens)
{
    /// <summary>Both.</summary>
    public int TotalTokens => PromptTokens + CompletionTokens;

    /// <summary>Which of the prompt's tokens did not have to be read again; null where that is not known.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public PromptTokensDetails? PromptTokensDetails { get; init; }
}

/// <summary>Of the prompt's tokens, those whose keys and values were there already.</summary>
internal sealed record PromptTokensDetails(int CachedTokens);
