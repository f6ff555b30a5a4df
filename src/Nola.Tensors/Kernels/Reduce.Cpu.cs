namespace Nola.Tensors;

public sealed unsafe partial class CpuDevice
{
    /// <inheritdoc/>
    public override void Sum(Tensor x, Tensor y, float scale = 1)
    {
        float* p = Floats(x);
        Floats(y)[0] = (float)(scale * Reduce(x.Length, (start, end) =>
        {
            double sum = 0;
            for (int i = start; i < end; i++) sum += p[i];
            return sum;
        }));
    }

    /// <inheritdoc/>
    public override double SumSquares(params ReadOnlySpan<Tensor> tensors)
    {
        double sum = 0;
        foreach (Tensor x in tensors) sum += SumSquaresOf(x);
        return sum;
    }

    private double SumSquaresOf(Tensor x)
    {
        float* p = Floats(x);
        return Reduce(x.Length, (start, end) =>
        {
            double sum = 0;
            for (int i = start; i < end; i++) sum += (double)p[i] * p[i];
            return sum;
        });
    }

    // Partial sums of fixed pieces, added in order: the same bits for any number of threads.
    private double Reduce(int length, Func<int, int, double> partial)
    {
        double[] sums = new double[(length + Piece - 1) / Piece];
        team.For(length, Piece, (start, end) => sums[start / Piece] = partial(start, end));
        double total = 0;
        foreach (double sum in sums) total += sum;
        return total;
    }

    private protected override void ColumnSumsCore(Tensor x, Tensor y, float beta)
    {
        float* from = Floats(x);
        float* to = Floats(y);
        int rows = x.Shape.Rows, columns = x.Shape.Columns;
        team.For(columns, 64, (start, end) =>
        {
            Span<float> sums = stackalloc float[64];
            sums.Clear();
            for (int i = 0; i < rows; i++)
            {
                float* row = from + (long)i * columns;
                for (int j = start; j < end; j++) sums[j - start] += row[j];
            }
            for (int j = start; j < end; j++) to[j] = sums[j - start] + (beta == 0 ? 0 : to[j]);
        });
    }
}
