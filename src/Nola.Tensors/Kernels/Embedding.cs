namespace Nola.Tensors;

public abstract partial class Device
{
    /// <summary>y[n] = table[indices[n]] + beta · y[n]. table: (V, C), indices: (N) int32 in [0, V), y: (N, C).</summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public void GatherRows(Tensor table, Tensor indices, Tensor y, float beta = 0)
    {
        CheckRows(nameof(GatherRows), table.Shape.Columns, indices, y);
        CheckBeta(nameof(GatherRows), beta);
        GatherRowsCore(table, indices, y, beta);
    }

    /// <summary>
    /// y[n] = Wᵀ[indices[n]] + beta · y[n] for a frozen W (C, V): the token embedding, read from the tied head's packed form.
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public void GatherRows(FrozenMatrix head, Tensor indices, Tensor y, float beta = 0)
    {
        CheckRows(nameof(GatherRows), head.Rows, indices, y);
        CheckBeta(nameof(GatherRows), beta);
        GatherRowsCore(head, indices, y, beta);
    }

    /// <summary>dtable[indices[n]] += dy[n] for all n, in ascending order of n. dy: (N, C), dtable: (V, C).</summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public void ScatterAddRows(Tensor dy, Tensor indices, Tensor dtable)
    {
        CheckRows(nameof(ScatterAddRows), dtable.Shape.Columns, indices, dy);
        ScatterAddRowsCore(dy, indices, dtable);
    }

    private protected abstract void GatherRowsCore(Tensor table, Tensor indices, Tensor y, float beta);

    private protected abstract void GatherRowsCore(FrozenMatrix head, Tensor indices, Tensor y, float beta);

    private protected abstract void ScatterAddRowsCore(Tensor dy, Tensor indices, Tensor dtable);

    private static void CheckRows(string call, int columns, Tensor indices, Tensor rows)
    {
        if (rows.Shape.Columns != columns || rows.Shape.Rows != indices.Length)
            throw new ShapeException(
                $"{call}: rows of {columns}, indices {indices.Shape} and rows {rows.Shape}; expected (V, C), (N) and (N, C).");
    }
}
