namespace Nola.Tensors;

public abstract partial class Device
{
    /// <summary>
    /// Attention for decoding. The cache is a store of rows, one for each token that was read, and each sequence is a list
    /// of them, oldest first, so that sequences share what they have in common. The last rows of a list are those of the
    /// sequence's new tokens: their keys and values are put there, then each new token attends to what the layout lets it
    /// see of the list, where a token's position is its place in the list: up to itself when causal, else to all of it.
    /// qkv: (N, (H + 2G)·D), the new tokens of S sequences; starts: (S + 1) int32, as in <see cref="Attention"/>; rows:
    /// int32, the lists laid end to end, list s from rowStarts[s] on; rowStarts: (S + 1) int32; keys, values: (G, rows, D);
    /// y: (N, H·D). A row of a new token stands in no other list. Rows of qkv from starts[S] on belong to no sequence and
    /// their y is undefined; rows may go on after the last list: so a few shapes serve all lengths.
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public void AttentionCached(
        Tensor qkv, Tensor starts, Tensor rows, Tensor rowStarts, AttentionLayout layout, Tensor keys, Tensor values, Tensor y)
    {
        if (layout.Heads < 1 || keys.Shape.Rank != 3 || keys.Shape[0] != layout.KeyValueHeads || keys.Shape[2] != layout.HeadSize
            || keys.Shape != values.Shape || qkv.Shape.Columns != layout.Width
            || y.Shape.Columns != layout.QueryWidth || y.Shape.Rows != qkv.Shape.Rows
            || starts.Length < 1 || rowStarts.Length != starts.Length)
            throw new ShapeException(
                $"AttentionCached: qkv is {qkv.Shape}, starts {starts.Shape}, rowStarts {rowStarts.Shape}, "
                + $"keys {keys.Shape}, values {values.Shape}, y {y.Shape} with {Heads(layout)}; "
                + "expected (N, (H + 2G) · D), (S + 1) twice, (G, rows, D) twice and (N, H · D).");
        AttentionCachedCore(qkv, starts, rows, rowStarts, layout, keys, values, y);
    }

    /// <summary>What a list says that cannot hold its sequence's new tokens.</summary>
    internal static ArgumentException ListUnfit(int sequence, int fresh, int length, int total) =>
        new($"AttentionCached: sequence {sequence} has {fresh} new tokens and a list of {length} rows of {total}; "
            + "expected a list that ends with the new tokens' rows.");

    private protected abstract void AttentionCachedCore(
        Tensor qkv, Tensor starts, Tensor rows, Tensor rowStarts, AttentionLayout layout, Tensor keys, Tensor values, Tensor y);
}
