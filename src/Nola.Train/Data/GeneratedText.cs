using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// Between texts and the tokens of a decoder:
/// the same for <c>nola generate --prompts</c> and for an experiment's outputs.
/// </summary>
internal static class GeneratedText
{
    /// <summary>
    /// The tokens that a decoder reads: the context as in training,
    /// with the end of text after it; ids as they are given.
    /// </summary>
    /// <param name="pair">The context; its completion is not looked at.</param>
    /// <param name="tokenizer">Tokenizer of the model; null when every context is given in ids.</param>
    /// <param name="shape">Sizes of the model, which limits length and ids.</param>
    /// <param name="raw">To continue the text itself, without what training puts after it.</param>
    /// <param name="room">New tokens for which a context that is too long is cut from the left; null to refuse it.</param>
    /// <param name="chat">How conversations are written; null to take contexts as they are.</param>
    /// <exception cref="NolaException">The context is empty, too long, or has a token that the model does not.</exception>
    public static int[] Context(
        TextPair pair, ITokenizer? tokenizer, LanguageShape shape, bool raw = false, int? room = null, ChatFormat? chat = null)
    {
        int[] ids = pair.ContextIds ?? Encoded(pair, tokenizer!, raw, chat);
        // The last of the new tokens is not read.
        if (room is { } tokens) ids = ids[Math.Max(0, ids.Length - Math.Max(1, shape.Positions + 1 - tokens))..];
        if (ids.Length == 0) throw new NolaException($"{pair.Place}: the context is empty; give at least one token.");
        if (ids.Length > shape.Positions)
            throw new NolaException($"{pair.Place}: the context has {ids.Length} tokens; this model reads at most {shape.Positions}.");
        int wrong = Array.FindIndex(ids, id => id >= shape.Vocabulary);
        if (wrong >= 0)
            throw new NolaException($"{pair.Place}: token id {ids[wrong]} is outside the model's vocabulary of {shape.Vocabulary}.");
        return ids;
    }

    /// <summary>
    /// The text of tokens: without stop tokens, and up to the first stop string or, where a blank line ends it, the first of these.
    /// </summary>
    /// <param name="ids">What was generated, or what a completion is given as.</param>
    /// <param name="tokenizer">The model's.</param>
    /// <param name="options">Whose stop tokens are given.</param>
    public static string Of(int[] ids, ITokenizer tokenizer, GenerateOptions options)
    {
        IReadOnlyList<int> stopTokens = options.StopTokens!;
        string text = tokenizer.Decode([.. ids.Where(id => !stopTokens.Contains(id))]);
        // A blank line is a token of its own, or two newlines.
        bool ends = stopTokens.Any(id => id < tokenizer.Vocabulary && tokenizer.BytesOf(id).SequenceEqual("\n\n"u8));
        int blank = ends ? text.IndexOf("\n\n", StringComparison.Ordinal) : -1;
        return StopStrings.Cut(blank < 0 ? text : text[..blank], options.StopStrings).Trim();
    }

    private static int[] Encoded(TextPair pair, ITokenizer tokenizer, bool raw, ChatFormat? chat)
    {
        if (chat is not null) return chat.EncodePrompt(PairEncoder.Question(pair), pair.Place);
        if (!raw) return tokenizer.EncodeContext(pair.Context);
        return pair.Context.Length == 0 ? [] : tokenizer.EncodePrompt(pair.Context);
    }

    /// <summary>The text in one line, for files with an output on each.</summary>
    public static string OneLine(string text) => text.ReplaceLineEndings(" ");
}
