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
        float* px = Floats(x), pm = Floats(mean), pr = Floats(rstd), pdy = Floats(dy), pw = Floats(dweight), pb = Floats(dbias);
        int rows = x.Shape.Rows, columns = x.Shape.Columns;
        // Split by columns, never by rows: a column's sum has one order.
        team.For(columns, 64, (start, end) =>
        {
            Span<float> w = stackalloc float[64], b = stackalloc float[64];
            w.Clear();
            b.Clear();
            for (int i = 0; i < rows; i++)
            {
                float* xi = px + (long)i * columns;
                float* di = pdy + (long)i * columns;
                for (int j = start; j < end; j++)
                {
                    w[j - start] += di[j] * ((xi[j] - pm[i]) * pr[i]);
                    b[j - start] += di[j];
                }
            }
            for (int j = start; j < end; j++)
            {
                pw[j] = w[j - start] + (betaWeight == 0 ? 0 : pw[j]);
                pb[j] = b[j - start] + (betaBias == 0 ? 0 : pb[j]);
            }
        });
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
