using Nola.Tensors;

namespace Nola.Autograd;

public static partial class Ops
{
    /// <summary>y = gelu(x), GPT-2's tanh form (Hendrycks and Gimpel 2016). x, y: any shape. dx = dy · gelu′(x).</summary>
    public static Variable Gelu(Variable x)
    {
        Tape tape = x.Tape;
        Variable y = tape.New(x.Shape);
        tape.Device.Gelu(x.Value, y.Value);
        return tape.Record(y, [x], [x], [], dy =>
        {
            if (x.TakesGradient(out Tensor dx, out float beta)) tape.Device.GeluGrad(x.Value, dy, dx, beta);
        });
    }
}
