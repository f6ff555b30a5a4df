using Nola.Tensors;

namespace Nola.Autograd;

public static partial class Ops
{
    /// <summary>
    /// y = gelu(x), the form by the error function (Hendrycks and Gimpel 2016), as vision transformers have it. x, y: any shape.
    /// dx = dy · gelu′(x).
    /// </summary>
    public static Variable GeluErf(Variable x)
    {
        Tape tape = x.Tape;
        Variable y = tape.New(x.Shape);
        tape.Device.GeluErf(x.Value, y.Value);
        return tape.Record(y, [x], [x], [], dy =>
        {
            if (x.TakesGradient(out Tensor dx, out float beta)) tape.Device.GeluErfGrad(x.Value, dy, dx, beta);
        });
    }
}
