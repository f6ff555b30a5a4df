using Nola.Models;
using Nola.Train;

namespace Nola.Cli;

/// <summary>What is continued: a context as in training, the text itself, or a conversation.</summary>
/// <param name="Raw">The text itself, without what training puts after a context.</param>
/// <param name="Chat">A conversation, written by the model's chat template.</param>
/// <param name="System">The system message of conversations that have none; null for none.</param>
internal sealed record PromptForm(bool Raw, bool Chat, string? System)
{
    /// <summary>A conversation with the system message before it.</summary>
    public IReadOnlyList<ChatMessage> Asked(IReadOnlyList<ChatMessage> messages) =>
        System is null || messages[0].Role == ChatMessage.System ? messages : [new(ChatMessage.System, System), .. messages];

    /// <summary>The same of an input.</summary>
    public TextPair Asked(TextPair pair) => Chat && pair.ContextIds is null
        ? pair with { Messages = Asked(pair.Messages ?? [new(ChatMessage.User, pair.Context)]) }
        : pair;
}
