namespace Nola.Tensors;

public abstract partial class Device
{
    /// <summary>y = x, one window of a tensor into another of the same size. x, y: (N, C).</summary>
    /// <exception cref="ShapeException">The sizes differ.</exception>
    public void CopyColumns(Matrix x, Matrix y)
    {
        if (x.Rows != y.Rows || x.Columns != y.Columns)
            throw new ShapeException($"CopyColumns: x is {x} and y {y}; expected the same size.");
        CopyColumnsCore(x, y);
    }

    private protected abstract void CopyColumnsCore(Matrix x, Matrix y);
}
