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

    /// <summary>
    /// Rounds dy, and notes log₂ of the sum of exponentials and ⟨rounded dy, y⟩ of each row's head, by tiles: for the rows that a tile
    /// has beyond the end of its sequence, what makes P zero.
    /// </summary>
    [Kernel(256)]
    public static void Prepare64(
        ArrayView<float> y, ArrayView<float> dy, ArrayView<float> lse, ArrayView<int> starts,
        ArrayView<Word4> dys, ArrayView<Float2> numbers, AttentionShape s) =>
        Prepare<Head64>(y, dy, lse, starts, dys, numbers, s);

    [Kernel(256)]
    public static void Prepare128(
        ArrayView<float> y, ArrayView<float> dy, ArrayView<float> lse, ArrayView<int> starts,
        ArrayView<Word4> dys, ArrayView<Float2> numbers, AttentionShape s) =>
        Prepare<Head128>(y, dy, lse, starts, dys, numbers, s);

    [Kernel(AttentionPanels.Threads, 4)]
    public static void Queries64(
        ArrayView<Word4> x, ArrayView<Word4> dys, ArrayView<Float2> numbers,
        ArrayView<int> starts, ArrayView<float> dqkv, AttentionShape s, float beta) =>
        Queries<Head64>(SharedMemory.Allocate<Word4>(3 * AttentionPanels.Panel), x, dys, numbers, starts, dqkv, s, beta);

    [Kernel(AttentionPanels.Threads, 2)]
    public static void Queries128(
        ArrayView<Word4> x, ArrayView<Word4> dys, ArrayView<Float2> numbers,
        ArrayView<int> starts, ArrayView<float> dqkv, AttentionShape s, float beta) =>
        Queries<Head128>(SharedMemory.Allocate<Word4>(6 * AttentionPanels.Panel), x, dys, numbers, starts, dqkv, s, beta);

    [Kernel(AttentionPanels.Threads, 3)]
    public static void Keys64(
        ArrayView<Word4> x, ArrayView<Word4> dys, ArrayView<Float4> numbers,
        ArrayView<int> starts, ArrayView<float> dqkv, AttentionShape s, float beta) =>
        Keys<Head64>(SharedMemory.Allocate<Word4>(3 * AttentionPanels.Panel), x, dys, numbers, starts, dqkv, s, beta);

    [Kernel(AttentionPanels.Threads, 2)]
    public static void Keys128(
        ArrayView<Word4> x, ArrayView<Word4> dys, ArrayView<Float4> numbers,
        ArrayView<int> starts, ArrayView<float> dqkv, AttentionShape s, float beta) =>
        Keys<Head128>(SharedMemory.Allocate<Word4>(6 * AttentionPanels.Panel), x, dys, numbers, starts, dqkv, s, beta);

    private static void Prepare<THead>(
        ArrayView<float> y, ArrayView<float> dy, ArrayView<float> lse, ArrayView<int> starts,
        ArrayView<Word4> dys, ArrayView<Float2> numbers, AttentionShape s)
        where THead : struct, IHead
    {
        AttentionTile tile = AttentionPanels.TileOf(Grid.IdxX, starts, s);
        if (tile.First >= tile.End) return;
        int across = 8 * THead.Panels, place = Group.IdxX & (across - 1), to = tile.Number * AttentionPanels.Rows;
        for (int r = Group.IdxX / across; r < AttentionPanels.Rows; r += 256 / across)
        {
            int row = tile.First + r, at = row * (s.Channels / 8) + tile.Head * across + place;
            float dot = 0;
            if (row < tile.End)
            {
                ArrayView<Float4> dy4 = dy.Cast<Float4>(), y4 = y.Cast<Float4>();
                Word4 halves = GpuIntrinsics.PackHalves(dy4[2L * at], dy4[2L * at + 1]);
                dys[at] = halves;
                // Of the rounded dy, as in dP: a row of dS must sum to zero.
                dot = Float4.Dot(Wide(halves.X, halves.Y), y4[2L * at]) + Float4.Dot(Wide(halves.Z, halves.W), y4[2L * at + 1]);
            }
            dot = THead.Panels == 1 ? GpuIntrinsics.SumOfEight(dot) : GpuIntrinsics.SumOfSixteen(dot);
            if (place == 0)
                numbers[to + r] = Float2.Of(row < tile.End ? lse[tile.Head * s.Rows + row] * Log2E : float.PositiveInfinity, dot);
        }
    }

    private static void Queries<THead>(
        ArrayView<Word4> ring, ArrayView<Word4> x, ArrayView<Word4> dys, ArrayView<Float2> numbers,
        ArrayView<int> starts, ArrayView<float> dqkv, AttentionShape s, float beta)
        where THead : struct, IHead
    {
        // Tiles with many keys first, so that the last blocks to start are short.
        AttentionTile tile = AttentionPanels.TileOf(Grid.DimX - 1 - Grid.IdxX, starts, s);
        int first = tile.First, end = tile.End;
        if (first >= end) return;
        AttentionColumns columns = AttentionPanels.ColumnsOf<THead>(tile.Head, s);
        int keys = s.Ahead == 0 ? IntrinsicMath.Min(first + AttentionPanels.Rows, end) : end;
        int lane = Group.IdxX & 31, own = Group.IdxX / 32 * 16, row = first + own;
        int here = 0, slot = THead.Panels * AttentionPanels.Panel;
        AttentionPanels.Copy<THead>(ring, slot, AttentionPanels.Rows, x, first, end, columns.Pitch, columns.Query);
        AttentionPanels.Copy<THead>(ring, 2 * slot, AttentionPanels.Rows, dys, first, end, s.Channels / 8, columns.Query);
        Copy<THead>(ring, here, x, columns.Pitch, columns.Key, x, columns.Pitch, columns.Value, tile.Begin, end);
        Operands operands = Own<THead>(ring, slot, 2 * slot, own);
        if (tile.Begin + Stream < keys)
            Copy<THead>(ring, slot, x, columns.Pitch, columns.Key, x, columns.Pitch, columns.Value, tile.Begin + Stream, end);
        GpuIntrinsics.CommitCopies();
        Float2 upper = numbers[tile.Number * AttentionPanels.Rows + own + lane / 4];
        Float2 lower = numbers[tile.Number * AttentionPanels.Rows + own + lane / 4 + 8];
        Sums dq = default;
        float scale = s.Scale * Log2E;
        // The last keys that a warp needs are masked: those with its queries' own numbers, or what goes beyond the sequence's
        // end; and it needs none when it has no queries.
        int last = s.Ahead == 0 ? row : tile.Begin + (end - tile.Begin) / Step * Step, until = row < end ? last : tile.Begin;
        for (int k = tile.Begin; k < keys; k += Stream)
        {
            GpuIntrinsics.WaitForCopies();
            Group.Barrier();
            int spare = here == 0 ? 2 * slot : here - slot;
            if (k + 2 * Stream < keys)
                Copy<THead>(ring, spare, x, columns.Pitch, columns.Key, x, columns.Pitch, columns.Value, k + 2 * Stream, end);
            GpuIntrinsics.CommitCopies();
            int j = 0;
            for (; j < Stream && k + j < until; j += Step)
                dq = QueryStep<THead>(dq, operands, ring, here + 8 * j, scale, upper, lower, false, 0, 0);
            if (j < Stream && k + j == last && IntrinsicMath.Max(row, last) < end)
            {
                // How far the step's first key lies beyond the last that a lane's two queries see. −lane / 4 would not do: of a negative
                // number ILGPU makes a shift of the division by four, which rounds down where C# rounds towards zero.
                int beyond = s.Ahead == 0 ? -(lane / 4) : last - (end - 1), beneath = s.Ahead == 0 ? beyond - 8 : beyond;
                dq = QueryStep<THead>(dq, operands, ring, here + 8 * j, scale, upper, lower, true, beyond, beneath);
            }
            here = here == 2 * slot ? 0 : here + slot;
        }
        Float2 each = Float2.Of(s.Scale, s.Scale);
        row += lane / 4;
        AttentionPanels.Store(dqkv, dq.First0, each, row, end, s.Width, 8 * columns.Query, beta);
        if (THead.Panels == 2) AttentionPanels.Store(dqkv, dq.First1, each, row, end, s.Width, 8 * columns.Query + 64, beta);
    }

    private static void Keys<THead>(
        ArrayView<Word4> ring, ArrayView<Word4> x, ArrayView<Word4> dys, ArrayView<Float4> numbers, ArrayView<int> starts,
        ArrayView<float> grads, AttentionShape s, float beta)
        where THead : struct, IHead
    {
        AttentionTile tile = AttentionPanels.TileOf(Grid.IdxX, starts, s);
        int first = tile.First, end = tile.End;
        if (first >= end) return;
        AttentionColumns columns = AttentionPanels.ColumnsOf<THead>(tile.Head, s);
        int lane = Group.IdxX & 31, own = Group.IdxX / 32 * 16, row = first + own;
        int here = 0, slot = THead.Panels * AttentionPanels.Panel;
        AttentionPanels.Copy<THead>(ring, slot, AttentionPanels.Rows, x, first, end, columns.Pitch, columns.Key);
        AttentionPanels.Copy<THead>(ring, 2 * slot, AttentionPanels.Rows, x, first, end, columns.Pitch, columns.Value);
        int c = s.Channels / 8, from = s.Ahead == 0 ? first : tile.Begin;
        Copy<THead>(ring, here, x, columns.Pitch, columns.Query, dys, c, columns.Query, from, end);
        Operands operands = Own<THead>(ring, slot, 2 * slot, own);
        if (from + Stream < end) Copy<THead>(ring, slot, x, columns.Pitch, columns.Query, dys, c, columns.Query, from + Stream, end);
        GpuIntrinsics.CommitCopies();
        Sums sums = default;
        float scale = s.Scale * Log2E;
        // The numbers of a lane's two columns, which are neighboring queries, are read as one.
        int pairs = tile.Number * (AttentionPanels.Rows / 2) + (from - first) / 2 + (lane & 3);
        // The first query that sees a warp's keys, on the diagonal where attention is causal and before all others where it is not.
        int least = row - s.Ahead;
        for (int i = from; i < end; i += Stream)
        {
            GpuIntrinsics.WaitForCopies();
            Group.Barrier();
            int spare = here == 0 ? 2 * slot : here - slot;
            if (i + 2 * Stream < end) Copy<THead>(ring, spare, x, columns.Pitch, columns.Query, dys, c, columns.Query, i + 2 * Stream, end);
            GpuIntrinsics.CommitCopies();
            int q = IntrinsicMath.Max(i, least), until = row < end ? IntrinsicMath.Min(i + Stream, end) : i;
            if (q == least && q < until)
            {
                sums = KeyStep<THead>(sums, operands, ring, here + 8 * (q - i), true, scale, numbers, pairs + (q - from) / 2);
                q += Step;
            }
            for (; q < until; q += Step)
                sums = KeyStep<THead>(sums, operands, ring, here + 8 * (q - i), false, scale, numbers, pairs + (q - from) / 2);
            here = here == 2 * slot ? 0 : here + slot;
        }
        Float2 each = Float2.Of(s.Scale, s.Scale), one = Float2.Of(1, 1);
        row += lane / 4;
        int dk = s.GradPitch - 2 * s.Channels + 8 * columns.Query, dv = dk + s.Channels;
        AttentionPanels.Store(grads, sums.First0, each, row, end, s.GradPitch, dk, beta);
        AttentionPanels.Store(grads, sums.Second0, one, row, end, s.GradPitch, dv, beta);
        if (THead.Panels == 1) return;
        AttentionPanels.Store(grads, sums.First1, each, row, end, s.GradPitch, dk + 64, beta);
        AttentionPanels.Store(grads, sums.Second1, one, row, end, s.GradPitch, dv + 64, beta);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Wide(uint low, uint high) =>
        Float4.Of(
            Interop.IntAsFloat(low << 16), Interop.IntAsFloat(low & 0xFFFF0000),
            Interop.IntAsFloat(high << 16), Interop.IntAsFloat(high & 0xFFFF0000));

    // A slot: 32 rows of two operands, all panels of the first before those of the second.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Copy<THead>(
        ArrayView<Word4> ring, int at, ArrayView<Word4> a, int pitchA, int columnA,
        ArrayView<Word4> b, int pitchB, int columnB, int first, int end)
        where THead : struct, IHead
    {
        AttentionPanels.Copy<THead>(ring, at, Stream, a, first, end, pitchA, columnA);
        AttentionPanels.Copy<THead>(ring, at + THead.Panels * Stream * 8, Stream, b, first, end, pitchB, columnB);
    }

    // Waits for what was copied so far and takes the 16 rows of a warp from two slots, which are free then.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Operands Own<THead>(ArrayView<Word4> ring, int first, int second, int row)
        where THead : struct, IHead
    {
        GpuIntrinsics.CommitCopies();
        GpuIntrinsics.CommitCopies();
        GpuIntrinsics.WaitForCopies();
        Group.Barrier();
        Operands own = default;
        own.First0 = AttentionPanels.Left(ring, first + 8 * row);
        own.Second0 = AttentionPanels.Left(ring, second + 8 * row);
        if (THead.Panels == 2)
        {
            own.First1 = AttentionPanels.Left(ring, first + AttentionPanels.Panel + 8 * row);
            own.Second1 = AttentionPanels.Left(ring, second + AttentionPanels.Panel + 8 * row);
        }
        Group.Barrier();
        return own;
    }

    // dq + dS · k for 16 keys; own: q and dy; in the ring: k and v. For beyond and beneath see AttentionPanels.Masked.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Sums QueryStep<THead>(
        Sums dq, Operands own, ArrayView<Word4> ring, int here, float scale, Float2 upper, Float2 lower,
        bool masked, int beyond, int beneath)
        where THead : struct, IHead
    {
        int lane = Group.IdxX & 31;
        Places along = AttentionPanels.PlacesAlong(here), across = AttentionPanels.PlacesAcross(here);
        Float4x2 score = Dots<THead>(own.First0, own.First1, ring, along, 0);
        Float4x2 dp = Dots<THead>(own.Second0, own.Second1, ring, along, THead.Panels * Stream);
        if (masked)
        {
            int column = 2 * (lane & 3);
            score.A = AttentionPanels.Masked(score.A, beyond + column, beneath + column);
            score.B = AttentionPanels.Masked(score.B, beyond + column + 8, beneath + column + 8);
        }
        Float4 near = AttentionPanels.Exponentials(score.A, scale, upper.X, upper.X, lower.X, lower.X);
        Float4 far = AttentionPanels.Exponentials(score.B, scale, upper.X, upper.X, lower.X, lower.X);
        Float4 dot = Float4.Of(-upper.Y, -upper.Y, -lower.Y, -lower.Y);
        Word4 ds = AttentionPanels.Pack(near * (dp.A + dot), far * (dp.B + dot));
        dq.First0 = AttentionPanels.AddProduct(dq.First0, ds, ring, across, 0);
        if (THead.Panels == 2) dq.First1 = AttentionPanels.AddProduct(dq.First1, ds, ring, across, Stream);
        return dq;
    }

    // dk + dSᵀ · q and dv + Pᵀ · dy for 16 queries; own: k and v; in the ring: q and dy. Rows are keys and columns queries.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Sums KeyStep<THead>(
        Sums sums, Operands own, ArrayView<Word4> ring, int here, bool masked, float scale, ArrayView<Float4> numbers, int pair)
        where THead : struct, IHead
    {
        int lane = Group.IdxX & 31;
        Places along = AttentionPanels.PlacesAlong(here), across = AttentionPanels.PlacesAcross(here);
        Float4 a = numbers[pair], b = numbers[pair + 4];
        Float4x2 score = Dots<THead>(own.First0, own.First1, ring, along, 0);
        if (masked)
        {
            int ahead = lane / 4 - 2 * (lane & 3);
            score.A = MaskedAcross(score.A, ahead);
            score.B = MaskedAcross(score.B, ahead - 8);
        }
        Float4 near = AttentionPanels.Exponentials(score.A, scale, a.X, a.Z, a.X, a.Z);
        Float4 far = AttentionPanels.Exponentials(score.B, scale, b.X, b.Z, b.X, b.Z);
        Word4 p = AttentionPanels.Pack(near, far);
        sums.Second0 = AttentionPanels.AddProduct(sums.Second0, p, ring, across, THead.Panels * Stream);
        if (THead.Panels == 2) sums.Second1 = AttentionPanels.AddProduct(sums.Second1, p, ring, across, 3 * Stream);
        Float4x2 dp = Dots<THead>(own.Second0, own.Second1, ring, along, THead.Panels * Stream);
        Word4 ds = AttentionPanels.Pack(
            near * (dp.A + Float4.Of(-a.Y, -a.W, -a.Y, -a.W)), far * (dp.B + Float4.Of(-b.Y, -b.W, -b.Y, -b.W)));
        sums.First0 = AttentionPanels.AddProduct(sums.First0, ds, ring, across, 0);
        if (THead.Panels == 2) sums.First1 = AttentionPanels.AddProduct(sums.First1, ds, ring, across, Stream);
        return sums;
    }

    // A warp's 16 rows times 16 of those that stream by.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4x2 Dots<THead>(Word4x4 a0, Word4x4 a1, ArrayView<Word4> ring, Places b, int row)
        where THead : struct, IHead
    {
        Float4x2 sums = AttentionPanels.AddDots(default(Float4x2), a0, ring, b, row);
        return THead.Panels == 2 ? AttentionPanels.AddDots(sums, a1, ring, b, row + Stream) : sums;
    }

    // AttentionPanels.Masked with rows and columns exchanged, on the diagonal.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 MaskedAcross(Float4 score, int ahead)
    {
        if (ahead > 0) score.X = float.NegativeInfinity;
        if (ahead > 1) score.Y = float.NegativeInfinity;
        if (ahead > -8) score.Z = float.NegativeInfinity;
        if (ahead > -7) score.W = float.NegativeInfinity;
        return score;
    }

    /// <summary>A warp's own rows, in one or two panels: of q and dy, or of k and v.</summary>
    private struct Operands
    {
        public Word4x4 First0, First1, Second0, Second1;
    }

    /// <summary>What a warp sums: dq, or dk and dv.</summary>
    private struct Sums
    {
        public Float4x8 First0, First1, Second0, Second1;
    }
}
