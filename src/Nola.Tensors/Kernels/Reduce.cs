namespace Nola.Tensors;

public abstract partial class Device
{
    /// <summary>y = scale · Σᵢ xᵢ. y has one element. Summed in double precision in an order that depends on the length alone.</summary>
    public abstract void Sum(Tensor x, Tensor y, float scale = 1);

    /// <summary>Σ xᵢ² over all elements of all tensors as a number on the host, in double precision. Waits for the device, once.</summary>
    public abstract double SumSquares(params ReadOnlySpan<Tensor> tensors);

    /// <summary>y[j] = Σᵢ x[i, j] + beta · y[j]: the gradient of a bias. x: (N, C), y: (C).</summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public void ColumnSums(Tensor x, Tensor y, float beta = 0)
    {
        if (x.Shape.Columns != y.Length)
            throw new ShapeException($"ColumnSums: x is {x.Shape} and y {y.Shape}; expected (N, C) and (C).");
        CheckBeta(nameof(ColumnSums), beta);
        ColumnSumsCore(x, y, beta);
    }

    private protected abstract void ColumnSumsCore(Tensor x, Tensor y, float beta);
}
