namespace Nola.Tensors;

public abstract partial class Device
{
    /// <summary>
    /// y = x · rstd · weight with rstd = 1/√(mean(x²) + epsilon) (Zhang and Sennrich 2019), for each of H groups of C neighboring
    /// columns by itself: with H = 1 the norm of a row, with more that of every head in a row of fused queries, keys and values, of
    /// which x and y are windows. x, y: (N, H · C); weight: (C); rstd: (N, H), kept for the gradient. y may be x.
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public void RmsNorm(Matrix x, Tensor weight, float epsilon, Matrix y, Tensor rstd)
    {
        CheckNorm(nameof(RmsNorm), x, weight, rstd, y);
        RmsNormCore(x, weight, epsilon, y, rstd);
    }

    /// <summary>
    /// With x̂ = x · rstd and g = dy · weight: dx = rstd · (g − x̂ · mean(g · x̂)) + beta · dx. The mean is over a group of columns.
    /// x, dy, dx: (N, H · C); weight: (C); rstd: (N, H). With beta 0, dx may be dy.
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public void RmsNormGrad(Matrix x, Tensor weight, Tensor rstd, Matrix dy, Matrix dx, float beta = 0)
    {
        CheckNorm(nameof(RmsNormGrad), x, weight, rstd, dy);
        CheckNorm(nameof(RmsNormGrad), x, weight, rstd, dx);
        CheckBeta(nameof(RmsNormGrad), beta);
        RmsNormGradCore(x, weight, rstd, dy, dx, beta);
    }

    /// <summary>
    /// dweight = Σ dy · x̂ + beta · dweight over all rows and groups, in an order that depends on the shape alone.
    /// x, dy: (N, H · C); rstd: (N, H); dweight: (C).
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public void RmsNormWeightGrad(Matrix x, Tensor rstd, Matrix dy, Tensor dweight, float beta = 0)
    {
        CheckNorm(nameof(RmsNormWeightGrad), x, dweight, rstd, dy);
        CheckBeta(nameof(RmsNormWeightGrad), beta);
        RmsNormWeightGradCore(x, rstd, dy, dweight, beta);
    }

    private protected abstract void RmsNormCore(Matrix x, Tensor weight, float epsilon, Matrix y, Tensor rstd);

    private protected abstract void RmsNormGradCore(Matrix x, Tensor weight, Tensor rstd, Matrix dy, Matrix dx, float beta);

    private protected abstract void RmsNormWeightGradCore(Matrix x, Tensor rstd, Matrix dy, Tensor dweight, float beta);

    private static void CheckNorm(string call, Matrix x, Tensor weight, Tensor rstd, Matrix y)
    {
        int c = weight.Length;
        if (c == 0 || x.Columns % c != 0 || y.Rows != x.Rows || y.Columns != x.Columns || rstd.Length != (long)x.Rows * (x.Columns / c))
        {
            throw new ShapeException(
                $"{call}: rows {x} and {y}, weight {weight.Shape}, rstd {rstd.Shape}; expected (N, H · C) twice, (C) and (N, H).");
        }
    }
}
