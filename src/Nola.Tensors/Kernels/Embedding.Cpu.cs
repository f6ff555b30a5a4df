namespace Nola.Tensors;

public sealed unsafe partial class CpuDevice
{
    private protected override void GatherRowsCore(Tensor table, Tensor indices, Tensor y, float beta)
    {
        float* from = Floats(table), to = Floats(y);
        int* index = Ints(indices);
        int columns = table.Shape.Columns, rows = table.Shape.Rows;
        team.For(indices.Length, 64, (start, end) =>
        {
            for (int n = start; n < end; n++)
            {
                CheckIndex(index[n], rows);
                AddRow(from + (long)index[n] * columns, to + (long)n * columns, columns, beta);
            }
        });
    }

    private protected override void GatherRowsCore(FrozenMatrix head, Tensor indices, Tensor y, float beta)
    {
        PackedWeight packed = ((PackedMatrix)head).Weight;
        float* to = Floats(y);
        int* index = Ints(indices);
        int columns = head.Rows, rows = head.Columns;
        team.For(indices.Length, 64, (start, end) =>
        {
            for (int n = start; n < end; n++)
            {
                CheckIndex(index[n], rows);
                float* row = to + (long)n * columns;
                float* embedding = beta == 0 ? row : Scratch.Floats(columns);
                packed.Column(index[n], embedding);
                if (beta != 0) AddRow(embedding, row, columns, beta);
            }
        });
    }

    private protected override void ScatterAddRowsCore(Tensor dy, Tensor indices, Tensor dtable)
    {
        float* from = Floats(dy), to = Floats(dtable);
        int* index = Ints(indices);
        int columns = dtable.Shape.Columns, rows = dtable.Shape.Rows, n = indices.Length;
        for (int i = 0; i < n; i++) CheckIndex(index[i], rows);
        // Split by columns: two rows with the same index are added in order, on one thread.
        team.For(columns, Math.Max(32, (columns + team.Threads - 1) / team.Threads), (start, end) =>
        {
            for (int i = 0; i < n; i++)
                AddRow(from + (long)i * columns + start, to + (long)index[i] * columns + start, end - start, 1);
        });
    }

    private static void AddRow(float* from, float* to, int count, float beta)
    {
        if (beta == 0) new ReadOnlySpan<float>(from, count).CopyTo(new Span<float>(to, count));
        else
            System.Numerics.Tensors.TensorPrimitives.Add(
                new ReadOnlySpan<float>(to, count), new ReadOnlySpan<float>(from, count), new Span<float>(to, count));
    }

    private static void CheckIndex(int index, int rows)
    {
        if ((uint)index >= (uint)rows)
            throw new ArgumentOutOfRangeException(nameof(index), $"Row index {index} is outside the table of {rows} rows.");
    }
}
