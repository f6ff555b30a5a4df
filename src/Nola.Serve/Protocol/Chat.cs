using System.Text.Json.Serialization;

namespace Nola.Serve;

/// <summary>An answer of <c>/v1/chat/completions</c>.</summary>
internal sealed record ChatCompletion(string Id, long Created, string Model, IReadOnlyList<ChatChoice> Choices, Usage Usage)
{
    /// <summary>What this is.</summary>
    public string Object => "chat.completion";

    /// <summary>Which coefficients and which base answered.</summary>
    public required string SystemFingerprint { get; init; }
}

/// <summary>One of the answers.</summary>
internal sealed record ChatChoice(int Index, ChatAnswer Message, ChatLogprobs? Logprobs, string FinishReason);

/// <summary>What the assistant says.</summary>
internal sealed record ChatAnswer(string Role, string Content)
{
    /// <summary>This server never refuses to say something.</summary>
    public string? Refusal => null;
}

/// <summary>A part of a streamed answer.</summary>
internal sealed record ChatChunk(string Id, long Created, string Model, IReadOnlyList<ChatChunkChoice> Choices)
{
    /// <summary>What this is.</summary>
    public string Object => "chat.completion.chunk";

    /// <summary>Which coefficients and which base answered.</summary>
    public required string SystemFingerprint { get; init; }

    /// <summary>How many tokens; only the last part has it.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public Usage? Usage { get; init; }
}

/// <summary>What a part adds to one of the answers.</summary>
internal sealed record ChatChunkChoice(int Index, ChatDelta Delta, ChatLogprobs? Logprobs, string? FinishReason);

/// <summary>What is added: the first part of an answer says whose it is.</summary>
internal sealed record ChatDelta
{
    /// <summary>Who speaks.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Role { get; init; }

    /// <summary>What is said.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Content { get; init; }
}

/// <summary>The log-probabilities of an answer's tokens.</summary>
internal sealed record ChatLogprobs(IReadOnlyList<ChatTokenLogprob> Content)
{
    /// <summary>There are none of a refusal.</summary>
    public IReadOnlyList<ChatTokenLogprob>? Refusal => null;
}

/// <summary>A token with the likeliest ones in its place.</summary>
internal sealed record ChatTokenLogprob(string Token, double Logprob, IReadOnlyList<int> Bytes, IReadOnlyList<ChatTopLogprob> TopLogprobs);

/// <summary>One of the likeliest tokens.</summary>
internal sealed record ChatTopLogprob(string Token, double Logprob, IReadOnlyList<int> Bytes);
