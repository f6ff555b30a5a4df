using System.Runtime.CompilerServices;

namespace Nola.Tensors;

public sealed unsafe partial class CpuDevice
{
    // Query rows done together: four tiles of the micro-kernel. Their scores against 1,024 keys take 229 KB.
    private const int QueryBlock = 56;

    private protected override void AttentionCore(Tensor qkv, Tensor starts, int heads, Tensor y, Tensor lse)
    {
        int c = y.Shape.Columns, n = qkv.Shape.Rows, d = c / heads;
        float* x = Floats(qkv), to = Floats(y), sums = Floats(lse);
        int* start = Ints(starts);
        ForEachHead(start, starts.Length - 1, heads, (s, h) =>
            AttendHead(x + (long)start[s] * 3 * c + h * d, start[s + 1] - start[s], c, d,
                to + (long)start[s] * c + h * d, sums + (long)h * n + start[s]));
    }

    private protected override void AttentionGradCore(Tensor qkv, Tensor starts, int heads, Tensor y, Tensor lse, Tensor dy, Tensor dqkv, float beta)
    {
        int c = y.Shape.Columns, n = qkv.Shape.Rows, d = c / heads;
        float* x = Floats(qkv), py = Floats(y), sums = Floats(lse), pdy = Floats(dy), dx = Floats(dqkv);
        int* start = Ints(starts);
        ForEachHead(start, starts.Length - 1, heads, (s, h) =>
        {
            long row = start[s];
            new HeadGrad(x + row * 3 * c + h * d, py + row * c + h * d, sums + (long)h * n + row, pdy + row * c + h * d,
                dx + row * 3 * c + h * d, start[s + 1] - start[s], c, d, beta).Run();
        });
    }

    // One piece of work is one head of one sequence; short sequences are taken several at a time.
    private void ForEachHead(int* starts, int sequences, int heads, Action<int, int> work)
    {
        long tokens = sequences == 0 ? 0 : starts[sequences] - starts[0];
        int average = (int)(tokens / Math.Max(1, sequences));
        team.For(sequences * heads, Math.Max(1, 64 / Math.Max(1, average)), (first, last) =>
        {
            for (int piece = first; piece < last; piece++)
                if (starts[piece / heads + 1] > starts[piece / heads])
                    work(piece / heads, piece % heads);
        });
    }

    // q, k, v rows are 3C floats apart, with k and v C and 2C floats behind q; y rows are C floats apart.
    private static void AttendHead(float* q, int t, int c, int d, float* y, float* lse)
    {
        int width = Gemm.PanelWidth, columns = Gemm.Panels(t) * width;
        int keysSize = columns * d, valuesSize = Gemm.Panels(d) * width * t;
        float* keys = Scratch.Floats(keysSize + valuesSize + (long)QueryBlock * columns);
        float* values = keys + keysSize;
        float* scores = values + valuesSize;
        Gemm.Pack(q + c, 1, 3 * c, d, t, keys, 0, Gemm.Panels(t));                        // Kᵀ (D, T)
        Gemm.Pack(q + 2 * c, 3 * c, 1, t, d, values, 0, Gemm.Panels(d));                  // V (T, D)
        float scale = 1 / MathF.Sqrt(d);
        for (int i = 0; i < t; i += QueryBlock)
        {
            int rows = Math.Min(QueryBlock, t - i), seen = i + rows;
            Gemm.Block(rows, seen, d, new(q + (long)i * 3 * c, 3 * c, 1), keys, (long)width * d, scores, columns, scale);
            Dispatch.Run(new CausalSoftmax(scores, columns, i, seen, lse + i), 0, rows);
            Gemm.Block(rows, d, seen, new(scores, columns, 1), values, (long)width * t, y + (long)i * c, c);
        }
    }

    /// <summary>Rows of scores → probabilities in place, zero above the diagonal; row r is query first + r.</summary>
    private readonly struct CausalSoftmax(float* scores, int stride, int first, int seen, float* lse) : ISimdLoop
    {
        private readonly float* scores = scores, lse = lse;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Run<S, V>(int start, int end) where S : struct, ISimd<V> where V : struct
        {
            for (int r = start; r < end; r++)
            {
                float* row = scores + (long)r * stride;
                int valid = first + r + 1;
                for (int j = valid; j < Math.Min(seen + S.Width, stride); j++) row[j] = float.NegativeInfinity;
                V largest = S.Load(row);
                for (int j = S.Width; j < valid; j += S.Width) largest = S.Max(largest, S.Load(row + j));
                float max = S.MaxElement(largest);
                V shift = S.Broadcast(max), total = S.Zero;
                for (int j = 0; j < valid; j += S.Width)
                {
                    V e = SimdMath.Exp<S, V>(S.Subtract(S.Load(row + j), shift));
                    S.Store(e, row + j);
                    total = S.Add(total, e);
                }
                // What lies beyond the diagonal in the last vector added e^−87 each: below a float's last bit of a sum ≥ 1.
                float sum = S.Sum(total);
                lse[r] = max + MathF.Log(sum);
                V inverse = S.Broadcast(1 / sum);
                for (int j = 0; j < valid; j += S.Width) S.Store(S.Multiply(S.Load(row + j), inverse), row + j);
                for (int j = valid; j < seen; j++) row[j] = 0;
            }
        }
    }

    /// <summary>The gradient of one head of one sequence, query block by query block.</summary>
    private readonly struct HeadGrad(float* q, float* y, float* lse, float* dy, float* dq, int t, int c, int d, float beta)
    {
        private readonly float* q = q, y = y, lse = lse, dy = dy, dq = dq;

        public void Run()
        {
            int width = Gemm.PanelWidth, columns = Gemm.Panels(t) * width, across = Gemm.Panels(d) * width;
            float* keys = Scratch.Floats(
                2L * columns * d + (long)across * t + 2L * QueryBlock * columns + 2L * QueryBlock * across + 2L * t * across + QueryBlock);
            float* values = keys + columns * d;                                           // Vᵀ (D, T), packed
            float* keyRows = values + columns * d;                                        // K (T, D), packed
            float* p = keyRows + (long)across * t;                                        // (rows, T)
            float* ds = p + (long)QueryBlock * columns;                                   // (rows, T)
            float* queryRows = ds + (long)QueryBlock * columns;                           // Q (rows, D), packed
            float* dyRows = queryRows + QueryBlock * across;                              // dy (rows, D), packed
            float* dk = dyRows + QueryBlock * across;                                     // (T, D)
            float* dv = dk + (long)t * across;                                            // (T, D)
            float* dot = dv + (long)t * across;                                           // (rows)
            Gemm.Pack(q + c, 1, 3 * c, d, t, keys, 0, Gemm.Panels(t));
            Gemm.Pack(q + 2 * c, 1, 3 * c, d, t, values, 0, Gemm.Panels(t));
            Gemm.Pack(q + c, 3 * c, 1, t, d, keyRows, 0, Gemm.Panels(d));
            new Span<float>(dk, 2 * t * across).Clear();
            float scale = 1 / MathF.Sqrt(d);
            for (int i = 0; i < t; i += QueryBlock)
            {
                int rows = Math.Min(QueryBlock, t - i), seen = i + rows;
                float* qi = q + (long)i * 3 * c;
                float* dyi = dy + (long)i * c;
                for (int r = 0; r < rows; r++) dot[r] = Dot(dyi + (long)r * c, y + (long)(i + r) * c, d);
                Gemm.Block(rows, seen, d, new(qi, 3 * c, 1), keys, (long)width * d, p, columns, scale);
                Gemm.Block(rows, seen, d, new(dyi, c, 1), values, (long)width * d, ds, columns);
                Dispatch.Run(new ScoreGrad(p, ds, columns, i, seen, lse + i, dot, scale), 0, rows);
                Gemm.Pack(qi, 3 * c, 1, rows, d, queryRows, 0, Gemm.Panels(d));
                Gemm.Pack(dyi, c, 1, rows, d, dyRows, 0, Gemm.Panels(d));
                Gemm.Block(rows, d, seen, new(ds, columns, 1), keyRows, (long)width * t, dq + (long)i * 3 * c, 3 * c, 1, null, beta != 0);
                Gemm.Block(seen, d, rows, new(ds, 1, columns), queryRows, (long)width * rows, dk, across, 1, null, true);
                Gemm.Block(seen, d, rows, new(p, 1, columns), dyRows, (long)width * rows, dv, across, 1, null, true);
            }
            for (int i = 0; i < t; i++)
            {
                AddRow(dk + (long)i * across, dq + (long)i * 3 * c + c, d, beta);
                AddRow(dv + (long)i * across, dq + (long)i * 3 * c + 2 * c, d, beta);
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
            for (int r = start; r < end; r++)
            {
                float* pr = p + (long)r * stride;
                float* dr = ds + (long)r * stride;
                int valid = first + r + 1;
                V shift = S.Broadcast(lse[r]), mean = S.Broadcast(dot[r]), factor = S.Broadcast(scale);
                for (int j = 0; j < valid; j += S.Width)
                {
                    V probability = SimdMath.Exp<S, V>(S.Subtract(S.Load(pr + j), shift));
                    S.Store(probability, pr + j);
                    S.Store(S.Multiply(S.Multiply(probability, S.Subtract(S.Load(dr + j), mean)), factor), dr + j);
                }
                for (int j = valid; j < seen; j++) (pr[j], dr[j]) = (0, 0);
            }
        }
    }

    private protected override void AttentionCachedCore(Tensor qkv, Tensor starts, Tensor slots, Tensor past, Tensor keys, Tensor values, Tensor y)
    {
        int heads = keys.Shape[1], capacity = keys.Shape[2], d = keys.Shape[3], c = heads * d;
        float* x = Floats(qkv), pk = Floats(keys), pv = Floats(values), to = Floats(y);
        int* start = Ints(starts), slot = Ints(slots), length = Ints(past);
        for (int s = 0; s < starts.Length - 1; s++)
            if (length[s] + start[s + 1] - start[s] > capacity)
                throw new ShapeException($"AttentionCached: sequence {s} holds {length[s]} tokens and gets {start[s + 1] - start[s]} more; the cache has room for {capacity}.");
        team.For((starts.Length - 1) * heads, 1, (first, last) =>
        {
            for (int piece = first; piece < last; piece++)
            {
                int s = piece / heads, h = piece % heads;
                long cache = ((long)slot[s] * heads + h) * capacity * d;
                AttendCached(x + (long)start[s] * 3 * c + h * d, start[s + 1] - start[s], length[s], c, d, pk + cache, pv + cache, to + (long)start[s] * c + h * d);
            }
        });
    }

    private static void AttendCached(float* q, int rows, int past, int c, int d, float* keys, float* values, float* y)
    {
        for (int i = 0; i < rows; i++)
        {
            AddRow(q + (long)i * 3 * c + c, keys + (long)(past + i) * d, d, 0);
            AddRow(q + (long)i * 3 * c + 2 * c, values + (long)(past + i) * d, d, 0);
        }
        int stride = (past + rows + 31) & ~31;
        float* scores = Scratch.Floats(stride);
        float lse, scale = 1 / MathF.Sqrt(d);
        for (int i = 0; i < rows; i++)
        {
            int seen = past + i + 1;
            float* qi = q + (long)i * 3 * c;
            float* yi = y + (long)i * c;
            for (int j = 0; j < seen; j++) scores[j] = scale * Dot(qi, keys + (long)j * d, d);
            Dispatch.Run(new CausalSoftmax(scores, stride, seen - 1, seen, &lse), 0, 1);
            new Span<float>(yi, d).Clear();
            for (int j = 0; j < seen; j++)
                System.Numerics.Tensors.TensorPrimitives.MultiplyAdd(new ReadOnlySpan<float>(values + (long)j * d, d), scores[j], new ReadOnlySpan<float>(yi, d), new Span<float>(yi, d));
        }
    }

    private static float Dot(float* a, float* b, int count) =>
        System.Numerics.Tensors.TensorPrimitives.Dot(new ReadOnlySpan<float>(a, count), new ReadOnlySpan<float>(b, count));
}
