namespace Nola.Tensors;

public abstract partial class Device
{
    /// <summary>y[i, j] = x[i, j] · s[j] + beta · y[i, j]: x times a diagonal matrix. x, y: (N, C); s: (1, C).</summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public void ScaleColumns(Matrix x, Matrix s, Matrix y, float beta = 0)
    {
        CheckScale(nameof(ScaleColumns), x, y, s);
        CheckBeta(nameof(ScaleColumns), beta);
        ScaleColumnsCore(x, s, y, beta);
    }

    /// <summary>
    /// ds[j] = Σᵢ x[i, j] · dy[i, j] + beta · ds[j]: the gradient of <see cref="ScaleColumns"/> with respect to s, summed in an
    /// order that depends on the shape alone. x, dy: (N, C); ds: (1, C).
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public void ScaleColumnsGrad(Matrix x, Matrix dy, Matrix ds, float beta = 0)
    {
        CheckScale(nameof(ScaleColumnsGrad), x, dy, ds);
        CheckBeta(nameof(ScaleColumnsGrad), beta);
        ScaleColumnsGradCore(x, dy, ds, beta);
    }

    private protected abstract void ScaleColumnsCore(Matrix x, Matrix s, Matrix y, float beta);

    private protected abstract void ScaleColumnsGradCore(Matrix x, Matrix dy, Matrix ds, float beta);

    private static void CheckScale(string call, Matrix x, Matrix y, Matrix s)
    {
        if (x.Rows != y.Rows || x.Columns != y.Columns || s.Rows != 1 || s.Columns != x.Columns)
            throw new ShapeException($"{call}: x is {x}, y {y} and s {s}; expected (N, C) twice and (1, C).");
    }
}
