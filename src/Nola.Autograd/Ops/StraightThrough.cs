using Nola.Tensors;

namespace Nola.Autograd;

public static partial class Ops
{
    /// <summary>
    /// y = f(x) with f on the host, dx = dy: the straight-through estimator (Bengio, Léonard and Courville 2013) for a rounding
    /// whose own derivative is zero almost everywhere. On the host, so that every device rounds to the same bits; meant for
    /// small x, such as an adapter's coefficients.
    /// </summary>
    /// <param name="x">What is rounded.</param>
    /// <param name="f">Changes the elements, row-major, in place.</param>
    public static Variable StraightThrough(Variable x, Action<float[]> f)
    {
        Tape tape = x.Tape;
        Variable y = tape.New(x.Shape);
        float[] values = x.Value.ToArray();
        f(values);
        tape.Device.Upload(values, y.Value);
        return tape.Record(y, [x], [], [], dy => tape.PassGradient(y, x));
    }
}
