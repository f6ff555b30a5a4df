using System.Text;
using System.Text.Json;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>A conversation as tokens.</summary>
/// <param name="Ids">All of it.</param>
/// <param name="Answers">
/// Where the assistant's answers are among them, each from its first token to behind the one that ends it.
/// </param>
public sealed record ChatTokens(int[] Ids, IReadOnlyList<(int Start, int End)> Answers);

/// <summary>
/// How conversations are written for a model: the chat template in its directory, as far as it is one of the common forms (ChatML, Llama 3,
/// Mistral, Zephyr, Llama 2), on its tokenizer.
/// </summary>
public sealed class ChatFormat
{
    private const string FileName = "chat_template.jinja", Key = "chat_template", Default = "default";

    private readonly ModelTokenizer tokenizer;
    private readonly ChatTemplate template;

    internal ChatFormat(ModelTokenizer tokenizer, ChatTemplate template)
    {
        (this.tokenizer, this.template) = (tokenizer, template);
        int? turn = template.EndOfTurn is { } name ? tokenizer.Find(name) : null;
        EndTokens = [.. new[] { turn, tokenizer.EndOfText }.OfType<int>().Distinct()];
    }

    /// <summary>What the form is called, for example ChatML.</summary>
    public string Name => template.Name;

    /// <summary>The tokens that end an answer.</summary>
    public IReadOnlyList<int> EndTokens { get; }

    /// <summary>The tokens of a conversation, up to where the assistant is to answer.</summary>
    /// <param name="messages">The conversation; the last message is not the assistant's.</param>
    /// <param name="place">Where it comes from, for messages.</param>
    /// <exception cref="NolaException">The form has no place for one of the messages.</exception>
    public int[] EncodePrompt(IReadOnlyList<ChatMessage> messages, string place = "The conversation") =>
        Encode([.. Parts(messages, place), new(ChatPartKind.Markup, template.Prompt)]).Ids;

    /// <summary>The tokens of a whole conversation, which ends with the assistant's message.</summary>
    /// <inheritdoc cref="EncodePrompt"/>
    public ChatTokens Encode(IReadOnlyList<ChatMessage> messages, string place = "The conversation")
    {
        List<ChatPart> parts = [.. Parts(messages, place)];
        // What the template puts behind the last answer nobody reads.
        int end = parts.FindLastIndex(part => part.Kind == ChatPartKind.AnswerEnd) + 1;
        return Encode(parts[..end]);
    }

    /// <summary>The text of a conversation, as it is before it is encoded.</summary>
    internal string Render(IReadOnlyList<ChatMessage> messages, bool prompts) =>
        string.Concat(Parts(messages, "The conversation").Select(part => part.Text)) + (prompts ? template.Prompt : "");

    /// <summary>The format of a model's directory.</summary>
    /// <param name="directory">Where its files are; null when it has none.</param>
    /// <param name="tokenizer">Its tokenizer.</param>
    /// <param name="model">What the model is called, for messages.</param>
    /// <exception cref="NolaException">There is no template, or one that is not known.</exception>
    internal static ChatFormat Read(string? directory, ITokenizer tokenizer, string model)
    {
        (string Text, string Path)? found = directory is null ? null : Find(directory);
        if (found is not (string text, string path) || tokenizer is not ModelTokenizer own)
            throw new NolaException(
                $"{model}: has no chat template ({FileName}, or {Key} in {TokenizerConfig.FileName}); it was not made for conversations.");
        ChatTemplate template = ChatTemplate.Recognize(text)
            ?? throw new NolaException(
                $"{path}: this chat template is not known; known are the forms {ChatTemplate.Known}. Write the conversation as text.");
        return new(own, template);
    }

    /// <summary>Whether there is a template in a model's directory, known or not.</summary>
    internal static bool IsThere(string? directory) => directory is not null && Find(directory) is not null;

    private static (string Text, string Path)? Find(string directory)
    {
        string own = Path.Combine(directory, FileName), path = Path.Combine(directory, TokenizerConfig.FileName);
        if (File.Exists(own))
        {
            using TextInput text = TextInput.Open(own);
            return (text.ReadToEnd().ReplaceLineEndings("\n"), own);
        }
        if (!File.Exists(path)) return null;
        using JsonDocument document = JsonInput.Read(path);
        if (document.RootElement.ValueKind != JsonValueKind.Object) throw new NolaException($"{path}: expected a JSON object.");
        ConfigFields fields = new(document.RootElement, path);
        return fields.Given(Key) switch
        {
            null => null,
            { ValueKind: JsonValueKind.String } text => (text.GetString()!, path),
            { ValueKind: JsonValueKind.Array } list => Named(list, fields) is { } text ? (text, path) : null,
            _ => throw fields.Bad(Key, "expected a text, or a list of named ones"),
        };
    }

    private static string? Named(JsonElement list, ConfigFields fields)
    {
        foreach (JsonElement item in list.EnumerateArray())
        {
            if (item.ValueKind != JsonValueKind.Object) throw fields.Bad(Key, "expected a text, or a list of named ones");
            ConfigFields named = new(item, $"{fields.Path}: {Key}");
            if (named.Text("name") == Default) return named.Text("template");
        }
        return null;
    }

    private IEnumerable<ChatPart> Parts(IReadOnlyList<ChatMessage> messages, string place)
    {
        if (messages.Count == 0) throw new NolaException($"{place}: there is no message; expected at least the user's.");
        return template.Render(messages, (tokenizer.BeginName, tokenizer.EndName), place);
    }

    private ChatTokens Encode(IReadOnlyList<ChatPart> parts)
    {
        StringBuilder text = new();
        List<(int Start, int End)> said = [];
        List<int> cuts = [];
        foreach (ChatPart part in parts)
        {
            int start = text.Length;
            text.Append(part.Text);
            if (part.Kind is ChatPartKind.Said or ChatPartKind.Answer) said.Add((start, text.Length));
            if (part.Kind == ChatPartKind.Answer) cuts.Add(start);
            if (part.Kind == ChatPartKind.AnswerEnd) cuts.Add(text.Length);
        }
        List<int> ids = [];
        int[] counts = tokenizer.Encode(text.ToString(), FoundTokens.All, IsSaid, [.. cuts], ids);
        return new([.. ids], [.. counts.Chunk(2).Select(pair => (pair[0], pair[1]))]);

        bool IsSaid(int start, int end) => said.Exists(part => part.Start < end && start < part.End);
    }
}
