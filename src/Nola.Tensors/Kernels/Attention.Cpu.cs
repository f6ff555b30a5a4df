using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace Nola.Tensors;

public sealed unsafe partial class CpuDevice
{
    // Query rows done together: four tiles of the micro-kernel, whose scores against 1,024 keys take 229 KB. Fewer in short
    // sequences, where what a block computes beyond the diagonal is a large part.
    private static int QueryBlock(int tokens) => tokens <= ShortSequence ? 14 : tokens <= 256 ? 28 : MostQueries;

    private const int MostQueries = 56;

    // Tokens of a sequence whose scores are computed whole before anything is made of them: 128 KB with their gradients.
    private const int ShortSequence = 128;

    // Floats of the heads that are done together, and in long sequences copied: with what is computed from them they fit the second-level
    // cache.
    private const int GroupFloats = 160 * 1024;

    private protected override void AttentionCore(Tensor qkv, Tensor starts, AttentionLayout layout, Tensor y, Tensor lse)
    {
        int c = layout.QueryWidth, d = layout.HeadSize, n = qkv.Shape.Rows;
        float* x = Floats(qkv), to = Floats(y), sums = Floats(lse);
        ForEachGroup(starts, layout.Heads, layout.Width / layout.Heads, (row, t, h, count) =>
            AttendHeads(layout, h, count, x + row * layout.Width, t, to + row * c + h * d, sums + (long)h * n + row, n));
    }

    private protected override void AttentionGradCore(
        Tensor qkv, Tensor starts, AttentionLayout layout, Tensor y, Tensor lse, Tensor dy, Tensor dqkv, float beta)
    {
        int c = layout.QueryWidth, d = layout.HeadSize, n = qkv.Shape.Rows;
        float* x = Floats(qkv), py = Floats(y), sums = Floats(lse), pdy = Floats(dy), dx = Floats(dqkv);
        // Heads of keys and values with all their queries, so that one thread sums what these give.
        ForEachGroup(starts, layout.KeyValueHeads, (3 * layout.Group + 4) * d, (row, t, g, count) =>
        {
            int h = g * layout.Group;
            new HeadsGrad(layout, g, count, x + row * layout.Width, py + row * c + h * d, sums + (long)h * n + row, n,
                pdy + row * c + h * d, dx + row * layout.Width, t, beta).Run();
        });
    }

    private delegate void HeadGroup(long row, int tokens, int head, int count);

    // A piece of work is some heads of one sequence. A head's rows are far apart in memory, and beside those of the next heads: short
    // sequences take many heads at once.
    private void ForEachGroup(Tensor startsOfSequences, int heads, int floatsOfToken, HeadGroup work)
    {
        int* starts = Ints(startsOfSequences);
        int sequences = startsOfSequences.Length - 1;
        if (sequences == 0) return;
        int average = Math.Max(1, (starts[sequences] - starts[0]) / sequences);
        int together = (int)Math.Clamp(
            Math.Min(GroupFloats / ((long)floatsOfToken * average), (long)sequences * heads / (4 * team.Threads)), 1, heads);
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

    /// <summary>
    /// The keys that a block of queries meets: From … Until − 1 of its sequence, From at the start of a panel. Query r of the
    /// block sees those from Lowest(r) to Valid(r) − 1, counted from From; the key of query 0 itself is Own.
    /// </summary>
    private readonly record struct Sight(int From, int Until, int Own, int Reach)
    {
        public int Count => Until - From;

        /// <summary>Count in whole vectors.</summary>
        public int Across => (Count + Gemm.PanelWidth / 2 - 1) / (Gemm.PanelWidth / 2) * (Gemm.PanelWidth / 2);

        /// <summary>Of queries first … first + rows − 1 of a sequence.</summary>
        public static Sight Of(AttentionLayout layout, int first, int rows, int tokens)
        {
            if (!layout.Causal) return All(tokens);
            int lowest = Math.Max(0, first + 1 - layout.Reach), from = lowest - lowest % Gemm.PanelWidth;
            return new(from, first + rows, first - from, layout.Reach);
        }

        /// <summary>Of queries that see every key.</summary>
        public static Sight All(int keys) => new(0, keys, keys, int.MaxValue);

        public int Valid(int r) => Math.Min(Own + r + 1, Count);

        public int Lowest(int r) => Math.Max(0, Own + r + 1 - Reach);
    }

    // y: from the first head's column on, in rows of all heads.
    private static void AttendHeads(AttentionLayout layout, int head, int count, float* qkv, int t, float* y, float* lse, int lseStride)
    {
        int d = layout.HeadSize, width = Gemm.PanelWidth, columns = Gemm.Panels(t) * width;
        int block = QueryBlock(t), keysSize = columns * d, valuesSize = Gemm.Panels(d) * width * t;
        float* q = Scratch.Floats((long)block * d + keysSize + valuesSize + (long)block * columns);
        float* keys = q + block * d, values = keys + keysSize, scores = values + valuesSize;
        float scale = 1 / MathF.Sqrt(d);
        for (int h = 0, packed = -1; h < count; h++)
        {
            int g = (head + h) / layout.Group;
            if (g != packed)
            {
                Gemm.Pack(qkv + layout.KeyColumn + g * d, 1, layout.Width, d, t, keys);           // Kᵀ (D, T)
                Gemm.Pack(qkv + layout.ValueColumn + g * d, layout.Width, 1, t, d, values);       // V (T, D)
                packed = g;
            }
            for (int i = 0; i < t; i += block)
            {
                int rows = Math.Min(block, t - i);
                Sight sight = Sight.Of(layout, i, rows, t);
                float* own = qkv + (long)i * layout.Width + (head + h) * d;
                if (h + 1 < count)
                {
                    // The next head, which is far from this one, is on its way meanwhile.
                    Ahead(own + d, layout.Width, rows, d);
                    if ((head + h + 1) % layout.Group == 0)
                    {
                        float* next = qkv + (long)i * layout.Width + (g + 1) * d;
                        Ahead(next + layout.KeyColumn, layout.Width, rows, d);
                        Ahead(next + layout.ValueColumn, layout.Width, rows, d);
                    }
                }
                float* blockKeys = keys + (long)sight.From * d;
                Operand queries = RowsOf(own, layout.Width, rows, d, q);
                Gemm.Block(rows, sight.Across, d, queries, blockKeys, (long)width * d, scores, columns, scale);
                Dispatch.Run(new MaskedSoftmax(scores, columns, sight, lse + (long)h * lseStride + i), 0, rows);
                Gemm.Block(rows, d, sight.Count, new(scores, columns, 1), values + (long)sight.From * width, (long)width * t,
                    y + (long)i * layout.QueryWidth + h * d, layout.QueryWidth);
            }
        }
    }

    // Asks for rows of a head, for the second-level cache.
    private static void Ahead(float* from, nint stride, int rows, int d)
    {
        if (!Sse.IsSupported) return;
        for (int i = 0; i < rows; i++, from += stride)
            for (int j = 0; j < d; j += 16) Sse.Prefetch1(from + j);
    }

    // Some rows of a head, which lie apart by what all heads take: where they lie, or, where that is a multiple of 4 KiB, so that they
    // would push each other out of the first-level cache, copied.
    private static Operand RowsOf(float* from, nint stride, int rows, int d, float* copy)
    {
        if (stride % 1024 != 0) return new(from, stride, 1);
        for (int i = 0; i < rows; i++) new ReadOnlySpan<float>(from + i * stride, d).CopyTo(new Span<float>(copy + i * d, d));
        return new(copy, d, 1);
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

    /// <summary>Rows of scores → probabilities in place, zero where a query does not see.</summary>
    private readonly struct MaskedSoftmax(float* scores, int stride, Sight sight, float* lse) : ISimdLoop
    {
        private readonly float* scores = scores, lse = lse;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Run<S, V>(int start, int end) where S : struct, ISimd<V> where V : struct
        {
            float* mask = stackalloc float[2 * 16], largests = stackalloc float[MostQueries];
            for (int j = 0; j < S.Width; j++) (mask[j], mask[S.Width + j]) = (1, 0);
            for (int r = start; r < end; r++)
            {
                float* row = scores + (long)r * stride;
                int valid = sight.Valid(r), whole = valid - valid % S.Width, lowest = sight.Lowest(r), from = lowest - lowest % S.Width;
                // The vectors with the first and the last key in them; what is beyond is −3e38, whose exponential does not count.
                for (int j = from; j < lowest; j++) row[j] = -3e38f;
                V keep = S.Load(mask + (S.Width - (valid - whole))), one = S.Broadcast(1f), far = S.Broadcast(3e38f);
                if (whole < valid) S.Store(S.MultiplyAdd(S.Subtract(keep, one), far, S.Multiply(S.Load(row + whole), keep)), row + whole);
                V largest = S.Load(row + from);
                for (int j = from + S.Width; j < valid; j += S.Width) largest = S.Max(largest, S.Load(row + j));
                float max = S.MaxElement(largest);
                V shift = S.Broadcast(max), total = S.Zero;
                for (int j = from; j < whole; j += S.Width)
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
                (lse[r], largests[r]) = (sum, max);
                V inverse = S.Broadcast(1 / sum);
                for (int j = from; j < valid; j += S.Width) S.Store(S.Multiply(S.Load(row + j), inverse), row + j);
                for (int j = (valid + S.Width - 1) / S.Width * S.Width; j < sight.Count; j += S.Width) S.Store(S.Zero, row + j);
                new Span<float>(row, lowest).Clear();
            }
            Span<float> sums = new(lse + start, end - start);
            TensorPrimitives.Log(sums, sums);
            TensorPrimitives.Add(sums, new ReadOnlySpan<float>(largests + start, end - start), sums);
        }
    }

    /// <summary>
    /// The gradient of some heads of keys and values of one sequence, with all their query heads, query block by query block.
    /// y, dy and lse begin with the first of those query heads, qkv and dqkv with the sequence's first row.
    /// </summary>
    private readonly struct HeadsGrad(
        AttentionLayout layout, int keyHead, int keyHeads,
        float* qkv, float* y, float* lse, int lseStride, float* dy, float* dqkv, int t, float beta)
    {
        private readonly float* qkv = qkv, y = y, lse = lse, dy = dy, dqkv = dqkv;

        public void Run()
        {
            if (t <= ShortSequence && (!layout.Causal || layout.Reach >= t)) RunShort();
            else RunLong();
        }

        // All scores first, then each gradient in one piece, where it belongs: nothing is copied there and back.
        private void RunShort()
        {
            int d = layout.HeadSize, c = layout.QueryWidth, count = keyHeads * layout.Group, row = layout.Width, block = QueryBlock(t);
            int width = Gemm.PanelWidth, columns = Gemm.Panels(t) * width, across = Gemm.Panels(d) * width;
            float* keys = Scratch.Floats(2L * columns * d + 3L * across * t + 2L * t * columns + 2L * block * d + t);   // Kᵀ (D, T), packed
            float* values = keys + columns * d;                                           // Vᵀ (D, T), packed
            float* keyRows = values + columns * d;                                        // K (T, D), packed
            float* queryRows = keyRows + across * t;                                      // Q (T, D), packed
            float* dyRows = queryRows + across * t;                                       // dy (T, D), packed
            float* p = dyRows + across * t;                                               // (T, T)
            float* ds = p + t * columns;                                                  // (T, T)
            float* q = ds + t * columns;                                                  // (rows, D)
            float* g = q + block * d;                                                     // dy (rows, D)
            float* dot = g + block * d;                                                   // ⟨dy, y⟩ (T)
            float scale = 1 / MathF.Sqrt(d);
            for (int h = 0; h < count; h++)
            {
                int query = (keyHead * layout.Group + h) * d, key = layout.KeyColumn + (keyHead + h / layout.Group) * d;
                int value = key + layout.KeyWidth;
                bool firstOfKeys = h % layout.Group == 0, nextKeys = (h + 1) % layout.Group == 0, isLast = h + 1 == count;
                float* yh = y + h * d, gh = dy + h * d;
                if (firstOfKeys)
                {
                    Gemm.Pack(qkv + key, 1, row, d, t, keys);
                    Gemm.Pack(qkv + value, 1, row, d, t, values);
                    Gemm.Pack(qkv + key, row, 1, t, d, keyRows);
                }
                Gemm.Pack(qkv + query, row, 1, t, d, queryRows);
                Gemm.Pack(gh, c, 1, t, d, dyRows);
                for (int i = 0; i < t; i += block)
                {
                    int rows = Math.Min(block, t - i);
                    Sight sight = Sight.Of(layout, i, rows, t);
                    float* own = qkv + i * row, pi = p + i * columns, dsi = ds + i * columns;
                    Operand queries = RowsOf(own + query, row, rows, d, q), gradients = RowsOf(gh + i * c, c, rows, d, g);
                    Dispatch.Run(new RowDots(gh + i * c, c, yh + i * c, c, d, dot + i), 0, rows);
                    if (!isLast)
                    {
                        Ahead(own + query + d, row, rows, d);
                        Ahead(gh + i * c + d, c, rows, d);
                        Ahead(yh + i * c + d, c, rows, d);
                        if (nextKeys) Ahead(own + key + d, row, rows, d);
                        if (nextKeys) Ahead(own + value + d, row, rows, d);
                    }
                    Gemm.Block(rows, sight.Across, d, queries, keys, (long)width * d, pi, columns, scale);
                    Gemm.Block(rows, sight.Across, d, gradients, values, (long)width * d, dsi, columns);
                    Dispatch.Run(new ScoreGrad(pi, dsi, columns, sight, lse + (long)h * lseStride + i, dot + i, scale), 0, rows);
                    Gemm.Block(
                        rows, d, sight.Count, new(dsi, columns, 1), keyRows, (long)width * t, dqkv + i * row + query, row,
                        1, null, beta != 0);
                }
                // Keys and values get what the queries give them that see them.
                int some = layout.Causal ? block : t;
                for (int j = 0; j < t; j += some)
                {
                    int first = layout.Causal ? j : 0, seen = Math.Min(some, t - j), at = first * columns + j;
                    bool adds = beta != 0 || !firstOfKeys;
                    Gemm.Block(
                        seen, d, t - first, new(ds + at, 1, columns), queryRows + first * width, (long)width * t, dqkv + j * row + key, row,
                        1, null, adds);
                    Gemm.Block(
                        seen, d, t - first, new(p + at, 1, columns), dyRows + first * width, (long)width * t, dqkv + j * row + value, row,
                        1, null, adds);
                }
            }
        }

        private void RunLong()
        {
            int d = layout.HeadSize, c = layout.QueryWidth, count = keyHeads * layout.Group, head = keyHead * layout.Group;
            int width = Gemm.PanelWidth, columns = Gemm.Panels(t) * width, across = Gemm.Panels(d) * width;
            int block = QueryBlock(t), rowsSize = t * d, paddedSize = columns * d, packedSize = columns * d, keyRowsSize = across * t;
            int scoresSize = block * columns, blockSize = block * across;
            float* q = Scratch.Floats(count * (3L * rowsSize + t) + keyHeads * (2L * rowsSize + 2L * paddedSize)
                + 2L * packedSize + keyRowsSize + 2L * scoresSize + 2L * blockSize);
            float* g = q + (long)count * rowsSize;                                        // dy of each head (T, D)
            float* dq = g + (long)count * rowsSize;                                       // (T, D)
            float* dk = dq + (long)count * rowsSize;                                      // (T, D)
            float* dv = dk + (long)keyHeads * rowsSize;                                   // (T, D)
            float* k = dv + (long)keyHeads * rowsSize;                                    // (T, D), padded to whole panels
            float* v = k + (long)keyHeads * paddedSize;                                   // (T, D), padded to whole panels
            float* dot = v + (long)keyHeads * paddedSize;                                 // ⟨dy, y⟩ (T)
            float* keys = dot + (long)count * t;                                          // Kᵀ (D, T), packed
            float* values = keys + packedSize;                                            // Vᵀ (D, T), packed
            float* keyRows = values + packedSize;                                         // K (T, D), packed
            float* p = keyRows + keyRowsSize;                                             // (rows, T)
            float* ds = p + scoresSize;                                                   // (rows, T)
            float* queryRows = ds + scoresSize;                                           // Q (rows, D), packed
            float* dyRows = queryRows + blockSize;                                        // dy (rows, D), packed
            for (int i = 0; i < t; i++)
            {
                float* row = qkv + (long)i * layout.Width;
                Gather(row + head * d, count, d, q + i * d, rowsSize);
                Gather(row + layout.KeyColumn + keyHead * d, keyHeads, d, k + i * d, paddedSize);
                Gather(row + layout.ValueColumn + keyHead * d, keyHeads, d, v + i * d, paddedSize);
                Gather(dy + (long)i * c, count, d, g + i * d, rowsSize);
            }
            for (int h = 0; h < count; h++)
                Dispatch.Run(new RowDots(g + (long)h * rowsSize, d, y + h * d, c, d, dot + (long)h * t), 0, t);
            new Span<float>(dk, 2 * keyHeads * rowsSize).Clear();
            float scale = 1 / MathF.Sqrt(d);
            for (int h = 0; h < count; h++)
            {
                int shared = h / layout.Group;
                float* qh = q + (long)h * rowsSize, gh = g + (long)h * rowsSize, dqh = dq + (long)h * rowsSize;
                float* kh = k + (long)shared * paddedSize, vh = v + (long)shared * paddedSize;
                float* dkh = dk + (long)shared * rowsSize, dvh = dv + (long)shared * rowsSize;
                if (h % layout.Group == 0)
                {
                    new Span<float>(kh + t * d, (columns - t) * d).Clear();
                    new Span<float>(vh + t * d, (columns - t) * d).Clear();
                    Gemm.Pack(kh, 1, d, d, columns, keys);
                    Gemm.Pack(vh, 1, d, d, columns, values);
                    Gemm.Pack(kh, d, 1, t, d, keyRows);
                }
                for (int i = 0; i < t; i += block)
                {
                    int rows = Math.Min(block, t - i);
                    Sight sight = Sight.Of(layout, i, rows, t);
                    int seen = sight.Count, from = sight.From;
                    Gemm.Block(rows, sight.Across, d, new(qh + i * d, d, 1), keys + (long)from * d, (long)width * d, p, columns, scale);
                    Gemm.Block(rows, sight.Across, d, new(gh + i * d, d, 1), values + (long)from * d, (long)width * d, ds, columns);
                    Dispatch.Run(new ScoreGrad(p, ds, columns, sight, lse + (long)h * lseStride + i, dot + h * t + i, scale), 0, rows);
                    Gemm.Pack(qh + i * d, d, 1, rows, d, queryRows);
                    Gemm.Pack(gh + i * d, d, 1, rows, d, dyRows);
                    Gemm.Block(rows, d, seen, new(ds, columns, 1), keyRows + (long)from * width, (long)width * t, dqh + i * d, d);
                    Gemm.Block(seen, d, rows, new(ds, 1, columns), queryRows, (long)width * rows, dkh + from * d, d, 1, null, true);
                    Gemm.Block(seen, d, rows, new(p, 1, columns), dyRows, (long)width * rows, dvh + from * d, d, 1, null, true);
                }
            }
            for (int i = 0; i < t; i++)
            {
                float* row = dqkv + (long)i * layout.Width;
                Scatter(dq + i * d, rowsSize, count, d, row + head * d, beta);
                Scatter(dk + i * d, rowsSize, keyHeads, d, row + layout.KeyColumn + keyHead * d, beta);
                Scatter(dv + i * d, rowsSize, keyHeads, d, row + layout.ValueColumn + keyHead * d, beta);
            }
        }
    }

    /// <summary>Scores → P = exp(score − lse), and dP → dS = P ∘ (dP − dot) · scale; both zero where a query does not see.</summary>
    private readonly struct ScoreGrad(float* p, float* ds, int stride, Sight sight, float* lse, float* dot, float scale) : ISimdLoop
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
                int valid = sight.Valid(r), whole = valid - valid % S.Width, lowest = sight.Lowest(r);
                V shift = S.Broadcast(lse[r]), mean = S.Broadcast(dot[r]), factor = S.Broadcast(scale), keep = S.Broadcast(1f);
                for (int j = lowest - lowest % S.Width; j < sight.Count; j += S.Width)
                {
                    if (j == whole) keep = S.Load(mask + (S.Width - (valid - whole)));
                    else if (j > whole) keep = S.Zero;
                    V probability = S.Multiply(SimdMath.Exp<S, V>(S.Subtract(S.Load(pr + j), shift)), keep);
                    S.Store(probability, pr + j);
                    S.Store(S.Multiply(S.Multiply(probability, S.Subtract(S.Load(dr + j), mean)), factor), dr + j);
                }
                new Span<float>(pr, lowest).Clear();
                new Span<float>(dr, lowest).Clear();
            }
        }
    }

    /// <summary>to[i] = ⟨row i of a, row i of b⟩, in an order that where they lie has no part in.</summary>
    private readonly struct RowDots(float* a, nint aRow, float* b, nint bRow, int d, float* to) : ISimdLoop
    {
        private readonly float* a = a, b = b, to = to;

        public void Run<S, V>(int start, int end) where S : struct, ISimd<V> where V : struct
        {
            for (int i = start; i < end; i++)
            {
                float* left = a + i * aRow, right = b + i * bRow;
                V sums = S.Zero;
                int j = 0;
                for (; j + S.Width <= d; j += S.Width) sums = S.MultiplyAdd(S.Load(left + j), S.Load(right + j), sums);
                float sum = S.Sum(sums);
                for (; j < d; j++) sum = MathF.FusedMultiplyAdd(left[j], right[j], sum);
                to[i] = sum;
            }
        }
    }
}
