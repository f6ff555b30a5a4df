namespace Nola.Tensors;

public abstract partial class Device
{
    /// <summary>y = x, one window of a tensor into another of the same size. x, y: (N, C).</summary>
    /// <exception cref="ShapeException">The sizes differ.</exception>
    public void CopyColumns(Matrix x, Matrix y)
    {
        CheckSameSize(nameof(CopyColumns), x, y, y);
        CopyColumnsCore(x, y);
    }

    private protected abstract void CopyColumnsCore(Matrix x, Matrix y);

    private static void CheckSameSize(string call, Matrix a, Matrix b, Matrix c)
    {
        if (b.Rows != a.Rows || c.Rows != a.Rows || b.Columns != a.Columns || c.Columns != a.Columns)
            throw new ShapeException($"{call}: matrices {a}, {b} and {c}; expected the same size.");
    }
}
