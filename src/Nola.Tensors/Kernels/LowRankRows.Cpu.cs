namespace Nola.Tensors;

public sealed unsafe partial class CpuDevice
{
    private protected override void AddLowRankCore(Matrix x, Matrix y, IReadOnlyList<LowRankTerm> terms)
    {
        // Terms of the same rows are one piece, since they may write the same columns.
        List<(int First, int End)> pieces = [];
        for (int i = 0, end; i < terms.Count; i = end)
        {
            int low = terms[i].First, high = low + terms[i].Count;
            for (end = i + 1; end < terms.Count && terms[end].First < high && low < terms[end].First + terms[end].Count; end++)
            {
                low = Math.Min(low, terms[end].First);
                high = Math.Max(high, terms[end].First + terms[end].Count);
            }
            pieces.Add((i, end));
        }
        float* from = Floats(x), to = Floats(y);
        int rank = terms.Max(t => t.A.Columns), rows = terms.Max(t => t.Count);
        long transposed = terms.Max(t => Math.Max(AcrossOf(t.A), AcrossOf(t.B)));
        team.For(pieces.Count, Math.Max(1, pieces.Count / (4 * team.Threads)), (first, last) =>
        {
            // What these products call uses none of the scratch memory.
            float* u = Scratch.Floats((long)rows * rank + transposed), across = u + (long)rows * rank;
            for (int piece = first; piece < last; piece++)
                for (int i = pieces[piece].First; i < pieces[piece].End; i++)
                {
                    LowRankTerm term = terms[i];
                    int r = term.A.Columns;
                    float* xs = from + (long)term.First * x.Stride, ys = to + (long)term.First * y.Stride + term.Column;
                    MultiplyRows(term.Count, xs, x.Stride, term.A, across, u, r, 1, false);
                    MultiplyRows(term.Count, u, r, term.B, across, ys, y.Stride, term.Scale, true);
                }
        });
    }

    // Floats of Mᵀ, where products with M are dot products.
    private static long AcrossOf(Matrix m) => Gemm.IsNarrow(m.Columns, m.Rows) ? (long)m.Columns * m.Rows : 0;

    // to = scale · x · M (+ to). The sums are those of MatMul: dot products, or each a chain of fused steps from zero, blocks of steps
    // added one after the other.
    private static void MultiplyRows(
        int rows, float* x, nint xStride, Matrix m, float* across, float* to, nint toStride, float scale, bool accumulate)
    {
        int k = m.Rows, n = m.Columns, steps = Gemm.StepsOf(k);
        float* from = Floats(m);
        if (Gemm.IsNarrow(n, k))
        {
            Gemm.Transpose(from, k, n, m.Stride, across, k);
            Dispatch.Run(new Gemm.DotRows(n, k, x, xStride, across, k, to, toStride, scale, null, accumulate), 0, rows);
            return;
        }
        for (int i = 0; i < rows; i++)
            for (int p = 0; p < k || p == 0; p += steps)
                Dispatch.Run(
                    new RowTimesMatrix(
                        x + i * xStride + p, from + (long)p * m.Stride, m.Stride, Math.Min(steps, k - p), to + i * toStride, scale,
                        accumulate || p > 0),
                    0, n);
    }

    /// <summary>to = scale · x · M (+ to) for one row x of so many steps. M is row-major.</summary>
    private readonly struct RowTimesMatrix(float* x, float* m, nint stride, int steps, float* to, float scale, bool accumulate) : ISimdLoop
    {
        private readonly float* x = x, m = m, to = to;

        public void Run<S, V>(int start, int end) where S : struct, ISimd<V> where V : struct
        {
            int j = start;
            for (; j + 4 * S.Width <= end; j += 4 * S.Width) Four<S, V>(j);
            for (; j + S.Width <= end; j += S.Width) One<S, V>(j);
            // A rank is often narrower than the widest vectors.
            if (S.Width > 8) for (; j + 8 <= end; j += 8) One<Simd256, System.Runtime.Intrinsics.Vector256<float>>(j);
            if (S.Width > 4) for (; j + 4 <= end; j += 4) One<Simd128, System.Runtime.Intrinsics.Vector128<float>>(j);
            for (; j < end; j++)
            {
                float sum = 0;
                for (int p = 0; p < steps; p++) sum = MathF.FusedMultiplyAdd(x[p], m[p * stride + j], sum);
                to[j] = accumulate ? sum * scale + to[j] : sum * scale;
            }
        }

        private void One<S, V>(int j) where S : struct, ISimd<V> where V : struct
        {
            V sum = S.Zero;
            for (int p = 0; p < steps; p++) sum = S.MultiplyAdd(S.Broadcast(x[p]), S.Load(m + p * stride + j), sum);
            Finish<S, V>(sum, j);
        }

        private void Four<S, V>(int j) where S : struct, ISimd<V> where V : struct
        {
            V s0 = S.Zero, s1 = S.Zero, s2 = S.Zero, s3 = S.Zero;
            for (int p = 0; p < steps; p++)
            {
                V value = S.Broadcast(x[p]);
                float* from = m + p * stride + j;
                s0 = S.MultiplyAdd(value, S.Load(from), s0);
                s1 = S.MultiplyAdd(value, S.Load(from + S.Width), s1);
                s2 = S.MultiplyAdd(value, S.Load(from + 2 * S.Width), s2);
                s3 = S.MultiplyAdd(value, S.Load(from + 3 * S.Width), s3);
            }
            Finish<S, V>(s0, j);
            Finish<S, V>(s1, j + S.Width);
            Finish<S, V>(s2, j + 2 * S.Width);
            Finish<S, V>(s3, j + 3 * S.Width);
        }

        private void Finish<S, V>(V sum, int j) where S : struct, ISimd<V> where V : struct
        {
            sum = S.Multiply(sum, S.Broadcast(scale));
            if (accumulate) sum = S.Add(sum, S.Load(to + j));
            S.Store(sum, to + j);
        }
    }
}
