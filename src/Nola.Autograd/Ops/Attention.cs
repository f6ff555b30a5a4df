using Nola.Tensors;

namespace Nola.Autograd;

public static partial class Ops
{
    /// <summary>
    /// Causal attention within each sequence of a token stream: y = softmax(q·kᵀ/√D + mask) · v for every head.
    /// qkv: (N, 3C) with q, k, v side by side; starts: (S + 1) int32; y: (N, C). The gradient computes the
    /// probabilities again from the saved logarithms of the row sums (Dao et al. 2022), so no T × T matrix is kept.
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public static Variable Attention(Variable qkv, Tensor starts, int heads)
    {
        Tape tape = qkv.Tape;
        int n = qkv.Shape.Rows;
        Variable y = tape.New([n, qkv.Shape.Columns / 3]);
        Tensor lse = tape.Device.Empty([heads, n]);
        tape.Device.Attention(qkv.Value, starts, heads, y.Value, lse);
        return tape.Record(y, [qkv], [qkv, y], [lse], dy =>
        {
            if (qkv.TakesGradient(out Tensor dqkv, out float beta))
                tape.Device.AttentionGrad(qkv.Value, starts, heads, y.Value, lse, dy, dqkv, beta);
        });
    }
}
