namespace Nola.Tensors;

public abstract partial class Device
{
    /// <summary>
    /// Softmax attention within each sequence of a token stream: y = softmax(q·kᵀ/√D + mask) · v for every head, masked as
    /// the layout says. qkv: (N, (H + 2G)·D) with q, k, v side by side; starts: (S + 1) int32, sequence s holds rows
    /// starts[s] … starts[s+1] − 1; y: (N, H·D); lse: (H, N), the logarithm of each row's sum of exponentials, kept for the
    /// gradient. No T × T matrix is stored, and what the mask excludes is not computed.
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public void Attention(Tensor qkv, Tensor starts, AttentionLayout layout, Tensor y, Tensor lse)
    {
        CheckAttention(nameof(Attention), qkv, starts, layout, y, lse);
        AttentionCore(qkv, starts, layout, y, lse);
    }

    /// <summary>
    /// Gradient of <see cref="Attention"/>, with P computed again from lse: dv = Pᵀ·dy, ds = P ∘ (dy·vᵀ − rowsum(dy ∘ y)),
    /// dq = ds·k/√D, dk = dsᵀ·q/√D; dqkv = these + beta · dqkv. What the query heads of a group give to dk and dv is summed
    /// in their order. y: what the forward call gave.
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public void AttentionGrad(
        Tensor qkv, Tensor starts, AttentionLayout layout, Tensor y, Tensor lse, Tensor dy, Tensor dqkv, float beta = 0)
    {
        CheckAttention(nameof(AttentionGrad), qkv, starts, layout, y, lse);
        CheckSame(nameof(AttentionGrad), y, dy);
        CheckSame(nameof(AttentionGrad), qkv, dqkv);
        CheckBeta(nameof(AttentionGrad), beta);
        AttentionGradCore(qkv, starts, layout, y, lse, dy, dqkv, beta);
    }

    private protected abstract void AttentionCore(Tensor qkv, Tensor starts, AttentionLayout layout, Tensor y, Tensor lse);

    private protected abstract void AttentionGradCore(
        Tensor qkv, Tensor starts, AttentionLayout layout, Tensor y, Tensor lse, Tensor dy, Tensor dqkv, float beta);

    private static void CheckAttention(string call, Tensor qkv, Tensor starts, AttentionLayout layout, Tensor y, Tensor lse)
    {
        int n = qkv.Shape.Rows;
        if (layout.Heads < 1 || qkv.Shape.Columns != layout.Width || y.Shape.Rows != n || y.Shape.Columns != layout.QueryWidth
            || lse.Length != layout.Heads * n || starts.Length < 1)
            throw new ShapeException(
                $"{call}: qkv is {qkv.Shape}, starts {starts.Shape}, y {y.Shape}, lse {lse.Shape} with {Heads(layout)}; "
                + "expected (N, (H + 2G) · D), (S + 1), (N, H · D) and (H, N).");
    }

    private static string Heads(AttentionLayout layout) => $"H = {layout.Heads}, G = {layout.KeyValueHeads} and D = {layout.HeadSize}";
}
