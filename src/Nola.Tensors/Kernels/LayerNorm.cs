namespace Nola.Tensors;

public abstract partial class Device
{
    /// <summary>
    /// y = (x − mean) · rstd · weight + bias over the last dimension (Ba et al. 2016), rstd = 1/√(variance + epsilon).
    /// x, y: (N, C); weight, bias: (C); mean, rstd: (N), kept for the gradient.
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public void LayerNorm(Tensor x, Tensor weight, Tensor bias, float epsilon, Tensor y, Tensor mean, Tensor rstd)
    {
        int n = x.Shape.Rows, c = x.Shape.Columns;
        if (weight.Length != c || bias.Length != c || y.Length != x.Length || mean.Length != n || rstd.Length != n)
            throw new ShapeException($"LayerNorm: x is {x.Shape}, weight {weight.Shape}, bias {bias.Shape}, "
                + $"y {y.Shape}, mean {mean.Shape}, rstd {rstd.Shape}; expected (N, C), (C), (C), (N, C), (N), (N).");
        LayerNormCore(x, weight, bias, epsilon, y, mean, rstd);
    }

    /// <summary>
    /// With x̂ = (x − mean) · rstd and g = dy · weight:
    /// dx = rstd · (g − mean(g) − x̂ · mean(g · x̂)) + beta · dx.
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public void LayerNormGrad(Tensor x, Tensor weight, Tensor mean, Tensor rstd, Tensor dy, Tensor dx, float beta = 0)
    {
        CheckSame(nameof(LayerNormGrad), x, dy);
        CheckSame(nameof(LayerNormGrad), x, dx);
        CheckBeta(nameof(LayerNormGrad), beta);
        LayerNormGradCore(x, weight, mean, rstd, dy, dx, beta);
    }

    /// <summary>dweight = Σₙ dy · x̂ + betaWeight · dweight, dbias = Σₙ dy + betaBias · dbias.</summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public void LayerNormWeightGrad(
        Tensor x, Tensor mean, Tensor rstd, Tensor dy, Tensor dweight, float betaWeight, Tensor dbias, float betaBias)
    {
        CheckSame(nameof(LayerNormWeightGrad), x, dy);
        CheckSame(nameof(LayerNormWeightGrad), dweight, dbias);
        CheckBeta(nameof(LayerNormWeightGrad), betaWeight);
        CheckBeta(nameof(LayerNormWeightGrad), betaBias);
        LayerNormWeightGradCore(x, mean, rstd, dy, dweight, betaWeight, dbias, betaBias);
    }

    private protected abstract void LayerNormCore(Tensor x, Tensor weight, Tensor bias, float epsilon, Tensor y, Tensor mean, Tensor rstd);

    private protected abstract void LayerNormGradCore(Tensor x, Tensor weight, Tensor mean, Tensor rstd, Tensor dy, Tensor dx, float beta);

    private protected abstract void LayerNormWeightGradCore(
        Tensor x, Tensor mean, Tensor rstd, Tensor dy, Tensor dweight, float betaWeight, Tensor dbias, float betaBias);
}
