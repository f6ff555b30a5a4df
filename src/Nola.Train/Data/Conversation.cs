using System.Text.Json;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// A conversation (<c>messages</c> with <c>role</c> and <c>content</c>) as a pair. Its text is for models that have no template of their
/// own, or are not asked to use it: a line <c>role: content</c> for each message, then <c>assistant:</c>, which the last message
/// completes.
/// </summary>
internal static class Conversation
{
    private const string Assistant = ChatMessage.Assistant;

    /// <summary>The last message of the assistant as a completion, and everything before it as its context.</summary>
    /// <param name="messages">The value of <c>messages</c>.</param>
    /// <param name="place">File and line, for messages.</param>
    /// <param name="contextsOnly">The conversation may end with the user; then all of it is the context.</param>
    /// <exception cref="NolaException">It is of another form, or ends with another role.</exception>
    public static TextPair Pair(JsonElement messages, string place, bool contextsOnly)
    {
        if (messages.ValueKind != JsonValueKind.Array || messages.GetArrayLength() == 0)
            throw new NolaException($"{place}: \"{PairNames.Messages}\" is {JsonFields.Kind(messages)}; "
                + "expected an array of {\"role\": …, \"content\": …}.");
        ChatMessage[] turns =
            [.. messages.EnumerateArray().Select((message, i) => Turn(message, $"{place}, message {i + 1}"))];
        bool answered = turns[^1].Role == Assistant;
        if (!answered && !contextsOnly)
            throw new NolaException($"{place}: the last message is the {turns[^1].Role}'s; "
                + "a conversation to learn from ends with the assistant's.");
        IEnumerable<string> lines = turns.Take(answered ? turns.Length - 1 : turns.Length).Select(turn => $"{turn.Role}: {turn.Content}\n");
        return new TextPair(string.Concat(lines) + Assistant + ":", answered ? turns[^1].Content : "", place) { Messages = turns };
    }

    private static ChatMessage Turn(JsonElement message, string place)
    {
        string role = JsonFields.Text(message, "role", place);
        if (!ChatMessage.Roles.Contains(role))
            throw new NolaException($"{place}: the role is {Quoted.Of(role)}; expected {string.Join(", ", ChatMessage.Roles)}.");
        return new(role, JsonFields.Text(message, "content", place));
    }
}
