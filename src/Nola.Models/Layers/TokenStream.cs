namespace Nola.Models;

/// <summary>
/// What a batch is, from the reader to the loss: sequences laid end to end, without padding, each with the adapter that it is
/// read with. Attention is causal within each sequence; position numbers restart at 0 at each start; the language-model head is
/// computed only at the positions whose loss counts. Equal to the padded, masked computation (a test proves it).
/// </summary>
/// <param name="Ids">Token ids of all sequences, one after the other. (N)</param>
/// <param name="Starts">Where each sequence starts in <paramref name="Ids"/>, then N. (S + 1)</param>
/// <param name="LossPositions">Ascending indices into <paramref name="Ids"/> whose next token is predicted. (P)</param>
/// <param name="Targets">The token to be predicted at each loss position. (P)</param>
public sealed record TokenStream(int[] Ids, int[] Starts, int[] LossPositions, int[] Targets)
{
    /// <summary>The adapter of each sequence, null where it has none (S); empty when no sequence has one.</summary>
    public IReadOnlyList<IAdapter?> Adapters { get; init; } = [];

    /// <summary>The patches of images, whose tokens have no ids; null for text.</summary>
    public PatchRows? Patches { get; init; }

    /// <summary>Number of sequences, S.</summary>
    public int Sequences => Starts.Length - 1;

    /// <summary>Number of tokens, N.</summary>
    public int Length => Ids.Length;

    /// <summary>Length of the longest sequence.</summary>
    public int Longest
    {
        get
        {
            int longest = 0;
            for (int s = 0; s < Sequences; s++) longest = Math.Max(longest, Starts[s + 1] - Starts[s]);
            return longest;
        }
    }

    /// <summary>The same sequences, all with one adapter, or with none.</summary>
    public TokenStream With(IAdapter? adapter) =>
        this with { Adapters = adapter is null ? [] : [.. Enumerable.Repeat(adapter, Sequences)] };
}

/// <summary>The patches of images, image after image, from which a vision model makes its tokens.</summary>
/// <param name="Values">Pixels of each patch, channel by channel and row by row. (S · P, Columns)</param>
/// <param name="Columns">Channels times the pixels of a patch.</param>
/// <param name="Prefix">Tokens of each sequence that stand before its patches and are none, such as the class token.</param>
public sealed record PatchRows(float[] Values, int Columns, int Prefix);
