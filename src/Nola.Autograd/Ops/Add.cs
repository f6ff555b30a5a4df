using Nola.Tensors;

namespace Nola.Autograd;

/// <summary>
/// Differentiable operations. Each stands in one file: shape rule, forward and backward together. Results join the
/// tape of their inputs; an operation none of whose inputs needs a gradient records nothing.
/// </summary>
public static partial class Ops
{
    /// <summary>y = a + b. a, b, y: one shape. da = db = dy.</summary>
    /// <exception cref="ShapeException">The shapes differ.</exception>
    public static Variable Add(Variable a, Variable b)
    {
        if (a.Shape != b.Shape) throw new ShapeException($"Add: a is {a.Shape} and b {b.Shape}; expected the same shape.");
        Tape tape = a.Tape;
        Variable y = tape.New(a.Shape);
        tape.Device.Add(a.Value, b.Value, y.Value);
        return tape.Record(y, [a, b], [], [], dy =>
        {
            if (b.TakesGradient(out Tensor db, out float beta)) tape.Device.Axpby(1, dy, beta, db);
            tape.PassGradient(y, a);
        });
    }
}
