using Nola.Tensors;

namespace Nola.Autograd;

public static partial class Ops
{
    /// <summary>
    /// Attention within each sequence of a token stream: y = softmax(q·kᵀ/√D + mask) · v for every head, masked as the
    /// layout says. qkv: (N, (H + 2G)·D) with q, k, v side by side; starts: (S + 1) int32; y: (N, H·D). The gradient computes
    /// the probabilities again from the saved logarithms of the row sums (Dao et al. 2022), so no T × T matrix is kept.
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public static Variable Attention(Variable qkv, Tensor starts, AttentionLayout layout)
    {
        Tape tape = qkv.Tape;
        int n = qkv.Shape.Rows;
        Variable y = tape.New([n, layout.QueryWidth]);
        Tensor lse = tape.Device.Empty([layout.Heads, n]);
        tape.Device.Attention(qkv.Value, starts, layout, y.Value, lse);
        return tape.Record(y, [qkv], [qkv, y], [lse], dy =>
        {
            if (qkv.TakesGradient(out Tensor dqkv, out float beta))
                tape.Device.AttentionGrad(qkv.Value, starts, layout, y.Value, lse, dy, dqkv, beta);
        });
    }
}
