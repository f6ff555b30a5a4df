using Nola.Tensors;

namespace Nola.Autograd;

public static partial class Ops
{
    /// <summary>
    /// y = x ∘ l: each row times the same numbers, as a layer scale does. x, y: (…, C), l: (C). dx = dy ∘ l, dl = Σ x ∘ dy.
    /// </summary>
    /// <exception cref="ShapeException">l is no row of x.</exception>
    public static Variable ScaleColumns(Variable x, Variable l)
    {
        if (l.Shape.Rank != 1 || x.Shape.Rank < 1 || l.Shape[0] != x.Shape[^1])
            throw new ShapeException($"ScaleColumns: x is {x.Shape} and l {l.Shape}; l must have one dimension, x's last.");
        Tape tape = x.Tape;
        Device device = tape.Device;
        int c = l.Shape[0];
        Variable y = tape.New(x.Shape);
        device.ScaleColumns(x.Value, Row(l.Value), y.Value);
        return tape.Record(y, [x, l], l.NeedsGradient ? [x, l] : [l], [], dy =>
        {
            if (l.TakesGradient(out Tensor dl, out float beta)) device.ScaleColumnsGrad(x.Value, dy, Row(dl), beta);
            if (x.TakesGradient(out Tensor dx, out float betaX)) device.ScaleColumns(dy, Row(l.Value), dx, betaX);
        });

        Matrix Row(Tensor vector) => new(vector, 1, c, 0, c);
    }
}
