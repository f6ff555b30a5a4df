namespace Nola.Models;

/// <summary>
/// One training example as token ids. In the published form (LoRA's and NOLA's encoders) the context ends with token
/// 50256 and the completion begins with the encoding of a space and ends with 50256; the loss counts on the completion.
/// </summary>
/// <param name="Context">Ids that are read but not predicted. May be empty for plain language modeling.</param>
/// <param name="Completion">Ids that are predicted.</param>
public readonly record struct EncodedPair(int[] Context, int[] Completion)
{
    /// <summary>
    /// Parts of the completion that are read and not predicted, by their places in it, rising: what others say between the answers of
    /// a conversation. Null for none.
    /// </summary>
    public IReadOnlyList<(int Start, int End)>? Skipped { get; init; }

    /// <summary>Tokens of the whole sequence.</summary>
    public int Length => Context.Length + Completion.Length;
}
