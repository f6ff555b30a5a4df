using System.Numerics.Tensors;
using System.Runtime.CompilerServices;

namespace Nola.Tensors;

public sealed unsafe partial class CpuDevice
{
    // Query rows done together: four tiles of the micro-kernel, whose scores against 1,024 keys take 229 KB. Half as many
    // for short sequences, where what a block computes beyond the diagonal is a large part.
    private static int QueryBlock(int tokens) => tokens <= 256 ? 28 : 56;

    // Floats of the heads that are copied together: with what is computed from them they fit the second-level cache.
    private const int GroupFloats = 160 * 1024;

    private protected override void AttentionCore(Tensor qkv, Tensor starts, int heads, Tensor y, Tensor lse)
    {
        int c = y.Shape.Columns, n = qkv.Shape.Rows, d = c / heads;
        float* x = Floats(qkv), to = Floats(y), sums = Floats(lse);
        ForEachGroup(starts, heads, 3 * d, (row, t, h, count) =>
            AttendHeads(x + row * 3 * c + h * d, t, count, c, d, to + row * c + h * d, sums + (long)h * n + row, n));
    }

    private protected override void AttentionGradCore(Tensor qkv, Tensor starts, int heads, Tensor y, Tensor lse, Tensor dy, Tensor dqkv, float beta)
    {
        int c = y.Shape.Columns, n = qkv.Shape.Rows, d = c / heads;
        float* x = Floats(qkv), py = Floats(y), sums = Floats(lse), pdy = Floats(dy), dx = Floats(dqkv);
        ForEachGroup(starts, heads, 7 * d, (row, t, h, count) =>
            new HeadsGrad(x + row * 3 * c + h * d, py + row * c + h * d, sums + (long)h * n + row, n, pdy + row * c + h * d,
                dx + row * 3 * c + h * d, t, count, c, d, beta).Run());
    }

    private delegate void HeadGroup(long row, int tokens, int head, int count);

    // A piece of work is some heads of one sequence. A head's rows are far apart in memory; those of several heads are
    // read as one stretch, so short sequences take many heads at once.
    private void ForEachGroup(Tensor startsOfSequences, int heads, int floatsOfToken, HeadGroup work)
    {
        int* starts = Ints(startsOfSequences);
        int sequences = startsOfSequences.Length - 1;
        if (sequences == 0) return;
        int average = Math.Max(1, (starts[sequences] - starts[0]) / sequences);
        int together = (int)Math.Clamp(Math.Min(GroupFloats / ((long)floatsOfToken * average), (long)sequences * heads / (4 * team.Threads)), 1, heads);
        int groups = (heads + together - 1) / together;
        team.For(sequences * groups, 1, (first, last) =>
        {
            for (int piece = first; piece < last; piece++)
            {
                int s = piece / groups, h = Gemm.Share(heads, piece % groups, groups), t = starts[s + 1] - starts[s];
                if (t > 0) work(starts[s], t, h, Gemm.Share(heads, piece % groups + 1, groups) - h);
            }
        });
    }

    // q, k, v rows are 3C floats apart, with k and v C and 2C floats behind q; y rows are C floats apart.
    private static void AttendHeads(float* qkv, int t, int count, int c, int d, float* y, float* lse, int lseStride)
    {
        int width = Gemm.PanelWidth, columns = Gemm.Panels(t) * width;
        int block = QueryBlock(t), rowsSize = t * d, keyRowsSize = columns * d, keysSize = columns * d, valuesSize = Gemm.Panels(d) * width * t;
        float* q = Scratch.Floats((long)count * (2 * rowsSize + keyRowsSize) + keysSize + valuesSize + (long)block * columns);
        float* k = q + (long)count * rowsSize;
        float* v = k + (long)count * keyRowsSize;
        float* keys = v + (long)count * rowsSize;
        float* values = keys + keysSize;
        float* scores = values + valuesSize;
        for (int i = 0; i < t; i++)
        {
            float* row = qkv + (long)i * 3 * c;
            Gather(row, count, d, q + i * d, rowsSize);
            Gather(row + c, count, d, k + i * d, keyRowsSize);
            Gather(row + 2 * c, count, d, v + i * d, rowsSize);
        }
        float scale = 1 / MathF.Sqrt(d);
        for (int h = 0; h < count; h++, q += rowsSize, k += keyRowsSize, v += rowsSize)
        {
            new Span<float>(k + t * d, (columns - t) * d).Clear();
            Gemm.Pack(k, 1, d, d, columns, keys);                                         // Kᵀ (D, T)
            Gemm.Pack(v, d, 1, t, d, values);                                             // V (T, D)
            for (int i = 0; i < t; i += block)
            {
                int rows = Math.Min(block, t - i), seen = i + rows, across = (seen + width - 1) / width * width;
                Gemm.Block(rows, across, d, new(q + i * d, d, 1), keys, (long)width * d, scores, columns, scale);
                Dispatch.Run(new CausalSoftmax(scores, columns, i, seen, lse + (long)h * lseStride + i), 0, rows);
                Gemm.Block(rows, d, seen, new(scores, columns, 1), values, (long)width * t, y + (long)i * c + h * d, c);
            }
        }
    }

    // One token's heads, which lie side by side, to the rows of each head.
    private static void Gather(float* from, int count, int d, float* to, int stride)
    {
        for (int h = 0; h < count; h++) new ReadOnlySpan<float>(from + h * d, d).CopyTo(new Span<float>(to + (long)h * stride, d));
    }

    private static void Scatter(float* from, int stride, int count, int d, float* to, float beta)
    {
        for (int h = 0; h < count; h++) AddRow(from + (long)h * stride, to + h * d, d, beta);
    }

    /// <summary>Rows of scores → probabilities in place, zero above the diagonal; row r is query first + r.</summary>
    private readonly struct CausalSoftmax(float* scores, int stride, int first, int seen, float* lse) : ISimdLoop
    {
        private readonly float* scores = scores, lse = lse;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Run<S, V>(int start, int end) where S : struct, ISimd<V> where V : struct
        {
            float* mask = stackalloc float[2 * 16];
            for (int j = 0; j < S.Width; j++) (mask[j], mask[S.Width + j]) = (1, 0);
            for (int r = start; r < end; r++)
            {
                float* row = scores + (long)r * stride;
                int valid = first + r + 1, whole = valid - valid % S.Width;
                // The vector with the diagonal in it; what is beyond is −3e38, whose exponential does not count.
                V keep = S.Load(mask + (S.Width - (valid - whole))), one = S.Broadcast(1f), far = S.Broadcast(3e38f);
                if (whole < valid) S.Store(S.MultiplyAdd(S.Subtract(keep, one), far, S.Multiply(S.Load(row + whole), keep)), row + whole);
                V largest = S.Load(row);
                for (int j = S.Width; j < valid; j += S.Width) largest = S.Max(largest, S.Load(row + j));
                float max = S.MaxElement(largest);
                V shift = S.Broadcast(max), total = S.Zero;
                for (int j = 0; j < whole; j += S.Width)
                {
                    V e = SimdMath.Exp<S, V>(S.Subtract(S.Load(row + j), shift));
                    S.Store(e, row + j);
                    total = S.Add(total, e);
                }
                if (whole < valid)
                {
                    V e = S.Multiply(SimdMath.Exp<S, V>(S.Subtract(S.Load(row + whole), shift)), keep);
                    S.Store(e, row + whole);
                    total = S.Add(total, e);
                }
                float sum = S.Sum(total);
                lse[r] = max + MathF.Log(sum);
                V inverse = S.Broadcast(1 / sum);
                for (int j = 0; j < valid; j += S.Width) S.Store(S.Multiply(S.Load(row + j), inverse), row + j);
                for (int j = (valid + S.Width - 1) / S.Width * S.Width; j < seen; j += S.Width) S.Store(S.Zero, row + j);
            }
        }
    }

    /// <summary>The gradient of some heads of one sequence, query block by query block.</summary>
    private readonly struct HeadsGrad(
        float* qkv, float* y, float* lse, int lseStride, float* dy, float* dqkv, int t, int count, int c, int d, float beta)
    {
        private readonly float* qkv = qkv, y = y, lse = lse, dy = dy, dqkv = dqkv;

        public void Run()
        {
            int width = Gemm.PanelWidth, columns = Gemm.Panels(t) * width, across = Gemm.Panels(d) * width;
            int block = QueryBlock(t), rowsSize = t * d, paddedSize = columns * d, packedSize = columns * d, keyRowsSize = across * t;
            int scoresSize = block * columns, blockSize = block * across;
            float* q = Scratch.Floats(count * (5L * rowsSize + 2L * paddedSize + t) + 2L * packedSize + keyRowsSize + 2L * scoresSize + 2L * blockSize);
            float* g = q + (long)count * rowsSize;                                        // dy of each head (T, D)
            float* dq = g + (long)count * rowsSize;                                       // (T, D)
            float* dk = dq + (long)count * rowsSize;                                      // (T, D)
            float* dv = dk + (long)count * rowsSize;                                      // (T, D)
            float* k = dv + (long)count * rowsSize;                                       // (T, D), padded to whole panels
            float* v = k + (long)count * paddedSize;                                      // (T, D), padded to whole panels
            float* dot = v + (long)count * paddedSize;                                    // ⟨dy, y⟩ (T)
            float* keys = dot + (long)count * t;                                          // Kᵀ (D, T), packed
            float* values = keys + packedSize;                                            // Vᵀ (D, T), packed
            float* keyRows = values + packedSize;                                         // K (T, D), packed
            float* p = keyRows + keyRowsSize;                                             // (rows, T)
            float* ds = p + scoresSize;                                                   // (rows, T)
            float* queryRows = ds + scoresSize;                                           // Q (rows, D), packed
            float* dyRows = queryRows + blockSize;                                        // dy (rows, D), packed
            for (int i = 0; i < t; i++)
            {
                float* row = qkv + (long)i * 3 * c;
                Gather(row, count, d, q + i * d, rowsSize);
                Gather(row + c, count, d, k + i * d, paddedSize);
                Gather(row + 2 * c, count, d, v + i * d, paddedSize);
                Gather(dy + (long)i * c, count, d, g + i * d, rowsSize);
                for (int h = 0; h < count; h++) dot[h * t + i] = Dot(dy + (long)i * c + h * d, y + (long)i * c + h * d, d);
            }
            new Span<float>(dk, 2 * count * rowsSize).Clear();
            float scale = 1 / MathF.Sqrt(d);
            for (int h = 0; h < count; h++)
            {
                float* qh = q + (long)h * rowsSize, gh = g + (long)h * rowsSize, kh = k + (long)h * paddedSize, vh = v + (long)h * paddedSize;
                new Span<float>(kh + t * d, (columns - t) * d).Clear();
                new Span<float>(vh + t * d, (columns - t) * d).Clear();
                Gemm.Pack(kh, 1, d, d, columns, keys);
                Gemm.Pack(vh, 1, d, d, columns, values);
                Gemm.Pack(kh, d, 1, t, d, keyRows);
                for (int i = 0; i < t; i += block)
                {
                    int rows = Math.Min(block, t - i), seen = i + rows, wide = (seen + width - 1) / width * width;
                    Gemm.Block(rows, wide, d, new(qh + i * d, d, 1), keys, (long)width * d, p, columns, scale);
                    Gemm.Block(rows, wide, d, new(gh + i * d, d, 1), values, (long)width * d, ds, columns);
                    Dispatch.Run(new ScoreGrad(p, ds, columns, i, seen, lse + (long)h * lseStride + i, dot + h * t + i, scale), 0, rows);
                    Gemm.Pack(qh + i * d, d, 1, rows, d, queryRows);
                    Gemm.Pack(gh + i * d, d, 1, rows, d, dyRows);
                    Gemm.Block(rows, d, seen, new(ds, columns, 1), keyRows, (long)width * t, dq + (long)h * rowsSize + i * d, d);
                    Gemm.Block(seen, d, rows, new(ds, 1, columns), queryRows, (long)width * rows, dk + (long)h * rowsSize, d, 1, null, true);
                    Gemm.Block(seen, d, rows, new(p, 1, columns), dyRows, (long)width * rows, dv + (long)h * rowsSize, d, 1, null, true);
                }
            }
            for (int i = 0; i < t; i++)
            {
                float* row = dqkv + (long)i * 3 * c;
                Scatter(dq + i * d, rowsSize, count, d, row, beta);
                Scatter(dk + i * d, rowsSize, count, d, row + c, beta);
                Scatter(dv + i * d, rowsSize, count, d, row + 2 * c, beta);
            }
        }
    }

    /// <summary>Scores → P = exp(score − lse), and dP → dS = P ∘ (dP − dot) · scale; both zero above the diagonal.</summary>
    private readonly struct ScoreGrad(float* p, float* ds, int stride, int first, int seen, float* lse, float* dot, float scale) : ISimdLoop
    {
        private readonly float* p = p, ds = ds, lse = lse, dot = dot;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Run<S, V>(int start, int end) where S : struct, ISimd<V> where V : struct
        {
            float* mask = stackalloc float[2 * 16];
            for (int j = 0; j < S.Width; j++) (mask[j], mask[S.Width + j]) = (1, 0);
            for (int r = start; r < end; r++)
            {
                float* pr = p + (long)r * stride;
                float* dr = ds + (long)r * stride;
                int valid = first + r + 1, whole = valid - valid % S.Width, j = 0;
                V shift = S.Broadcast(lse[r]), mean = S.Broadcast(dot[r]), factor = S.Broadcast(scale), keep = S.Broadcast(1f);
                for (; j < seen; j += S.Width)
                {
                    if (j == whole) keep = S.Load(mask + (S.Width - (valid - whole)));
                    else if (j > whole) keep = S.Zero;
                    V probability = S.Multiply(SimdMath.Exp<S, V>(S.Subtract(S.Load(pr + j), shift)), keep);
                    S.Store(probability, pr + j);
                    S.Store(S.Multiply(S.Multiply(probability, S.Subtract(S.Load(dr + j), mean)), factor), dr + j);
                }
            }
        }
    }

    private static float Dot(float* a, float* b, int count) =>
        TensorPrimitives.Dot(new ReadOnlySpan<float>(a, count), new ReadOnlySpan<float>(b, count));
}
