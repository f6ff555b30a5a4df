using Nola.Tensors;

namespace Nola.Autograd;

public static partial class Ops
{
    /// <summary>y = a · b, element by element. a, b, y: one shape. da = dy · b, db = dy · a.</summary>
    /// <exception cref="ShapeException">The shapes differ.</exception>
    public static Variable Multiply(Variable a, Variable b)
    {
        if (a.Shape != b.Shape) throw new ShapeException($"Multiply: a is {a.Shape} and b {b.Shape}; expected the same shape.");
        Tape tape = a.Tape;
        Variable y = tape.New(a.Shape);
        tape.Device.Multiply(a.Value, b.Value, y.Value);
        return tape.Record(y, [a, b], [a, b], [], dy =>
        {
            if (a.TakesGradient(out Tensor da, out float betaA)) tape.Device.Multiply(dy, b.Value, da, betaA);
            if (b.TakesGradient(out Tensor db, out float betaB)) tape.Device.Multiply(dy, a.Value, db, betaB);
        });
    }

    /// <summary>y = s · x. dx = s · dy.</summary>
    public static Variable Scale(Variable x, float s)
    {
        Tape tape = x.Tape;
        Variable y = tape.New(x.Shape);
        tape.Device.Axpby(s, x.Value, 0, y.Value);
        return tape.Record(y, [x], [], [], dy =>
        {
            if (x.TakesGradient(out Tensor dx, out float beta)) tape.Device.Axpby(s, dy, beta, dx);
        });
    }
}
