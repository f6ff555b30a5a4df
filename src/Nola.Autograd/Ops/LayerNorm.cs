using Nola.Tensors;

namespace Nola.Autograd;

public static partial class Ops
{
    /// <summary>
    /// y = (x − mean) · rstd · weight + bias over the last dimension (Ba et al. 2016). x, y: (…, C); weight, bias: (C).
    /// dx = rstd · (g − mean(g) − x̂ · mean(g · x̂)) with g = dy · weight; dweight = Σ dy · x̂; dbias = Σ dy.
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public static Variable LayerNorm(Variable x, Variable weight, Variable bias, float epsilon = 1e-5f)
    {
        Tape tape = x.Tape;
        Device device = tape.Device;
        Variable y = tape.New(x.Shape);
        Tensor mean = device.Empty([x.Shape.Rows]), rstd = device.Empty([x.Shape.Rows]);
        device.LayerNorm(x.Value, weight.Value, bias.Value, epsilon, y.Value, mean, rstd);
        return tape.Record(y, [x, weight, bias], [x, weight], [mean, rstd], dy =>
        {
            if (x.TakesGradient(out Tensor dx, out float beta))
                device.LayerNormGrad(x.Value, weight.Value, mean, rstd, dy, dx, beta);
            bool takesWeight = weight.TakesGradient(out Tensor dweight, out float betaWeight);
            bool takesBias = bias.TakesGradient(out Tensor dbias, out float betaBias);
            if (!takesWeight && !takesBias) return;
            // One pass makes both sums; the one that nobody wants goes to a spare tensor.
            using Tensor spare = device.Empty(weight.Shape);
            device.LayerNormWeightGrad(
                x.Value, mean, rstd, dy, takesWeight ? dweight : spare, betaWeight, takesBias ? dbias : spare, betaBias);
        }, again: value => device.LayerNorm(x.Value, weight.Value, bias.Value, epsilon, value, mean, rstd));
    }
}
