using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// Text pairs → token ids, in the form of the published encoders: context + end of text, space + completion + end of text; of a
/// document (<see cref="TextPair.IsDocument"/>) end of text, text + end of text. Tokenizers of other families have forms of their own
/// (<see cref="ITokenizer"/>). Token ids in place of text are taken as they are.
/// </summary>
/// <param name="tokenizer">Tokenizer of the model; may be null when every pair holds token ids.</param>
/// <param name="longest">The model's context length; a sequence of one more token fits, since its last is only predicted.</param>
/// <param name="vocabulary">Number of tokens that the model knows.</param>
/// <param name="truncate">Cut contexts that are too long from the left, oldest tokens first, instead of refusing.</param>
/// <param name="chat">
/// How conversations are written, of which every answer is learned; other pairs are a question and its answer. Null to write pairs as
/// above, conversations too.
/// </param>
public sealed class PairEncoder(ITokenizer? tokenizer, int longest, int vocabulary, bool truncate = false, ChatFormat? chat = null)
{
    private readonly Dictionary<string, int[]> contexts = [];

    /// <summary>
    /// Encodes a data set for a model. A model without a tokenizer takes data whose every pair is token ids.
    /// </summary>
    /// <param name="model">The model.</param>
    /// <param name="pairs">The data.</param>
    /// <param name="truncate">Cut contexts that are too long instead of refusing them.</param>
    /// <param name="chat">Write them as the model's chat template says.</param>
    /// <exception cref="NolaException">
    /// As <see cref="Encode(TextPair)"/>, or there is text and no tokenizer for it, or no chat template that is known.
    /// </exception>
    public static EncodedPair[] EncodeFor(LanguageModel model, TextPairs pairs, bool truncate = false, bool chat = false)
    {
        bool ids = pairs.All(p => p.ContextIds is not null && p.CompletionIds is not null);
        ITokenizer? tokenizer = ids ? null : model.Tokenizer;
        ChatFormat? format = chat && !ids ? model.Chat : null;
        return new PairEncoder(tokenizer, model.Shape.Positions, model.Shape.Vocabulary, truncate, format).Encode(pairs);
    }

    /// <summary>Encodes a data set.</summary>
    /// <exception cref="NolaException">A pair is too long (it names the line), empty, or has an id outside the vocabulary.</exception>
    public EncodedPair[] Encode(IReadOnlyList<TextPair> pairs) => [.. pairs.Select(Encode)];

    /// <summary>Encodes one pair.</summary>
    /// <exception cref="NolaException">It is too long, empty, or has an id outside the vocabulary.</exception>
    public EncodedPair Encode(TextPair pair)
    {
        (int[] context, int[] completion) = (pair.ContextIds ?? [], pair.CompletionIds ?? []);
        IReadOnlyList<(int, int)>? skipped = null;
        bool ids = pair.ContextIds is not null || pair.CompletionIds is not null;
        if (chat is not null && !ids && !pair.IsDocument) (context, completion, skipped) = Talk(pair, chat);
        else
        {
            context = pair.ContextIds ?? Context(pair.Context);
            completion = pair.CompletionIds
                ?? (pair.IsDocument ? Tokenizer.EncodeDocument(pair.Completion) : Tokenizer.EncodeCompletion(pair.Completion));
        }
        foreach (int id in (int[])[.. context, .. completion])
            if (id >= vocabulary)
                throw new NolaException($"{pair.Place}: token id {id} is outside the model's vocabulary of {vocabulary}.");
        int length = context.Length + completion.Length, limit = longest + 1;
        if (length < 2 || completion.Length == 0)
            throw new NolaException($"{pair.Place}: the completion is empty; there is nothing to learn.");
        if (length <= limit) return new EncodedPair(context, completion) { Skipped = skipped };
        if (!truncate)
            throw new NolaException(
                $"{pair.Place}: the pair has {length} tokens and the model reads {limit} at most; "
                + "shorten it, or let contexts be cut from the left.")
            {
                Options = ["Truncate"],
            };
        if (completion.Length > limit) return new EncodedPair([], completion[..limit]) { Skipped = skipped };
        return new EncodedPair(context[(length - limit)..], completion) { Skipped = skipped };
    }

    /// <summary>What a pair is as a conversation: its own, or its context as a question without what is answered.</summary>
    internal static IReadOnlyList<ChatMessage> Question(TextPair pair) =>
        pair.Messages is not { } messages ? [new(ChatMessage.User, pair.Context)]
        : messages[^1].Role == ChatMessage.Assistant ? [.. messages.SkipLast(1)]
        : messages;

    // All before the first answer is the context; what others say after it is skipped.
    private static (int[] Context, int[] Completion, IReadOnlyList<(int, int)>? Skipped) Talk(TextPair pair, ChatFormat chat)
    {
        (int[] ids, IReadOnlyList<(int Start, int End)> answers) =
            chat.Encode(pair.Messages ?? [.. Question(pair), new(ChatMessage.Assistant, pair.Completion)], pair.Place);
        int start = answers[0].Start;
        (int, int)[] skipped = [.. answers.Zip(answers.Skip(1)).Select(two => (two.First.End - start, two.Second.Start - start))];
        return (ids[..start], ids[start..], skipped.Length > 0 ? skipped : null);
    }

    // The same context often stands in several pairs (E2E: 8.7 each).
    private int[] Context(string text)
    {
        if (contexts.TryGetValue(text, out int[]? known)) return known;
        return contexts[text] = Tokenizer.EncodeContext(text);
    }

    private ITokenizer Tokenizer =>
        tokenizer ?? throw new NolaException("PairEncoder: a pair holds text and there is no tokenizer for it.");
}
