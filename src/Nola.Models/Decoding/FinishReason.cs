namespace Nola.Models;

/// <summary>Why a text ended.</summary>
public enum FinishReason
{
    /// <summary>Its last token is a stop token, or completes a stop string.</summary>
    Stop,

    /// <summary>It has as many new tokens as were asked for.</summary>
    Length,

    /// <summary>The model reads no more tokens than prompt and text have.</summary>
    Context,

    /// <summary>The options ban every next token.</summary>
    Banned,

    /// <summary>Somebody asked it to end.</summary>
    Canceled,
}

/// <summary>Tells why texts ended.</summary>
internal static class FinishReasons
{
    /// <summary>The reason, read off the whole result of <see cref="TextGeneration.GenerateAll"/> for one prompt.</summary>
    /// <param name="prompt">Length of the prompt, in tokens.</param>
    /// <param name="generated">The new tokens, the stop token included.</param>
    /// <param name="options">By which they were generated; the stop tokens are given.</param>
    /// <param name="positions">Most tokens that the model reads.</param>
    public static FinishReason Of(int prompt, ReadOnlySpan<int> generated, GenerateOptions options, int positions)
    {
        if (generated.Length > 0 && options.StopTokens!.Contains(generated[^1])) return FinishReason.Stop;
        if (generated.Length == options.MaxNewTokens) return FinishReason.Length;
        // The last token is not read any more.
        return prompt + generated.Length > positions ? FinishReason.Context : FinishReason.Banned;
    }

    /// <summary>What the reason is called in JSON: stop, length, context or banned.</summary>
    public static string NameOf(FinishReason reason) => reason.ToString().ToLowerInvariant();
}
