using Nola.Tensors;

namespace Nola.Autograd;

public static partial class Ops
{
    /// <summary>
    /// y = gelu(u), u = x · W + bias, with a frozen W, in one pass over the product's tiles. x: (…, in), W: (in, out), y: (…, out).
    /// dx = (dy · gelu′(u)) · Wᵀ. u is kept for the gradient, which is then made in its place.
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
            if (!x.TakesGradient(out Tensor dx, out float beta)) return;
            tape.Device.GeluGrad(u, dy, u);
            tape.Device.MatMulTransposed(u, w, dx, beta);
        });
    }
}
