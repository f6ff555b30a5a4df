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

    private protected abstract void AttentionCore(Tensor qkv, Tensor starts, int heads, Tensor y, Tensor lse);

    private protected abstract void AttentionGradCore(Tensor qkv, Tensor starts, int heads, Tensor y, Tensor lse, Tensor dy, Tensor dqkv, float beta);

    private static void CheckAttention(string call, Tensor qkv, Tensor starts, int heads, Tensor y, Tensor lse)
    {
        int n = qkv.Shape.Rows, c = y.Shape.Columns;
        if (heads < 1 || qkv.Shape.Columns != 3 * c || y.Shape.Rows != n || c % heads != 0 || lse.Length != heads * n || starts.Length < 1)
            throw new ShapeException($"{call}: qkv is {qkv.Shape}, starts {starts.Shape}, y {y.Shape}, lse {lse.Shape} with {heads} heads; expected (N, 3C), (S + 1), (N, C), (H, N) and H dividing C.");
    }
}
