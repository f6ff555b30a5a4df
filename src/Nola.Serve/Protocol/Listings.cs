using System.Text.Json.Serialization;

namespace Nola.Serve;

/// <summary>The models that can be asked for.</summary>
internal sealed record ModelList(IReadOnlyList<ModelEntry> Data, IReadOnlyList<RefusedEntry> Refused)
{
    /// <summary>What this is.</summary>
    public string Object => "list";
}

/// <summary>The base model, or an adapter on it.</summary>
internal sealed record ModelEntry(string Id, long Created, string Root, string? Parent, int MaxModelLen)
{
    /// <summary>What this is.</summary>
    public string Object => "model";

    /// <summary>Whose it is.</summary>
    public string OwnedBy => "nola";

    /// <summary>A digest of what it answers with.</summary>
    public required string Fingerprint { get; init; }

    /// <summary>An adapter's method.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Method { get; init; }

    /// <summary>The bytes that an adapter takes while nobody asks for it.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public long? Bytes { get; init; }
}

/// <summary>A file that is no adapter of this base, and why.</summary>
internal sealed record RefusedEntry(string Id, string Path, string Error);

/// <summary>Whether the server works, and what it is doing.</summary>
internal sealed record Health(string Status, string Model, int Adapters, int Refused, int Running, int Waiting);

/// <summary>Token ids of a text.</summary>
internal sealed record Tokenized(int Count, int MaxModelLen, IReadOnlyList<int> Tokens)
{
    /// <summary>How each token is written, where that was asked for.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<string>? TokenStrs { get; init; }
}

/// <summary>The text of token ids.</summary>
internal sealed record Detokenized(string Prompt);

/// <summary>What clients that encode texts themselves ask about the tokenizer.</summary>
internal sealed record TokenizerInfo(
    string TokenizerClass, int VocabSize, int ModelMaxLength, string? EosToken, int? EosTokenId, string? BosToken, int? BosTokenId,
    string? PadToken, string? ChatTemplate, string? ChatFormat, IReadOnlyList<int> StopTokenIds);

/// <summary>An adapter was loaded or unloaded.</summary>
internal sealed record AdapterAnswer(string Status, string Message, string LoraName)
{
    /// <summary>The digest of the adapter that answers to the name now.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Fingerprint { get; init; }
}

/// <summary>An error in the form of OpenAI's API.</summary>
internal sealed record ErrorBody(ErrorDetail Error);

/// <summary>What went wrong.</summary>
internal sealed record ErrorDetail(string Message, string Type, string? Param, string? Code);
