using ILGPU;

namespace Nola.Tensors;

/// <summary>
/// The gradient of attention, twice over the score tiles: once with blocks of queries, which sum dq, and once with blocks
/// of keys, which sum dk and dv. Making P again costs two of seven products, and no two blocks add to one element, so the
/// result has one set of bits without atomics; query heads that share keys follow each other in a block of keys. A block
/// has 16 rows, a warp two; the other side streams by, 32 rows at a time.
/// </summary>
internal static class AttentionGradKernels
{
    /// <summary>Rows of a block.</summary>
    public const int RowsOfBlock = 16;

    private const float Log2E = 1.44269504f;

    [Kernel(256, 2)]
    public static void Queries(
        ArrayView<float> qkv, ArrayView<int> starts, ArrayView<float> lse, ArrayView<float> dots,
        ArrayView<float> dy, ArrayView<float> dqkv, AttentionShape s, float beta)
    {
        ArrayView<Float4> queries = SharedMemory.Allocate<Float4>(RowsOfBlock * AttentionKernels.Pitch);
        ArrayView<Float4> grads = SharedMemory.Allocate<Float4>(RowsOfBlock * AttentionKernels.Pitch);
        ArrayView<Float4> stream = SharedMemory.Allocate<Float4>(AttentionKernels.Keys * AttentionKernels.Pitch);
        ArrayView<Float2> weights = SharedMemory.Allocate<Float2>(256);
        int sequence = GpuMath.SequenceOfSlot(starts, Grid.IdxX, RowsOfBlock);
        int head = Grid.IdxY * s.Size, keys = s.Channels + Grid.IdxY / s.Group * s.Size;
        int begin = starts[sequence], end = starts[sequence + 1];
        int first = begin + (Grid.IdxX - begin / RowsOfBlock - sequence) * RowsOfBlock;
        if (first >= end) return;
        int lane = Group.IdxX & 31, warp = Group.IdxX / 32, own = 2 * warp, row = first + own;
        AttentionTiles.Load(queries, RowsOfBlock, qkv, first, end, s.Width, head, s);
        AttentionTiles.Load(grads, RowsOfBlock, dy, first, end, s.Channels, head, s);
        int at = Grid.IdxY * s.Rows + IntrinsicMath.Min(row, end - 1), next = Grid.IdxY * s.Rows + IntrinsicMath.Min(row + 1, end - 1);
        float lse0 = lse[at] * Log2E, lse1 = lse[next] * Log2E, dot0 = dots[at], dot1 = dots[next];
        Float4 dq0 = default, dq1 = default;
        int until = IntrinsicMath.Min(first + RowsOfBlock + s.Ahead, end);
        for (int k = s.FirstKey(begin, first); k < until; k += AttentionKernels.Keys)
        {
            Group.Barrier();
            AttentionTiles.Load(stream, AttentionKernels.Keys, qkv, k, end, s.Width, keys + s.KeyWidth, s);
            Group.Barrier();
            Float2 dp = TwoDots(grads, own, stream, lane, s.Quarters);
            Group.Barrier();
            AttentionTiles.Load(stream, AttentionKernels.Keys, qkv, k, end, s.Width, keys, s);
            Group.Barrier();
            Float2 score = TwoDots(queries, own, stream, lane, s.Quarters);
            int key = k + lane;
            float ds0 = s.Sees(row, key, end) ? GpuIntrinsics.Exp2(score.X * (s.Scale * Log2E) - lse0) * (dp.X - dot0) * s.Scale : 0;
            float ds1 = s.Sees(row + 1, key, end) ? GpuIntrinsics.Exp2(score.Y * (s.Scale * Log2E) - lse1) * (dp.Y - dot1) * s.Scale : 0;
            weights[Group.IdxX] = Float2.Of(ds0, ds1);
            Group.Barrier();
            Sum(ref dq0, ref dq1, weights, 32 * warp, stream.Cast<float>(), lane, s.Size);
        }
        if (row < end) AttentionTiles.StoreColumns(dqkv, (long)row * s.Width + head, dq0, lane, s.Size, beta);
        if (row + 1 < end) AttentionTiles.StoreColumns(dqkv, (long)(row + 1) * s.Width + head, dq1, lane, s.Size, beta);
    }

    [Kernel(256, 2)]
    public static void Keys(
        ArrayView<float> qkv, ArrayView<int> starts, ArrayView<float> lse, ArrayView<float> dots,
        ArrayView<float> dy, ArrayView<float> dqkv, AttentionShape s, float beta)
    {
        ArrayView<Float4> keys = SharedMemory.Allocate<Float4>(RowsOfBlock * AttentionKernels.Pitch);
        ArrayView<Float4> values = SharedMemory.Allocate<Float4>(RowsOfBlock * AttentionKernels.Pitch);
        ArrayView<Float4> stream = SharedMemory.Allocate<Float4>(AttentionKernels.Keys * AttentionKernels.Pitch);
        ArrayView<Float2> weights = SharedMemory.Allocate<Float2>(256), scoreGrads = SharedMemory.Allocate<Float2>(256);
        int sequence = GpuMath.SequenceOfSlot(starts, Grid.IdxX, RowsOfBlock), column = s.Channels + Grid.IdxY * s.Size;
        int begin = starts[sequence], end = starts[sequence + 1];
        int first = begin + (Grid.IdxX - begin / RowsOfBlock - sequence) * RowsOfBlock;
        if (first >= end) return;
        int lane = Group.IdxX & 31, warp = Group.IdxX / 32, own = 2 * warp, row = first + own;
        AttentionTiles.Load(keys, RowsOfBlock, qkv, first, end, s.Width, column, s);
        AttentionTiles.Load(values, RowsOfBlock, qkv, first, end, s.Width, column + s.KeyWidth, s);
        Float4 dk0 = default, dk1 = default, dv0 = default, dv1 = default;
        int from = IntrinsicMath.Max(begin, first - s.Ahead), until = IntrinsicMath.Min(first + RowsOfBlock + s.Behind, end);
        for (int head = Grid.IdxY * s.Group; head < (Grid.IdxY + 1) * s.Group; head++)
            for (int i = from; i < until; i += AttentionKernels.Keys)
            {
                int query = i + lane, at = head * s.Rows + IntrinsicMath.Min(query, end - 1);
                float shift = lse[at] * Log2E, dot = dots[at];
                Group.Barrier();
                AttentionTiles.Load(stream, AttentionKernels.Keys, qkv, i, end, s.Width, head * s.Size, s);
                Group.Barrier();
                Float2 score = TwoDots(keys, own, stream, lane, s.Quarters);
                float p0 = s.Sees(query, row, end) ? GpuIntrinsics.Exp2(score.X * (s.Scale * Log2E) - shift) : 0;
                float p1 = s.Sees(query, row + 1, end) ? GpuIntrinsics.Exp2(score.Y * (s.Scale * Log2E) - shift) : 0;
                Group.Barrier();
                AttentionTiles.Load(stream, AttentionKernels.Keys, dy, i, end, s.Channels, head * s.Size, s);
                Group.Barrier();
                Float2 dp = TwoDots(values, own, stream, lane, s.Quarters);
                weights[Group.IdxX] = Float2.Of(p0, p1);
                scoreGrads[Group.IdxX] = Float2.Of(p0 * (dp.X - dot) * s.Scale, p1 * (dp.Y - dot) * s.Scale);
                Group.Barrier();
                Sum(ref dv0, ref dv1, weights, 32 * warp, stream.Cast<float>(), lane, s.Size);
                Group.Barrier();
                AttentionTiles.Load(stream, AttentionKernels.Keys, qkv, i, end, s.Width, head * s.Size, s);
                Group.Barrier();
                Sum(ref dk0, ref dk1, scoreGrads, 32 * warp, stream.Cast<float>(), lane, s.Size);
            }
        for (int r = 0; r < 2 && row + r < end; r++)
        {
            long to = (long)(row + r) * s.Width + column;
            AttentionTiles.StoreColumns(dqkv, to, r == 0 ? dk0 : dk1, lane, s.Size, beta);
            AttentionTiles.StoreColumns(dqkv, to + s.KeyWidth, r == 0 ? dv0 : dv1, lane, s.Size, beta);
        }
    }

    /// <summary>
    /// dk and dv of the heads that groups of query heads share: the sums of what each of these gave, which parts has in rows of
    /// dk of all query heads and dv of all. Four columns a thread.
    /// </summary>
    [Kernel(256)]
    public static void SumGroups(ArrayView<Float4> parts, ArrayView<int> starts, ArrayView<Float4> dqkv, AttentionShape s, float beta)
    {
        int across = s.KeyWidth / 2, quarters = s.Size / 4, index = Grid.IdxX * Group.DimX + Group.IdxX;
        int row = index / across, column = index - row * across;
        if (row < starts[0] || row >= starts[starts.IntLength - 1]) return;
        // The heads of v follow those of k on both sides.
        int head = column / quarters, from = row * (s.GradPitch / 4) + head * (s.Group - 1) * quarters + column;
        Float4 sum = parts[from];
        for (int member = 1; member < s.Group; member++) sum += parts[from + member * quarters];
        int to = row * (s.Width / 4) + s.Channels / 4 + column;
        dqkv[to] = beta == 0 ? sum : sum + dqkv[to];
    }

    private static Float2 TwoDots(ArrayView<Float4> a, int own, ArrayView<Float4> b, int lane, int quarters)
    {
        Float2 dots = default;
        int at = own * AttentionKernels.Pitch, to = lane * AttentionKernels.Pitch;
        for (int d = 0; d < quarters; d++)
        {
            Float4 v = b[to + d];
            dots.X += Float4.Dot(v, a[at + d]);
            dots.Y += Float4.Dot(v, a[at + AttentionKernels.Pitch + d]);
        }
        return dots;
    }

    // Adds the 32 rows of a tile, weighted, to the sums of a warp's two rows.
    private static void Sum(
        ref Float4 first, ref Float4 second, ArrayView<Float2> weights, int at, ArrayView<float> tile, int lane, int size)
    {
        for (int j = 0; j < 32; j++)
        {
            Float2 w = weights[at + j];
            Float4 v = AttentionTiles.LaneColumns(tile, 4 * AttentionKernels.Pitch * j + lane, size);
            first += v * w.X;
            second += v * w.Y;
        }
    }
}
