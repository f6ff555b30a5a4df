namespace Nola.Tensors;

/// <summary>
/// How a row of fused queries, keys and values is laid out, and what may attend to what. A row is q | k | v: H query heads,
/// then G heads of keys, then G heads of values, each of D columns. Query head h reads the keys and values of head
/// h / (H / G), rounded down: one each when G = H, and shared by groups of neighbors when there are fewer (grouped-query
/// attention, Ainslie et al. 2023; with G = 1 multi-query attention).
/// </summary>
public readonly record struct AttentionLayout
{
    /// <summary>A layout of these sizes.</summary>
    /// <param name="heads">H, the query heads.</param>
    /// <param name="keyValueHeads">G, the heads of keys and of values; it divides H.</param>
    /// <param name="headSize">D, the columns of a head.</param>
    /// <param name="causal">Whether a token sees itself and what is before it; if not, it sees its whole sequence.</param>
    /// <param name="window">The most tokens that one sees, itself included, or 0 for no limit. Only for causal attention.</param>
    /// <exception cref="ArgumentException">The sizes do not fit each other.</exception>
    public AttentionLayout(int heads, int keyValueHeads, int headSize, bool causal = true, int window = 0)
    {
        if (heads < 1 || keyValueHeads < 1 || headSize < 1 || heads % keyValueHeads != 0)
            throw new ArgumentException(
                $"AttentionLayout: {heads} query heads, {keyValueHeads} key and value heads of {headSize} columns; "
                + "expected at least one of each, and as many query heads for each key and value head.");
        if (window < 0 || (window > 0 && !causal))
            throw new ArgumentException(
                $"AttentionLayout: a window of {window} tokens in {(causal ? "causal" : "bidirectional")} attention; "
                + "expected 0 for no limit, or in causal attention at least 1.");
        if ((heads + 2L * keyValueHeads) * headSize > int.MaxValue)
            throw new ArgumentException(
                $"AttentionLayout: {heads} query heads and {keyValueHeads} key and value heads of {headSize} columns "
                + $"make a row of more than {int.MaxValue} columns.");
        (Heads, KeyValueHeads, HeadSize, Causal, Window) = (heads, keyValueHeads, headSize, causal, window);
    }

    /// <summary>H: heads of queries, and of what attention returns.</summary>
    public int Heads { get; }

    /// <summary>G: heads of keys and of values. It divides <see cref="Heads"/>.</summary>
    public int KeyValueHeads { get; }

    /// <summary>D: columns of a head.</summary>
    public int HeadSize { get; }

    /// <summary>Whether a token sees no later ones of its sequence. If not, it sees all of its sequence, as in encoders.</summary>
    public bool Causal { get; }

    /// <summary>
    /// 0 for no limit; w: the token at position t sees those at t − w + 1 … t, which is the sliding window of Mistral.
    /// </summary>
    public int Window { get; }

    /// <summary>H · D: columns of q, and of what attention returns.</summary>
    public int QueryWidth => Heads * HeadSize;

    /// <summary>G · D: columns of k, and of v.</summary>
    public int KeyWidth => KeyValueHeads * HeadSize;

    /// <summary>(H + 2G) · D: columns of a row.</summary>
    public int Width => QueryWidth + 2 * KeyWidth;

    /// <summary>First column of k.</summary>
    public int KeyColumn => QueryWidth;

    /// <summary>First column of v.</summary>
    public int ValueColumn => QueryWidth + KeyWidth;

    /// <summary>H / G: query heads that share a head of keys and values.</summary>
    public int Group => Heads / KeyValueHeads;

    // Positions before its own that a token sees, itself included; more than there can be without a window.
    internal int Reach => Window > 0 ? Window : int.MaxValue;

    /// <summary>Causal attention with as many heads of keys and values as of queries, as in GPT-2: rows of 3C columns.</summary>
    /// <exception cref="ArgumentException">There is no whole number of columns for each head.</exception>
    public static AttentionLayout Of(int channels, int heads)
    {
        if (heads < 1 || channels < 1 || channels % heads != 0)
            throw new ArgumentException(
                $"AttentionLayout: {channels} channels in {heads} heads; expected a number of channels that the heads divide.");
        return new(heads, heads, channels / heads);
    }
}
