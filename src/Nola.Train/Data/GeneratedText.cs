using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>Between texts and the tokens of a decoder: the same for <c>nola generate --prompts</c> and for an experiment's outputs.</summary>
public static class GeneratedText
{
    // A blank line, which ends a published text.
    private const int BlankLine = 628;

    /// <summary>The tokens that a decoder reads: the context, then token 50256 as in training; ids as they are given.</summary>
    /// <param name="pair">The context; its completion is not looked at.</param>
    /// <param name="tokenizer">Of the model; null when every context is given in ids.</param>
    /// <param name="config">Of the model, which limits length and ids.</param>
    /// <param name="raw">Without token 50256, to continue the text itself.</param>
    /// <param name="room">New tokens for which a context that is too long is cut from the left; null to refuse it.</param>
    /// <exception cref="NolaException">The context is empty, too long, or has a token that the model does not.</exception>
    public static int[] Context(TextPair pair, Gpt2Tokenizer? tokenizer, Gpt2Config config, bool raw = false, int? room = null)
    {
        int[] ids = pair.ContextIds ?? (raw ? tokenizer!.Encode(pair.Context) : [.. tokenizer!.Encode(pair.Context), Gpt2Tokenizer.EndOfText]);
        // The last of the new tokens is not read.
        if (room is { } tokens) ids = ids[Math.Max(0, ids.Length - Math.Max(1, config.Positions + 1 - tokens))..];
        if (ids.Length == 0) throw new NolaException($"{pair.Place}: the context is empty; give at least one token.");
        if (ids.Length > config.Positions) throw new NolaException($"{pair.Place}: the context has {ids.Length} tokens; this model reads at most {config.Positions}.");
        int wrong = Array.FindIndex(ids, id => id >= config.Vocabulary);
        if (wrong >= 0) throw new NolaException($"{pair.Place}: token id {ids[wrong]} is outside the model's vocabulary of {config.Vocabulary}.");
        return ids;
    }

    /// <summary>The text of tokens: without stop tokens and, where a blank line ends it, up to the first one.</summary>
    public static string Of(int[] ids, Gpt2Tokenizer tokenizer, IReadOnlyList<int> stopTokens)
    {
        string text = tokenizer.Decode([.. ids.Where(id => !stopTokens.Contains(id))]);
        // A blank line is token 628, or two newlines.
        int blank = stopTokens.Contains(BlankLine) ? text.IndexOf("\n\n", StringComparison.Ordinal) : -1;
        return (blank < 0 ? text : text[..blank]).Trim();
    }

    /// <summary>The text in one line, for files with an output on each.</summary>
    public static string OneLine(string text) => text.ReplaceLineEndings(" ");
}
