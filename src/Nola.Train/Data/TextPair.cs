using Nola.Models;

namespace Nola.Train;

/// <summary>
/// One example: a context that is read and a completion that is learned. Either side may be token ids in place of text,
/// taken as they stand.
/// </summary>
/// <param name="Context">Text of the context.</param>
/// <param name="Completion">Text of the completion.</param>
/// <param name="Place">File and line or entry, for messages.</param>
public sealed record TextPair(string Context, string Completion, string Place = "")
{
    /// <summary>What the data set says of where the text comes from, for example <c>e2e</c> or <c>webnlg</c> in DART.</summary>
    public string Origin { get; init; } = "";

    /// <summary>The category of what is described, for example <c>Airport</c> in WebNLG; empty where the data have none.</summary>
    public string Category { get; init; } = "";

    /// <summary>
    /// The completion is a text of its own and all of it is learned, from its first token on: there is no context, and no space is
    /// put before it.
    /// </summary>
    public bool IsDocument { get; init; }

    /// <summary>The conversation that the pair stands for, all of its messages; null for any other pair.</summary>
    public IReadOnlyList<ChatMessage>? Messages { get; init; }

    /// <summary>The context as token ids in the place of its text, with whatever end token it has.</summary>
    public int[]? ContextIds { get; init; }

    /// <summary>The completion as token ids in the place of its text.</summary>
    public int[]? CompletionIds { get; init; }
}
