using System.Runtime.CompilerServices;

namespace Nola.Tensors;

public sealed unsafe partial class CpuDevice
{
    private protected override void LogSumExpCore(Tensor logits, Tensor y)
    {
        LogSumExpLoop loop = new(Floats(logits), logits.Shape.Columns, Floats(y));
        team.For(logits.Shape.Rows, 1, (start, end) => Dispatch.Run(loop, start, end));
    }

    private protected override void TopKCore(Tensor x, Tensor values, Tensor indices)
    {
        TopKLoop loop = new(Floats(x), x.Shape.Columns, Floats(values), Ints(indices), values.Shape.Columns);
        team.For(x.Shape.Rows, 1, (start, end) => Dispatch.Run(loop, start, end));
    }

    private protected override void BanCore(Tensor logits, Tensor starts, Tensor ids)
    {
        float* z = Floats(logits);
        ForEachToken(logits, starts, ids, (n, at) => z[at] = float.NegativeInfinity);
    }

    private protected override void PenalizeCore(Tensor logits, Tensor starts, Tensor ids, float penalty, Tensor? from)
    {
        float* z = Floats(logits), zero = from is null ? null : Floats(from);
        ForEachToken(logits, starts, ids, (n, at) =>
        {
            float shift = zero == null ? 0 : zero[n], d = z[at] - shift;
            z[at] = (d < 0 ? d * penalty : d / penalty) + shift;
        });
    }

    // A few tokens a row: not worth the team.
    private static void ForEachToken(Tensor logits, Tensor starts, Tensor ids, Action<int, long> change)
    {
        int v = logits.Shape.Columns;
        ReadOnlySpan<int> start = new(Ints(starts), starts.Length), id = new(Ints(ids), ids.Length);
        for (int n = 0; n + 1 < start.Length; n++)
        {
            foreach (int token in id[start[n]..start[n + 1]])
            {
                CheckIndex(token, v);
                change(n, (long)n * v + token);
            }
        }
    }

    private readonly struct LogSumExpLoop(float* z, int v, float* y) : ISimdLoop
    {
        private readonly float* z = z, y = y;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Run<S, V>(int start, int end) where S : struct, ISimd<V> where V : struct
        {
            int body = v - v % S.Width;
            for (int n = start; n < end; n++)
            {
                float* row = z + (long)n * v;
                V largest = S.Broadcast(float.NegativeInfinity);
                for (int j = 0; j < body; j += S.Width) largest = S.Max(largest, S.Load(row + j));
                float max = S.MaxElement(largest);
                for (int j = body; j < v; j++) max = MathF.Max(max, row[j]);
                if (float.IsNegativeInfinity(max))
                {
                    // All are −∞, or the maximum has passed over what is not a number.
                    y[n] = new ReadOnlySpan<float>(row, v).Contains(float.NaN) ? float.NaN : max;
                    continue;
                }
                V shift = S.Broadcast(max), total = S.Zero;
                for (int j = 0; j < body; j += S.Width) total = S.Add(total, SimdMath.Exp<S, V>(S.Subtract(S.Load(row + j), shift)));
                float sum = S.Sum(total);
                for (int j = body; j < v; j++) sum += MathF.Exp(row[j] - max);
                y[n] = max + MathF.Log(sum);
            }
        }
    }

    private readonly struct TopKLoop(float* x, int v, float* values, int* indices, int k) : ISimdLoop
    {
        private readonly float* x = x, values = values;
        private readonly int* indices = indices;

        // Most stretches of eight vectors have nothing above the k-th largest so far: one maximum tells.
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Run<S, V>(int start, int end) where S : struct, ISimd<V> where V : struct
        {
            int stretch = 8 * S.Width, body = v - v % stretch;
            for (int n = start; n < end; n++)
            {
                float* row = x + (long)n * v, best = values + (long)n * k;
                int* index = indices + (long)n * k;
                new Span<float>(best, k).Fill(float.NegativeInfinity);
                new Span<int>(index, k).Fill(-1);
                for (int j = 0; j < body; j += stretch)
                {
                    float* from = row + j;
                    V a = S.Max(S.Load(from), S.Load(from + S.Width)), b = S.Max(S.Load(from + 2 * S.Width), S.Load(from + 3 * S.Width));
                    V c = S.Max(S.Load(from + 4 * S.Width), S.Load(from + 5 * S.Width));
                    V d = S.Max(S.Load(from + 6 * S.Width), S.Load(from + 7 * S.Width));
                    if (S.MaxElement(S.Max(S.Max(a, b), S.Max(c, d))) > best[k - 1]) Insert(row, j, j + stretch, best, index);
                }
                Insert(row, body, v, best, index);
            }
        }

        private void Insert(float* row, int from, int to, float* best, int* index)
        {
            for (int j = from; j < to; j++)
            {
                float value = row[j];
                if (!(value > best[k - 1])) continue;
                int place = k - 1;
                for (; place > 0 && value > best[place - 1]; place--) (best[place], index[place]) = (best[place - 1], index[place - 1]);
                (best[place], index[place]) = (value, j);
            }
        }
    }
}
