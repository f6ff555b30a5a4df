namespace Nola.Tensors;

public sealed unsafe partial class CpuDevice
{
    private protected override void CopyColumnsCore(Matrix x, Matrix y)
    {
        float* from = Floats(x), to = Floats(y);
        team.For(x.Rows, RowsOfPiece(x.Columns), (start, end) =>
        {
            for (int i = start; i < end; i++)
                new ReadOnlySpan<float>(from + (long)i * x.Stride, x.Columns).CopyTo(new Span<float>(to + (long)i * y.Stride, y.Columns));
        });
    }
}
