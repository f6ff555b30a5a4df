using Nola.Tensors;

namespace Nola.Models;

/// <summary>How what somebody asks becomes the tokens that a model continues.</summary>
internal enum PromptForm
{
    /// <summary>The text itself.</summary>
    Raw,

    /// <summary>A context as in training: for GPT-2 as LoRA and NOLA taught it, the text and the end of text.</summary>
    Context,

    /// <summary>A conversation by the model's chat template.</summary>
    Chat,
}

/// <summary>Writes texts and conversations as tokens, and cleans what the model says to them.</summary>
internal static class PromptForms
{
    /// <summary>How conversations are written for a model: by its chat template where it has one, else as a context.</summary>
    /// <exception cref="NolaException">It has a template that is not known.</exception>
    public static PromptForm OfConversations(LanguageModel model) => model.FindChat() is null ? PromptForm.Context : PromptForm.Chat;

    /// <summary>The tokens of a text.</summary>
    /// <exception cref="NolaException">The model has no chat template.</exception>
    public static int[] Encode(this PromptForm form, LanguageModel model, string text) => form switch
    {
        PromptForm.Chat => model.Chat.EncodePrompt([new(ChatMessage.User, text)], "The prompt"),
        PromptForm.Context => model.Tokenizer.EncodeContext(text),
        _ => model.Tokenizer.EncodePrompt(text),
    };

    /// <summary>
    /// The tokens of a conversation. Where there is no template, it is one context: what the system and the user say, each on lines of its
    /// own.
    /// </summary>
    /// <exception cref="NolaException">There is no place for one of the messages.</exception>
    public static int[] Encode(this PromptForm form, LanguageModel model, IReadOnlyList<ChatMessage> messages)
    {
        if (messages.Count == 0) throw new NolaException("The conversation has no message; expected at least the user's.");
        if (messages[^1].Role == ChatMessage.Assistant)
            throw new NolaException("The conversation ends with the assistant's message; expected one to be answered.");
        if (form == PromptForm.Chat) return model.Chat.EncodePrompt(messages);
        if (messages.Any(message => message.Role == ChatMessage.Assistant))
            throw new NolaException(
                "The model has no chat template, so that it cannot be told what it said before; send what it is to answer as one message.");
        string text = string.Join('\n', messages.Select(message => message.Content));
        return form.Encode(model, text);
    }

    /// <summary>Options with what ends an answer in this form.</summary>
    /// <exception cref="NolaException">An option is out of range.</exception>
    public static GenerateOptions Complete(this PromptForm form, LanguageModel model, GenerateOptions options) =>
        options.For(model, form == PromptForm.Chat);

    /// <summary>Whether the space that the encoders put before a completion is no part of the answer.</summary>
    public static bool TrimsStart(this PromptForm form) => form != PromptForm.Raw;
}
