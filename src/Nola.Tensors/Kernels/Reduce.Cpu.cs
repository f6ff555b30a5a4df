using System.Runtime.CompilerServices;

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
        int columns = x.Shape.Columns;
        ColumnSumsLoop loop = new(Floats(x), x.Shape.Rows, columns, Floats(y), beta);
        // Split by columns, never by rows: a column's sum has one order.
        team.For(columns, 64, (start, end) => Dispatch.Run(loop, start, end));
    }

    // Sums of columns start … end − 1, four vectors of them at a time in registers.
    private readonly struct ColumnSumsLoop(float* x, int rows, int columns, float* y, float beta) : ISimdLoop
    {
        private readonly float* x = x, y = y;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Run<S, V>(int start, int end) where S : struct, ISimd<V> where V : struct
        {
            int j = start;
            for (; j + 4 * S.Width <= end; j += 4 * S.Width)
            {
                V a = S.Zero, b = S.Zero, c = S.Zero, d = S.Zero;
                float* row = x + j;
                for (int i = 0; i < rows; i++, row += columns)
                {
                    a = S.Add(a, S.Load(row));
                    b = S.Add(b, S.Load(row + S.Width));
                    c = S.Add(c, S.Load(row + 2 * S.Width));
                    d = S.Add(d, S.Load(row + 3 * S.Width));
                }
                Accumulate<S, V>(a, y + j, beta);
                Accumulate<S, V>(b, y + j + S.Width, beta);
                Accumulate<S, V>(c, y + j + 2 * S.Width, beta);
                Accumulate<S, V>(d, y + j + 3 * S.Width, beta);
            }
            for (; j < end; j++)
            {
                float sum = 0;
                for (int i = 0; i < rows; i++) sum += x[(long)i * columns + j];
                y[j] = sum + (beta == 0 ? 0 : y[j]);
            }
        }
    }

    // to = sums + beta · to, where beta is 0 or 1.
    private static void Accumulate<S, V>(V sums, float* to, float beta) where S : struct, ISimd<V> where V : struct =>
        S.Store(beta == 0 ? sums : S.Add(sums, S.Load(to)), to);
}
