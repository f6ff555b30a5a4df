using System.Runtime.CompilerServices;

namespace Nola.Tensors;

public sealed unsafe partial class CpuDevice
{
    private protected override void AttentionCachedCore(
        Tensor qkv, Tensor starts, Tensor rows, Tensor rowStarts, AttentionLayout layout, Tensor keys, Tensor values, Tensor y)
    {
        int sequences = starts.Length - 1;
        int* start = Ints(starts), list = Ints(rows), listStart = Ints(rowStarts);
        int longest = CheckLists(start, sequences, list, listStart, rows.Length, keys.Shape[1]);
        CachedRows loop = new(
            layout, Floats(qkv), start, sequences, list, listStart, Floats(keys), Floats(values), keys.Shape[1], Floats(y), longest);
        // Head by head: sequences that share a prompt follow each other and find its keys in the cache.
        int pieces = layout.KeyValueHeads * sequences;
        team.For(pieces, Math.Clamp(pieces / (8 * team.Threads), 1, 32), (first, last) => Dispatch.Run(loop, first, last));
    }

    // The kernel writes where the lists say.
    private static int CheckLists(int* starts, int sequences, int* list, int* listStarts, int total, int capacity)
    {
        int longest = 0;
        for (int s = 0; s < sequences; s++)
        {
            int length = listStarts[s + 1] - listStarts[s], fresh = starts[s + 1] - starts[s];
            if (fresh < 0 || length < fresh || listStarts[s] < 0 || listStarts[s + 1] > total)
                throw ListUnfit(s, fresh, length, total);
            longest = Math.Max(longest, length);
        }
        for (int i = 0; i < total; i++) CheckIndex(list[i], capacity);
        return longest;
    }

    /// <summary>Pieces head · S + sequence, a head of keys and values with all the query heads that read it.</summary>
    private readonly struct CachedRows(
        AttentionLayout layout, float* qkv, int* starts, int sequences, int* list, int* listStarts,
        float* keys, float* values, int capacity, float* y, int longest) : ISimdLoop
    {
        private readonly float* qkv = qkv, keys = keys, values = values, y = y;
        private readonly int* starts = starts, list = list, listStarts = listStarts;
        private readonly int d = layout.HeadSize;

        public void Run<S, V>(int start, int end) where S : struct, ISimd<V> where V : struct
        {
            float* scores = Scratch.Floats(longest + 32);
            for (int piece = start; piece < end; piece++)
            {
                int g = piece / sequences, s = piece % sequences, first = starts[s], fresh = starts[s + 1] - first;
                int* rows = list + listStarts[s];
                int past = listStarts[s + 1] - listStarts[s] - fresh;
                float* tokens = qkv + (long)first * layout.Width;
                float* k = keys + (long)g * capacity * d, v = values + (long)g * capacity * d;
                for (int i = 0; i < fresh; i++)
                {
                    float* token = tokens + (long)i * layout.Width + g * d;
                    AddRow(token + layout.KeyColumn, k + (long)rows[past + i] * d, d, 0);
                    AddRow(token + layout.ValueColumn, v + (long)rows[past + i] * d, d, 0);
                }
                for (int h = g * layout.Group; h < (g + 1) * layout.Group; h++)
                    for (int i = 0; i < fresh; i++)
                        Attend<S, V>(
                            tokens + (long)i * layout.Width + h * d, k, v, rows, past + i, past + fresh, scores,
                            y + (long)(first + i) * layout.QueryWidth + h * d);
            }
        }

        // One query, at its position in a list of so many rows.
        private void Attend<S, V>(float* q, float* k, float* v, int* rows, int position, int length, float* scores, float* y)
            where S : struct, ISimd<V> where V : struct
        {
            int lowest = Math.Max(0, position + 1 - layout.Reach), seen = (layout.Causal ? position + 1 : length) - lowest;
            rows += lowest;
            float lse;
            Score<S, V>(q, k, rows, seen, scores);
            new Span<float>(scores + seen, 32).Clear();
            new MaskedSoftmax(scores, seen + 32, Sight.All(seen), &lse).Run<S, V>(0, 1);
            Mix<S, V>(scores, v, rows, seen, y);
        }

        // Four keys at a time, each summed in the same order as alone.
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private void Score<S, V>(float* q, float* k, int* rows, int seen, float* scores) where S : struct, ISimd<V> where V : struct
        {
            float scale = 1 / MathF.Sqrt(d);
            int body = d - d % S.Width, j = 0;
            for (; j + 4 <= seen; j += 4)
            {
                float* k0 = k + (long)rows[j] * d, k1 = k + (long)rows[j + 1] * d;
                float* k2 = k + (long)rows[j + 2] * d, k3 = k + (long)rows[j + 3] * d;
                V s0 = S.Zero, s1 = S.Zero, s2 = S.Zero, s3 = S.Zero;
                for (int x = 0; x < body; x += S.Width)
                {
                    V query = S.Load(q + x);
                    s0 = S.MultiplyAdd(query, S.Load(k0 + x), s0);
                    s1 = S.MultiplyAdd(query, S.Load(k1 + x), s1);
                    s2 = S.MultiplyAdd(query, S.Load(k2 + x), s2);
                    s3 = S.MultiplyAdd(query, S.Load(k3 + x), s3);
                }
                scores[j] = scale * (S.Sum(s0) + Rest(q, k0, body));
                scores[j + 1] = scale * (S.Sum(s1) + Rest(q, k1, body));
                scores[j + 2] = scale * (S.Sum(s2) + Rest(q, k2, body));
                scores[j + 3] = scale * (S.Sum(s3) + Rest(q, k3, body));
            }
            for (; j < seen; j++)
            {
                float* kj = k + (long)rows[j] * d;
                V sum = S.Zero;
                for (int x = 0; x < body; x += S.Width) sum = S.MultiplyAdd(S.Load(q + x), S.Load(kj + x), sum);
                scores[j] = scale * (S.Sum(sum) + Rest(q, kj, body));
            }
        }

        private float Rest(float* a, float* b, int from)
        {
            float sum = 0;
            for (int x = from; x < d; x++) sum += a[x] * b[x];
            return sum;
        }

        // y = Σ p · v, four vectors of y at a time.
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private void Mix<S, V>(float* p, float* v, int* rows, int seen, float* y) where S : struct, ISimd<V> where V : struct
        {
            int x = 0;
            for (; x + 4 * S.Width <= d; x += 4 * S.Width)
            {
                V y0 = S.Zero, y1 = S.Zero, y2 = S.Zero, y3 = S.Zero;
                for (int j = 0; j < seen; j++)
                {
                    V weight = S.Broadcast(p[j]);
                    float* from = v + (long)rows[j] * d + x;
                    y0 = S.MultiplyAdd(weight, S.Load(from), y0);
                    y1 = S.MultiplyAdd(weight, S.Load(from + S.Width), y1);
                    y2 = S.MultiplyAdd(weight, S.Load(from + 2 * S.Width), y2);
                    y3 = S.MultiplyAdd(weight, S.Load(from + 3 * S.Width), y3);
                }
                S.Store(y0, y + x);
                S.Store(y1, y + x + S.Width);
                S.Store(y2, y + x + 2 * S.Width);
                S.Store(y3, y + x + 3 * S.Width);
            }
            for (; x + S.Width <= d; x += S.Width)
            {
                V sum = S.Zero;
                for (int j = 0; j < seen; j++) sum = S.MultiplyAdd(S.Broadcast(p[j]), S.Load(v + (long)rows[j] * d + x), sum);
                S.Store(sum, y + x);
            }
            for (; x < d; x++)
            {
                float sum = 0;
                for (int j = 0; j < seen; j++) sum += p[j] * v[(long)rows[j] * d + x];
                y[x] = sum;
            }
        }
    }
}
