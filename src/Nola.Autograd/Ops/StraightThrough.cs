using Nola.Tensors;

namespace Nola.Autograd;

public static partial class Ops
{
    /// <summary>
    /// y = each row of x rounded by itself to whole multiples of a step, at most L of them (<see cref="Device.RoundRows"/>), dx = dy:
    /// the straight-through estimator (Bengio, Léonard and Courville 2013) for a rounding whose own derivative is zero almost
    /// everywhere. x, y: (N, C).
    /// </summary>
    /// <param name="x">What is rounded.</param>
    /// <param name="levels">L.</param>
    public static Variable StraightThrough(Variable x, int levels)
    {
        Tape tape = x.Tape;
        Variable y = tape.New(x.Shape);
        tape.Device.RoundRows(x.Value, levels, y.Value);
        return tape.Record(y, [x], [], [], dy => tape.PassGradient(y, x));
    }
}
