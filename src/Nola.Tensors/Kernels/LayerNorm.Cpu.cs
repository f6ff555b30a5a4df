using System.Runtime.CompilerServices;

namespace Nola.Tensors;

public sealed unsafe partial class CpuDevice
{
    private protected override void LayerNormCore(Tensor x, Tensor weight, Tensor bias, float epsilon, Tensor y, Tensor mean, Tensor rstd)
    {
        LayerNormLoop loop = new(Floats(x), Floats(weight), Floats(bias), Floats(y), Floats(mean), Floats(rstd), x.Shape.Columns, epsilon);
        team.For(x.Shape.Rows, 16, (start, end) => Dispatch.Run(loop, start, end));
    }

    private protected override void LayerNormGradCore(Tensor x, Tensor weight, Tensor mean, Tensor rstd, Tensor dy, Tensor dx, float beta)
    {
        LayerNormGradLoop loop = new(Floats(x), Floats(weight), Floats(mean), Floats(rstd), Floats(dy), Floats(dx), x.Shape.Columns, beta);
        team.For(x.Shape.Rows, 16, (start, end) => Dispatch.Run(loop, start, end));
    }

    private protected override void LayerNormWeightGradCore(
        Tensor x, Tensor mean, Tensor rstd, Tensor dy, Tensor dweight, float betaWeight, Tensor dbias, float betaBias)
    {
        int columns = x.Shape.Columns;
        LayerNormWeightGradLoop loop = new(
            Floats(x), Floats(mean), Floats(rstd), Floats(dy), x.Shape.Rows, columns,
            Floats(dweight), betaWeight, Floats(dbias), betaBias);
        // Split by columns, never by rows: a column's sum has one order.
        team.For(columns, NormColumns, (start, end) => Dispatch.Run(loop, start, end));
    }

    private readonly struct LayerNormWeightGradLoop(
        float* x, float* mean, float* rstd, float* dy, int rows, int columns,
        float* dweight, float betaWeight, float* dbias, float betaBias) : ISimdLoop
    {
        private readonly float* x = x, mean = mean, rstd = rstd, dy = dy, dweight = dweight, dbias = dbias;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Run<S, V>(int start, int end) where S : struct, ISimd<V> where V : struct
        {
            int j = start;
            for (; j + 2 * S.Width <= end; j += 2 * S.Width)
            {
                V w0 = S.Zero, w1 = S.Zero, b0 = S.Zero, b1 = S.Zero;
                for (int i = 0; i < rows; i++)
                {
                    float* xi = x + (long)i * columns + j, di = dy + (long)i * columns + j;
                    V m = S.Broadcast(mean[i]), r = S.Broadcast(rstd[i]), d0 = S.Load(di), d1 = S.Load(di + S.Width);
                    w0 = S.Add(w0, S.Multiply(d0, S.Multiply(S.Subtract(S.Load(xi), m), r)));
                    w1 = S.Add(w1, S.Multiply(d1, S.Multiply(S.Subtract(S.Load(xi + S.Width), m), r)));
                    b0 = S.Add(b0, d0);
                    b1 = S.Add(b1, d1);
                }
                Accumulate<S, V>(w0, dweight + j, betaWeight);
                Accumulate<S, V>(w1, dweight + j + S.Width, betaWeight);
                Accumulate<S, V>(b0, dbias + j, betaBias);
                Accumulate<S, V>(b1, dbias + j + S.Width, betaBias);
            }
            for (; j < end; j++)
            {
                float w = 0, b = 0;
                for (int i = 0; i < rows; i++)
                {
                    float d = dy[(long)i * columns + j];
                    w += d * ((x[(long)i * columns + j] - mean[i]) * rstd[i]);
                    b += d;
                }
                dweight[j] = w + (betaWeight == 0 ? 0 : dweight[j]);
                dbias[j] = b + (betaBias == 0 ? 0 : dbias[j]);
            }
        }
    }

    private readonly struct LayerNormLoop(
        float* x, float* weight, float* bias, float* y, float* mean, float* rstd, int columns, float epsilon) : ISimdLoop
    {
        private readonly float* x = x, weight = weight, bias = bias, y = y, mean = mean, rstd = rstd;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Run<S, V>(int start, int end) where S : struct, ISimd<V> where V : struct
        {
            int body = columns - columns % S.Width;
            for (int i = start; i < end; i++)
            {
                float* xi = x + (long)i * columns;
                float* yi = y + (long)i * columns;
                V sum = S.Zero;
                for (int j = 0; j < body; j += S.Width) sum = S.Add(sum, S.Load(xi + j));
                float total = S.Sum(sum);
                for (int j = body; j < columns; j++) total += xi[j];
                float m = total / columns;

                V centre = S.Broadcast(m), squares = S.Zero;
                for (int j = 0; j < body; j += S.Width)
                {
                    V d = S.Subtract(S.Load(xi + j), centre);
                    squares = S.MultiplyAdd(d, d, squares);
                }
                float variance = S.Sum(squares);
                for (int j = body; j < columns; j++) variance += (xi[j] - m) * (xi[j] - m);
                float r = 1 / MathF.Sqrt(variance / columns + epsilon);

                V scale = S.Broadcast(r);
                for (int j = 0; j < body; j += S.Width)
                {
                    V hat = S.Multiply(S.Subtract(S.Load(xi + j), centre), scale);
                    S.Store(S.MultiplyAdd(hat, S.Load(weight + j), S.Load(bias + j)), yi + j);
                }
                for (int j = body; j < columns; j++) yi[j] = (xi[j] - m) * r * weight[j] + bias[j];
                mean[i] = m;
                rstd[i] = r;
            }
        }
    }

    private readonly struct LayerNormGradLoop(
        float* x, float* weight, float* mean, float* rstd, float* dy, float* dx, int columns, float beta) : ISimdLoop
    {
        private readonly float* x = x, weight = weight, mean = mean, rstd = rstd, dy = dy, dx = dx;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Run<S, V>(int start, int end) where S : struct, ISimd<V> where V : struct
        {
            int body = columns - columns % S.Width;
            for (int i = start; i < end; i++)
            {
                float* xi = x + (long)i * columns;
                float* gi = dy + (long)i * columns;
                float* di = dx + (long)i * columns;
                float m = mean[i], r = rstd[i];
                V centre = S.Broadcast(m), scale = S.Broadcast(r), sumG = S.Zero, sumGx = S.Zero;
                for (int j = 0; j < body; j += S.Width)
                {
                    V g = S.Multiply(S.Load(gi + j), S.Load(weight + j));
                    sumG = S.Add(sumG, g);
                    sumGx = S.MultiplyAdd(g, S.Multiply(S.Subtract(S.Load(xi + j), centre), scale), sumGx);
                }
                float meanG = S.Sum(sumG), meanGx = S.Sum(sumGx);
                for (int j = body; j < columns; j++)
                {
                    float g = gi[j] * weight[j];
                    meanG += g;
                    meanGx += g * ((xi[j] - m) * r);
                }
                meanG /= columns;
                meanGx /= columns;

                V mg = S.Broadcast(meanG), mgx = S.Broadcast(-meanGx);
                for (int j = 0; j < body; j += S.Width)
                {
                    V g = S.Multiply(S.Load(gi + j), S.Load(weight + j));
                    V hat = S.Multiply(S.Subtract(S.Load(xi + j), centre), scale);
                    V d = S.Multiply(scale, S.MultiplyAdd(hat, mgx, S.Subtract(g, mg)));
                    S.Store(beta == 0 ? d : S.Add(d, S.Load(di + j)), di + j);
                }
                for (int j = body; j < columns; j++)
                {
                    float d = r * (gi[j] * weight[j] - meanG - (xi[j] - m) * r * meanGx);
                    di[j] = beta == 0 ? d : d + di[j];
                }
            }
        }
    }
}
