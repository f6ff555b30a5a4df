using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// Text pairs → token ids, in the form of the published encoders: context + end of text, space + completion + end of text; of a
/// document (<see cref="TextPair.IsDocument"/>) end of text, text + end of text. Token ids in place of text are taken as they are.
/// </summary>
/// <param name="tokenizer">Tokenizer of the model; may be null when every pair holds token ids.</param>
/// <param name="longest">The model's context length; a sequence of one more token fits, since its last is only predicted.</param>
/// <param name="vocabulary">Number of tokens that the model knows.</param>
/// <param name="truncate">Cut contexts that are too long from the left, oldest tokens first, instead of refusing.</param>
public sealed class PairEncoder(ITokenizer? tokenizer, int longest, int vocabulary, bool truncate = false)
{
    private readonly Dictionary<string, int[]> contexts = [];

    /// <summary>
    /// Encodes a data set for a model. A model without a tokenizer takes data whose every pair is token ids.
    /// </summary>
    /// <exception cref="NolaException">As <see cref="Encode(TextPair)"/>, or there is text and no tokenizer for it.</exception>
    public static EncodedPair[] EncodeFor(LanguageModel model, TextPairs pairs, bool truncate = false)
    {
        bool ids = pairs.All(p => p.ContextIds is not null && p.CompletionIds is not null);
        ITokenizer? tokenizer = ids ? null : model.Tokenizer;
        return new PairEncoder(tokenizer, model.Shape.Positions, model.Shape.Vocabulary, truncate).Encode(pairs);
    }

    /// <summary>Encodes a data set.</summary>
    /// <exception cref="NolaException">A pair is too long (it names the line), empty, or has an id outside the vocabulary.</exception>
    public EncodedPair[] Encode(IReadOnlyList<TextPair> pairs) => [.. pairs.Select(Encode)];

    /// <summary>Encodes one pair.</summary>
    /// <exception cref="NolaException">It is too long, empty, or has an id outside the vocabulary.</exception>
    public EncodedPair Encode(TextPair pair)
    {
        int[] context = pair.ContextIds ?? Context(pair.Context);
        int[] completion = pair.CompletionIds
            ?? (pair.IsDocument ? Tokenizer.EncodeDocument(pair.Completion) : Tokenizer.EncodeCompletion(pair.Completion));
        foreach (int id in (int[])[.. context, .. completion])
            if (id >= vocabulary)
                throw new NolaException($"{pair.Place}: token id {id} is outside the model's vocabulary of {vocabulary}.");
        int length = context.Length + completion.Length, limit = longest + 1;
        if (length < 2 || completion.Length == 0)
            throw new NolaException($"{pair.Place}: the completion is empty; there is nothing to learn.");
        if (length <= limit) return new EncodedPair(context, completion);
        if (!truncate)
            throw new NolaException(
                $"{pair.Place}: the pair has {length} tokens and the model reads {limit} at most; "
                + "shorten it, or let contexts be cut from the left.")
            {
                Options = ["Truncate"],
            };
        if (completion.Length > limit) return new EncodedPair([], completion[..limit]);
        return new EncodedPair(context[(length - limit)..], completion);
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
