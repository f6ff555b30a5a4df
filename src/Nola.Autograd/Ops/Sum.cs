using Nola.Tensors;

namespace Nola.Autograd;

public static partial class Ops
{
    /// <summary>y = Σᵢ xᵢ, a scalar. dxᵢ = dy.</summary>
    public static Variable Sum(Variable x) => ScaledSum(x, 1);

    /// <summary>y = Σᵢ xᵢ / n, a scalar. dxᵢ = dy / n.</summary>
    public static Variable Mean(Variable x) => ScaledSum(x, 1f / x.Value.Length);

    private static Variable ScaledSum(Variable x, float scale)
    {
        Tape tape = x.Tape;
        Variable y = tape.New([]);
        tape.Device.Sum(x.Value, y.Value, scale);
        Shape shape = x.Shape;
        return tape.Record(y, [x], [], [], dy =>
        {
            if (!x.TakesGradient(out Tensor dx, out float beta)) return;
            using Tensor ones = tape.Device.Empty(shape);
            tape.Device.Fill(ones, scale);
            tape.Device.Axpby(dy, ones, beta, dx);
        });
    }
}
