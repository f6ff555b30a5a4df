namespace Nola.Tensors;

public abstract partial class Device
{
    /// <summary>
    /// Causal softmax attention within each sequence of a token stream:
    /// y = softmax(q·kᵀ/√D + mask) · v for every head. qkv: (N, 3C) with q, k, v side by side, each H heads of D = C/H;
    /// starts: (S + 1) int32, sequence s holds rows starts[s] … starts[s+1] − 1; y: (N, C); lse: (H, N), the logarithm
    /// of each row's sum of exponentials, kept for the gradient. No T × T matrix is stored.
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public void Attention(Tensor qkv, Tensor starts, int heads, Tensor y, Tensor lse)
    {
        CheckAttention(nameof(Attention), qkv, starts, heads, y, lse);
        AttentionCore(qkv, starts, heads, y, lse);
    }

    /// <summary>
    /// Gradient of <see cref="Attention"/>, with P computed again from lse: dv = Pᵀ·dy, ds = P ∘ (dy·vᵀ − rowsum(dy ∘ y)),
    /// dq = ds·k/√D, dk = dsᵀ·q/√D; dqkv = these + beta · dqkv. y: what the forward call gave.
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public void AttentionGrad(Tensor qkv, Tensor starts, int heads, Tensor y, Tensor lse, Tensor dy, Tensor dqkv, float beta = 0)
    {
        CheckAttention(nameof(AttentionGrad), qkv, starts, heads, y, lse);
        CheckSame(nameof(AttentionGrad), y, dy);
        CheckSame(nameof(AttentionGrad), qkv, dqkv);
        CheckBeta(nameof(AttentionGrad), beta);
        AttentionGradCore(qkv, starts, heads, y, lse, dy, dqkv, beta);
    }

    /// <summary>
    /// Attention for decoding: the new rows' keys and values are put into the cache, then each new row attends to its
    /// sequence's whole past. qkv: (N, 3C), the new rows of S sequences; starts: (S + 1); slots and past: (S) int32, the
    /// cache slot of each sequence and how many tokens it holds already; keys, values: (slots, H, capacity, D); y: (N, C).
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit or the cache is full.</exception>
    public void AttentionCached(Tensor qkv, Tensor starts, Tensor slots, Tensor past, Tensor keys, Tensor values, Tensor y)
    {
        int heads = keys.Shape[1], c = heads * keys.Shape[3], sequences = starts.Length - 1;
        if (qkv.Shape.Columns != 3 * c || y.Shape.Columns != c || y.Shape.Rows != qkv.Shape.Rows
            || slots.Length != sequences || past.Length != sequences || keys.Shape != values.Shape)
            throw new ShapeException($"AttentionCached: qkv is {qkv.Shape}, slots {slots.Shape}, past {past.Shape}, keys {keys.Shape}, values {values.Shape}, y {y.Shape}; expected (N, 3C), (S), (S), (slots, H, capacity, D) twice and (N, C).");
        AttentionCachedCore(qkv, starts, slots, past, keys, values, y);
    }

    private protected abstract void AttentionCore(Tensor qkv, Tensor starts, int heads, Tensor y, Tensor lse);

    private protected abstract void AttentionGradCore(Tensor qkv, Tensor starts, int heads, Tensor y, Tensor lse, Tensor dy, Tensor dqkv, float beta);

    private protected abstract void AttentionCachedCore(Tensor qkv, Tensor starts, Tensor slots, Tensor past, Tensor keys, Tensor values, Tensor y);

    private static void CheckAttention(string call, Tensor qkv, Tensor starts, int heads, Tensor y, Tensor lse)
    {
        int n = qkv.Shape.Rows, c = y.Shape.Columns;
        if (heads < 1 || qkv.Shape.Columns != 3 * c || y.Shape.Rows != n || c % heads != 0 || lse.Length != heads * n || starts.Length < 1)
            throw new ShapeException($"{call}: qkv is {qkv.Shape}, starts {starts.Shape}, y {y.Shape}, lse {lse.Shape} with {heads} heads; expected (N, 3C), (S + 1), (N, C), (H, N) and H dividing C.");
    }
}
