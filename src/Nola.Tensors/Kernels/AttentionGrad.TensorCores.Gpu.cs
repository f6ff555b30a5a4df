using System.Runtime.CompilerServices;
using ILGPU;

namespace Nola.Tensors;

/// <summary>
/// The gradient of attention on tensor cores, once by queries and once by keys, as in <see cref="AttentionGradKernels"/>. A
/// block has 64 rows of its own side, a warp 16, whose two operands stay in registers; the other side streams by, 32 rows
/// of both its operands in each of three slots of shared memory. P and dS of 16 × 16 come to be in a warp's registers and
/// are there rounded to the left operand of what they are summed with; no warp waits for another's.
/// </summary>
internal static class TensorAttentionGradKernels
{
    // Rows of a slot, and those that P and dS are made of at once.
    private const int Stream = 32, Step = 16;

    private const float Log2E = 1.44269504f;

    /// <summary>Rounds dy, and notes log₂ of the sum of exponentials and ⟨dy, y⟩ of each row's head; eight elements a thread.</summary>
    [Kernel(256)]
    public static void Prepare64(ArrayView<float> y, ArrayView<float> dy, ArrayView<float> lse, ArrayView<Word4> dys, ArrayView<Float2> rows, AttentionShape s) =>
        Prepare<Head64>(y, dy, lse, dys, rows, s);

    [Kernel(256)]
    public static void Prepare128(ArrayView<float> y, ArrayView<float> dy, ArrayView<float> lse, ArrayView<Word4> dys, ArrayView<Float2> rows, AttentionShape s) =>
        Prepare<Head128>(y, dy, lse, dys, rows, s);

    [Kernel(AttentionPanels.Threads, 4)]
    public static void Queries64(
        ArrayView<Word4> x, ArrayView<Word4> dys, ArrayView<Float2> rows, ArrayView<int> starts, ArrayView<float> dqkv, AttentionShape s, float beta) =>
        Queries<Head64>(SharedMemory.Allocate<Word4>(3 * AttentionPanels.Panel), x, dys, rows, starts, dqkv, s, beta);

    [Kernel(AttentionPanels.Threads, 2)]
    public static void Queries128(
        ArrayView<Word4> x, ArrayView<Word4> dys, ArrayView<Float2> rows, ArrayView<int> starts, ArrayView<float> dqkv, AttentionShape s, float beta) =>
        Queries<Head128>(SharedMemory.Allocate<Word4>(6 * AttentionPanels.Panel), x, dys, rows, starts, dqkv, s, beta);

    [Kernel(AttentionPanels.Threads, 3)]
    public static void Keys64(
        ArrayView<Word4> x, ArrayView<Word4> dys, ArrayView<Float2> rows, ArrayView<int> starts, ArrayView<float> dqkv, AttentionShape s, float beta) =>
        Keys<Head64>(SharedMemory.Allocate<Word4>(3 * AttentionPanels.Panel), x, dys, rows, starts, dqkv, s, beta);

    [Kernel(AttentionPanels.Threads, 2)]
    public static void Keys128(
        ArrayView<Word4> x, ArrayView<Word4> dys, ArrayView<Float2> rows, ArrayView<int> starts, ArrayView<float> dqkv, AttentionShape s, float beta) =>
        Keys<Head128>(SharedMemory.Allocate<Word4>(6 * AttentionPanels.Panel), x, dys, rows, starts, dqkv, s, beta);

    private static void Prepare<THead>(ArrayView<float> y, ArrayView<float> dy, ArrayView<float> lse, ArrayView<Word4> dys, ArrayView<Float2> rows, AttentionShape s)
        where THead : struct, IHead
    {
        int chunk = Grid.IdxX * Group.DimX + Group.IdxX, chunks = (int)dys.Length;
        long at = 2L * IntrinsicMath.Min(chunk, chunks - 1);
        Float4 low = dy.Cast<Float4>()[at], high = dy.Cast<Float4>()[at + 1];
        float dot = Float4.Dot(low, y.Cast<Float4>()[at]) + Float4.Dot(high, y.Cast<Float4>()[at + 1]);
        dot = THead.Panels == 1 ? GpuIntrinsics.SumOfEight(dot) : GpuIntrinsics.SumOfSixteen(dot);
        if (chunk >= chunks) return;
        dys[chunk] = AttentionPanels.Round(low, high);
        if ((chunk & (8 * THead.Panels - 1)) != 0) return;
        int place = chunk / (8 * THead.Panels), to = place % s.Heads * s.Rows + place / s.Heads;
        rows[to] = Float2.Of(lse[to] * Log2E, dot);
    }

    private static void Queries<THead>(
        ArrayView<Word4> ring, ArrayView<Word4> x, ArrayView<Word4> dys, ArrayView<Float2> rows, ArrayView<int> starts, ArrayView<float> dqkv, AttentionShape s, float beta)
        where THead : struct, IHead
    {
        // Tiles with many keys first, so that the last blocks to start are short.
        int block = Grid.DimX - 1 - Grid.IdxX, head = block % s.Heads, slot = block / s.Heads, c = s.Channels / 8, column = head * THead.Panels * 8;
        int sequence = GpuMath.SequenceOfSlot(starts, slot, AttentionPanels.Rows), begin = starts[sequence], end = starts[sequence + 1];
        int first = begin + (slot - begin / AttentionPanels.Rows - sequence) * AttentionPanels.Rows;
        if (first >= end) return;
        int lane = Group.IdxX & 31, own = Group.IdxX / 32 * 16, row = first + own, keys = IntrinsicMath.Min(first + AttentionPanels.Rows, end);
        int here = 0, next = THead.Panels * AttentionPanels.Panel, last = 2 * next, half = next / 2;
        AttentionPanels.Copy<THead>(ring, next, AttentionPanels.Rows, x, first, end, 3 * c, column);
        AttentionPanels.Copy<THead>(ring, last, AttentionPanels.Rows, dys, first, end, c, column);
        Copy<THead>(ring, here, half, x, 3 * c, c + column, x, 3 * c, 2 * c + column, begin, end);
        GpuIntrinsics.CommitCopies();
        GpuIntrinsics.CommitCopies();
        GpuIntrinsics.WaitForCopies();
        Group.Barrier();
        Word4x4 q0 = AttentionPanels.Left(ring, next, own), dy0 = AttentionPanels.Left(ring, last, own), q1 = default, dy1 = default;
        if (THead.Panels == 2)
        {
            q1 = AttentionPanels.Left(ring, next + AttentionPanels.Panel, own);
            dy1 = AttentionPanels.Left(ring, last + AttentionPanels.Panel, own);
        }
        Group.Barrier();
        if (begin + Stream < keys) Copy<THead>(ring, next, half, x, 3 * c, c + column, x, 3 * c, 2 * c + column, begin + Stream, end);
        GpuIntrinsics.CommitCopies();
        int at = head * s.Rows + IntrinsicMath.Min(row + lane / 4, end - 1), below = head * s.Rows + IntrinsicMath.Min(row + lane / 4 + 8, end - 1);
        Float2 upper = rows[at], lower = rows[below];
        Float4x8 dq0 = default, dq1 = default;
        float scale = s.Scale * Log2E;
        // The last keys of a warp with queries are those with the queries' own numbers.
        int until = row < end ? row : begin - 1;
        for (int k = begin; k < keys; k += Stream)
        {
            GpuIntrinsics.WaitForCopies();
            Group.Barrier();
            if (k + 2 * Stream < keys) Copy<THead>(ring, last, half, x, 3 * c, c + column, x, 3 * c, 2 * c + column, k + 2 * Stream, end);
            GpuIntrinsics.CommitCopies();
            for (int j = 0; j < Stream && k + j <= until; j += Step)
            {
                Float4x2 score = Dots<THead>(q0, q1, ring, here, j), dp = Dots<THead>(dy0, dy1, ring, here + half, j);
                if (k + j == row) score = Masked(score, 2 * (lane & 3) - lane / 4);
                Float4 near = AttentionPanels.Exponentials(score.A, scale, upper.X, upper.X, lower.X, lower.X);
                Float4 far = AttentionPanels.Exponentials(score.B, scale, upper.X, upper.X, lower.X, lower.X);
                Float4 dot = Float4.Of(-upper.Y, -upper.Y, -lower.Y, -lower.Y);
                Word4 ds = AttentionPanels.Pack(near * (dp.A + dot), far * (dp.B + dot));
                dq0 = AttentionPanels.AddProduct(dq0, ds, ring, here, j);
                if (THead.Panels == 2) dq1 = AttentionPanels.AddProduct(dq1, ds, ring, here + half / 2, j);
            }
            int free = here;
            here = next;
            next = last;
            last = free;
        }
        Float2 each = Float2.Of(s.Scale, s.Scale);
        row += lane / 4;
        AttentionPanels.Store(dqkv, dq0, each, row, end, 3 * s.Channels, 8 * column, beta);
        if (THead.Panels == 2) AttentionPanels.Store(dqkv, dq1, each, row, end, 3 * s.Channels, 8 * column + 64, beta);
    }

    private static void Keys<THead>(
        ArrayView<Word4> ring, ArrayView<Word4> x, ArrayView<Word4> dys, ArrayView<Float2> rows, ArrayView<int> starts, ArrayView<float> dqkv, AttentionShape s, float beta)
        where THead : struct, IHead
    {
        int head = Grid.IdxX % s.Heads, slot = Grid.IdxX / s.Heads, c = s.Channels / 8, column = head * THead.Panels * 8;
        int sequence = GpuMath.SequenceOfSlot(starts, slot, AttentionPanels.Rows), begin = starts[sequence], end = starts[sequence + 1];
        int first = begin + (slot - begin / AttentionPanels.Rows - sequence) * AttentionPanels.Rows;
        if (first >= end) return;
        int lane = Group.IdxX & 31, own = Group.IdxX / 32 * 16, row = first + own;
        int here = 0, next = THead.Panels * AttentionPanels.Panel, last = 2 * next, half = next / 2;
        AttentionPanels.Copy<THead>(ring, next, AttentionPanels.Rows, x, first, end, 3 * c, c + column);
        AttentionPanels.Copy<THead>(ring, last, AttentionPanels.Rows, x, first, end, 3 * c, 2 * c + column);
        Copy<THead>(ring, here, half, x, 3 * c, column, dys, c, column, first, end);
        GpuIntrinsics.CommitCopies();
        GpuIntrinsics.CommitCopies();
        GpuIntrinsics.WaitForCopies();
        Group.Barrier();
        Word4x4 k0 = AttentionPanels.Left(ring, next, own), v0 = AttentionPanels.Left(ring, last, own), k1 = default, v1 = default;
        if (THead.Panels == 2)
        {
            k1 = AttentionPanels.Left(ring, next + AttentionPanels.Panel, own);
            v1 = AttentionPanels.Left(ring, last + AttentionPanels.Panel, own);
        }
        Group.Barrier();
        if (first + Stream < end) Copy<THead>(ring, next, half, x, 3 * c, column, dys, c, column, first + Stream, end);
        GpuIntrinsics.CommitCopies();
        Float4x8 dk0 = default, dk1 = default, dv0 = default, dv1 = default;
        float scale = s.Scale * Log2E;
        for (int i = first; i < end; i += Stream)
        {
            GpuIntrinsics.WaitForCopies();
            Group.Barrier();
            if (i + 2 * Stream < end) Copy<THead>(ring, last, half, x, 3 * c, column, dys, c, column, i + 2 * Stream, end);
            GpuIntrinsics.CommitCopies();
            for (int q = IntrinsicMath.Max(i, row); q < i + Stream && q < end; q += Step)
            {
                int j = q - i, query = q + 2 * (lane & 3), at = head * s.Rows;
                Float2 a = Row(rows, at, query, end), b = Row(rows, at, query + 1, end), e = Row(rows, at, query + 8, end), f = Row(rows, at, query + 9, end);
                Float4x2 score = Dots<THead>(k0, k1, ring, here, j), dp = Dots<THead>(v0, v1, ring, here + half, j);
                // Here rows are keys and columns are queries: what is masked lies on the other side.
                if (q == row) score = MaskedBelow(score, lane / 4 - 2 * (lane & 3));
                Float4 near = AttentionPanels.Exponentials(score.A, scale, a.X, b.X, a.X, b.X), far = AttentionPanels.Exponentials(score.B, scale, e.X, f.X, e.X, f.X);
                Word4 p = AttentionPanels.Pack(near, far);
                dv0 = AttentionPanels.AddProduct(dv0, p, ring, here + half, j);
                if (THead.Panels == 2) dv1 = AttentionPanels.AddProduct(dv1, p, ring, here + half + half / 2, j);
                Word4 ds = AttentionPanels.Pack(near * (dp.A + Float4.Of(-a.Y, -b.Y, -a.Y, -b.Y)), far * (dp.B + Float4.Of(-e.Y, -f.Y, -e.Y, -f.Y)));
                dk0 = AttentionPanels.AddProduct(dk0, ds, ring, here, j);
                if (THead.Panels == 2) dk1 = AttentionPanels.AddProduct(dk1, ds, ring, here + half / 2, j);
            }
            int free = here;
            here = next;
            next = last;
            last = free;
        }
        Float2 each = Float2.Of(s.Scale, s.Scale), one = Float2.Of(1, 1);
        row += lane / 4;
        AttentionPanels.Store(dqkv, dk0, each, row, end, 3 * s.Channels, s.Channels + 8 * column, beta);
        AttentionPanels.Store(dqkv, dv0, one, row, end, 3 * s.Channels, 2 * s.Channels + 8 * column, beta);
        if (THead.Panels == 1) return;
        AttentionPanels.Store(dqkv, dk1, each, row, end, 3 * s.Channels, s.Channels + 8 * column + 64, beta);
        AttentionPanels.Store(dqkv, dv1, one, row, end, 3 * s.Channels, 2 * s.Channels + 8 * column + 64, beta);
    }

    // A slot: rows first … + 31 of two operands, half a slot each.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Copy<THead>(
        ArrayView<Word4> ring, int at, int half, ArrayView<Word4> a, int pitchA, int columnA, ArrayView<Word4> b, int pitchB, int columnB, int first, int end)
        where THead : struct, IHead
    {
        AttentionPanels.Copy<THead>(ring, at, Stream, a, first, end, pitchA, columnA);
        AttentionPanels.Copy<THead>(ring, at + half, Stream, b, first, end, pitchB, columnB);
    }

    // 16 rows of a warp's operand times the 16 rows from row on of one that streams by.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4x2 Dots<THead>(Word4x4 a0, Word4x4 a1, ArrayView<Word4> ring, int at, int row)
        where THead : struct, IHead
    {
        Float4x2 sums = Dots(default, a0, ring, at, row);
        if (THead.Panels == 2) sums = Dots(sums, a1, ring, at + Stream * 8, row);
        return sums;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4x2 Dots(Float4x2 sums, Word4x4 a, ArrayView<Word4> ring, int at, int row)
    {
        sums = AttentionPanels.AddDots(sums, a.A, ring, at, row, 0);
        sums = AttentionPanels.AddDots(sums, a.B, ring, at, row, 1);
        sums = AttentionPanels.AddDots(sums, a.C, ring, at, row, 2);
        return AttentionPanels.AddDots(sums, a.D, ring, at, row, 3);
    }

    // log₂ of a query's sum of exponentials and its ⟨dy, y⟩; beyond the end of its sequence what makes P zero.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float2 Row(ArrayView<Float2> rows, int head, int query, int end)
    {
        Float2 none = Float2.Of(float.PositiveInfinity, 0);
        return query < end ? rows[head + query] : none;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4x2 Masked(Float4x2 score, int ahead)
    {
        score.A = AttentionPanels.Masked(score.A, ahead);
        score.B = AttentionPanels.Masked(score.B, ahead + 8);
        return score;
    }

    // The same where rows are keys: behind is how far the lane's first key lies after its first query.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4x2 MaskedBelow(Float4x2 score, int ahead)
    {
        score.A = MaskedBelow(score.A, ahead);
        score.B = MaskedBelow(score.B, ahead - 8);
        return score;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 MaskedBelow(Float4 score, int ahead)
    {
        if (ahead > 0) score.X = float.NegativeInfinity;
        if (ahead > 1) score.Y = float.NegativeInfinity;
        if (ahead > -8) score.Z = float.NegativeInfinity;
        if (ahead > -7) score.W = float.NegativeInfinity;
        return score;
    }
}
