using System.Runtime.CompilerServices;

namespace Nola.Tensors;

public sealed unsafe partial class CpuDevice
{
    // Columns of the gradient of a weight that are summed at a time.
    private const int NormColumns = 64;

    private protected override void RmsNormCore(Matrix x, Tensor weight, float epsilon, Matrix y, Tensor rstd)
    {
        RmsNormLoop loop = new(new(x, weight.Length), Floats(weight), epsilon, new(y, weight.Length), Floats(rstd));
        team.For(rstd.Length, RowsOfPiece(weight.Length), (start, end) => Dispatch.Run(loop, start, end));
    }

    private protected override void RmsNormGradCore(Matrix x, Tensor weight, Tensor rstd, Matrix dy, Matrix dx, float beta)
    {
        int columns = weight.Length;
        RmsNormGradLoop loop = new(new(x, columns), Floats(weight), Floats(rstd), new(dy, columns), new(dx, columns), beta);
        team.For(rstd.Length, RowsOfPiece(columns), (start, end) => Dispatch.Run(loop, start, end));
    }

    private protected override void RmsNormWeightGradCore(Matrix x, Tensor rstd, Matrix dy, Tensor dweight, float beta)
    {
        int columns = dweight.Length;
        RmsNormWeightGradLoop loop = new(new(x, columns), Floats(rstd), rstd.Length, new(dy, columns), Floats(dweight), beta);
        // Split by columns, never by rows: a column's sum has one order.
        team.For(columns, NormColumns, (start, end) => Dispatch.Run(loop, start, end));
    }

    /// <summary>The groups of columns of a matrix, counted along its rows.</summary>
    private readonly struct ColumnGroups(Matrix matrix, int columns)
    {
        private readonly float* first = Floats(matrix);
        private readonly int perRow = Math.Max(1, matrix.Columns / columns), stride = matrix.Stride;

        public int Columns => columns;

        public float* this[int group] => first + (long)(group / perRow) * stride + group % perRow * columns;
    }

    private readonly struct RmsNormLoop(ColumnGroups x, float* weight, float epsilon, ColumnGroups y, float* rstd) : ISimdLoop
    {
        private readonly float* weight = weight, rstd = rstd;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Run<S, V>(int start, int end) where S : struct, ISimd<V> where V : struct
        {
            int columns = x.Columns, body = columns - columns % S.Width;
            for (int i = start; i < end; i++)
            {
                float* xi = x[i], yi = y[i];
                V squares = S.Zero;
                for (int j = 0; j < body; j += S.Width)
                {
                    V value = S.Load(xi + j);
                    squares = S.MultiplyAdd(value, value, squares);
                }
                float sum = S.Sum(squares);
                for (int j = body; j < columns; j++) sum += xi[j] * xi[j];
                float r = 1 / MathF.Sqrt(sum / columns + epsilon);

                V scale = S.Broadcast(r);
                for (int j = 0; j < body; j += S.Width)
                    S.Store(S.Multiply(S.Multiply(S.Load(xi + j), scale), S.Load(weight + j)), yi + j);
                for (int j = body; j < columns; j++) yi[j] = xi[j] * r * weight[j];
                rstd[i] = r;
            }
        }
    }

    private readonly struct RmsNormGradLoop(
        ColumnGroups x, float* weight, float* rstd, ColumnGroups dy, ColumnGroups dx, float beta) : ISimdLoop
    {
        private readonly float* weight = weight, rstd = rstd;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Run<S, V>(int start, int end) where S : struct, ISimd<V> where V : struct
        {
            int columns = x.Columns, body = columns - columns % S.Width;
            for (int i = start; i < end; i++)
            {
                float* xi = x[i], gi = dy[i], di = dx[i];
                float r = rstd[i];
                V scale = S.Broadcast(r), sumGx = S.Zero;
                for (int j = 0; j < body; j += S.Width)
                {
                    V g = S.Multiply(S.Load(gi + j), S.Load(weight + j));
                    sumGx = S.MultiplyAdd(g, S.Multiply(S.Load(xi + j), scale), sumGx);
                }
                float meanGx = S.Sum(sumGx);
                for (int j = body; j < columns; j++) meanGx += gi[j] * weight[j] * (xi[j] * r);
                meanGx /= columns;

                V minus = S.Broadcast(-meanGx);
                for (int j = 0; j < body; j += S.Width)
                {
                    V g = S.Multiply(S.Load(gi + j), S.Load(weight + j));
                    V d = S.Multiply(scale, S.MultiplyAdd(S.Multiply(S.Load(xi + j), scale), minus, g));
                    S.Store(beta == 0 ? d : S.Add(d, S.Load(di + j)), di + j);
                }
                for (int j = body; j < columns; j++)
                {
                    float d = r * (gi[j] * weight[j] - xi[j] * r * meanGx);
                    di[j] = beta == 0 ? d : d + di[j];
                }
            }
        }
    }

    private readonly struct RmsNormWeightGradLoop(
        ColumnGroups x, float* rstd, int groups, ColumnGroups dy, float* dweight, float beta) : ISimdLoop
    {
        private readonly float* rstd = rstd, dweight = dweight;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Run<S, V>(int start, int end) where S : struct, ISimd<V> where V : struct
        {
            int count = end - start, body = count - count % S.Width;
            float* sums = stackalloc float[NormColumns];
            for (int j = 0; j < count; j++) sums[j] = 0;
            for (int i = 0; i < groups; i++)
            {
                float* xi = x[i] + start, gi = dy[i] + start;
                V scale = S.Broadcast(rstd[i]);
                for (int j = 0; j < body; j += S.Width)
                    S.Store(S.MultiplyAdd(S.Load(gi + j), S.Multiply(S.Load(xi + j), scale), S.Load(sums + j)), sums + j);
                for (int j = body; j < count; j++) sums[j] += gi[j] * (xi[j] * rstd[i]);
            }
            for (int j = 0; j < count; j++) dweight[start + j] = sums[j] + (beta == 0 ? 0 : dweight[start + j]);
        }
    }
}
