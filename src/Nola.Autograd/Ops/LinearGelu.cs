using Nola.Tensors;

namespace Nola.Autograd;

public static partial class Ops
{
    /// <summary>
    /// y = gelu(u), u = x · W + bias, with a frozen W, in one pass over the product's tiles. x: (…, in), W: (in, out), y: (…, out).
    /// dx = (dy · gelu′(u)) · Wᵀ. u is kept for the gradient, which uses it up.
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public static Variable LinearGelu(Variable x, FrozenMatrix w, Tensor? bias = null)
    {
        Tape tape = x.Tape;
        Variable y = tape.New(WithColumns(x.Shape, w.Columns));
        Tensor u = tape.Device.Empty(y.Shape);
        tape.Device.MatMul(x.Value, w, bias, u, activated: y.Value);
        return tape.Record(y, [x], [], [u], dy =>
        {
            if (x.TakesGradient(out Tensor dx, out float beta)) tape.Device.MatMulTransposed(dy, w, dx, beta, u);
        });
    }
}
