namespace Nola.Tensors;

public sealed unsafe partial class CpuDevice
{
    private protected override void ScaleColumnsCore(Matrix x, Matrix s, Matrix y, float beta)
    {
        float* from = Floats(x), scale = Floats(s), to = Floats(y);
        team.For(x.Rows, RowsOfPiece(x.Columns), (start, end) =>
        {
            for (int i = start; i < end; i++)
            {
                ElementwiseLoop<MultiplyFormula> row = new(from + (long)i * x.Stride, scale, to + (long)i * y.Stride, 1, beta);
                Dispatch.Run(row, 0, x.Columns);
            }
        });
    }

    private protected override void ScaleColumnsGradCore(Matrix x, Matrix dy, Matrix ds, float beta)
    {
        float* from = Floats(x), gradient = Floats(dy), to = Floats(ds);
        // Columns are shared out and rows summed in order, so any number of threads gives the same bits.
        team.For(x.Columns, 64, (start, end) =>
        {
            Span<float> sums = stackalloc float[64];
            sums.Clear();
            for (int i = 0; i < x.Rows; i++)
            {
                float* a = from + (long)i * x.Stride, b = gradient + (long)i * dy.Stride;
                for (int j = start; j < end; j++) sums[j - start] += a[j] * b[j];
            }
            for (int j = start; j < end; j++) to[j] = sums[j - start] + (beta == 0 ? 0 : to[j]);
        });
    }

    private static int RowsOfPiece(int columns) => Math.Max(1, Piece / Math.Max(1, columns));
}
