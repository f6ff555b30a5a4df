using System.Runtime.CompilerServices;
using ILGPU;

namespace Nola.Tensors;

public sealed partial class GpuDevice
{
    // No windows, but for those that no sequence can outgrow.
    private bool HeadsOnTensorCores(AttentionShape shape) =>
        products == Products.BFloat16 && shape.Size is 64 or 128 && shape.Behind >= shape.Rows - 1;

    private void TensorAttention(Tensor qkv, Tensor starts, Tensor y, Tensor lse, AttentionShape shape)
    {
        shape.Slots = TensorSlots(shape, starts);
        using Tensor halves = Rounded(qkv);
        Action<ArrayView<Word4>, ArrayView<int>, ArrayView<float>, ArrayView<float>, AttentionShape> forward =
            shape.Size == 64 ? TensorAttentionKernels.Forward64 : TensorAttentionKernels.Forward128;
        Launch(forward, new(shape.Slots * shape.Heads), Halves(halves).Cast<Word4>(), Ints(starts), Floats(y), Floats(lse), shape);
    }

    private void TensorAttentionGrad(
        Tensor qkv, Tensor starts, Tensor y, Tensor lse, Tensor dy, Tensor dqkv, AttentionShape shape, float beta)
    {
        shape.Slots = TensorSlots(shape, starts);
        Blocks tiles = new(shape.Slots * shape.Heads);
        using Tensor halves = Rounded(qkv), grads = Empty(dy.Shape, DType.BFloat16), numbers = Empty([tiles.X * AttentionPanels.Rows, 2]);
        ArrayView<Word4> x = Halves(halves).Cast<Word4>(), dys = Halves(grads).Cast<Word4>();
        bool small = shape.Size == 64;
        Launch<ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<int>, ArrayView<Word4>, ArrayView<Float2>, AttentionShape>(
            small ? TensorAttentionGradKernels.Prepare64 : TensorAttentionGradKernels.Prepare128,
            tiles, Floats(y), Floats(dy), Floats(lse), Ints(starts), dys, Floats(numbers).Cast<Float2>(), shape);
        Launch<ArrayView<Word4>, ArrayView<Word4>, ArrayView<Float2>, ArrayView<int>, ArrayView<float>, AttentionShape, float>(
            small ? TensorAttentionGradKernels.Queries64 : TensorAttentionGradKernels.Queries128,
            tiles, x, dys, Floats(numbers).Cast<Float2>(), Ints(starts), Floats(dqkv), shape, beta);
        if (shape.Group == 1)
        {
            shape.GradPitch = shape.Width;
            Keys(dqkv, beta);
            return;
        }
        // What each query head gives to dk and dv, beside each other, so that there is a block for each; then their sums.
        using Tensor parts = Empty([shape.Rows, 2 * shape.Channels]);
        shape.GradPitch = 2 * shape.Channels;
        Keys(parts, 0);
        Launch(AttentionGradKernels.SumGroups, new(Blocks.For(shape.Rows * shape.KeyWidth / 2, 256)),
            Floats(parts).Cast<Float4>(), Ints(starts), Floats(dqkv).Cast<Float4>(), shape, beta);

        void Keys(Tensor to, float beta) =>
            Launch<ArrayView<Word4>, ArrayView<Word4>, ArrayView<Float4>, ArrayView<int>, ArrayView<float>, AttentionShape, float>(
                small ? TensorAttentionGradKernels.Keys64 : TensorAttentionGradKernels.Keys128,
                tiles, x, dys, Floats(numbers).Cast<Float4>(), Ints(starts), Floats(to), shape, beta);
    }

    private Tensor Rounded(Tensor x)
    {
        Tensor halves = Empty(x.Shape, DType.BFloat16);
        Launch(TensorAttentionKernels.Round, new(Blocks.For(x.Length, 8 * 256)), Floats(x), Halves(halves).Cast<Word4>());
        return halves;
    }

    // Slots for all tiles of all sequences, see GpuMath.SequenceOfSlot.
    private static int TensorSlots(AttentionShape shape, Tensor starts) => shape.Rows / AttentionPanels.Rows + starts.Length - 1;
}

/// <summary>
/// Attention on tensor cores, for compute capability 8.0 and up and heads of 64 and 128 (Dao 2023): q, k and v
/// rounded to bfloat16, scores, softmax and sums in float32, weights rounded to bfloat16 in the registers where their
/// sums came to be, from which the second product reads them. A block has 64 queries of one head of one sequence, a warp
/// 16, whose q stays in registers. Tiles of 64 keys and of their values take turns in three slots of shared memory: two
/// are on their way while one is multiplied. Only the last tile of keys is masked: it meets the diagonal, or the sequence's
/// end where a query sees all of its sequence.
/// </summary>
internal static class TensorAttentionKernels
{
    private const float Log2E = 1.44269504f, Ln2 = 0.693147181f;

    [Kernel(AttentionPanels.Threads, 4)]
    public static void Forward64(ArrayView<Word4> x, ArrayView<int> starts, ArrayView<float> y, ArrayView<float> lse, AttentionShape s) =>
        Forward<Head64>(SharedMemory.Allocate<Word4>(3 * AttentionPanels.Panel), x, starts, y, lse, s);

    [Kernel(AttentionPanels.Threads, 2)]
    public static void Forward128(ArrayView<Word4> x, ArrayView<int> starts, ArrayView<float> y, ArrayView<float> lse, AttentionShape s) =>
        Forward<Head128>(SharedMemory.Allocate<Word4>(6 * AttentionPanels.Panel), x, starts, y, lse, s);

    /// <summary>Rounds to bfloat16, eight elements a thread.</summary>
    [Kernel(256)]
    public static void Round(ArrayView<float> x, ArrayView<Word4> halves)
    {
        int chunk = Grid.IdxX * Group.DimX + Group.IdxX;
        if (chunk >= halves.Length) return;
        ArrayView<Float4> fours = x.Cast<Float4>();
        halves[chunk] = GpuIntrinsics.PackHalves(fours[2L * chunk], fours[2L * chunk + 1]);
    }

    private static void Forward<THead>(
        ArrayView<Word4> ring, ArrayView<Word4> x, ArrayView<int> starts, ArrayView<float> y, ArrayView<float> lse, AttentionShape s)
        where THead : struct, IHead
    {
        // Tiles with many keys first, so that the last blocks to start are short.
        AttentionTile tile = AttentionPanels.TileOf(Grid.DimX - 1 - Grid.IdxX, starts, s);
        int begin = tile.Begin, end = tile.End;
        if (tile.First >= end) return;
        AttentionColumns columns = AttentionPanels.ColumnsOf<THead>(tile.Head, s);
        int lane = Group.IdxX & 31, warp = Group.IdxX / 32, row = tile.First + 16 * warp, own = 16 * 8 * warp;
        // Where the last tile of keys starts, the one that is masked.
        int last = s.Ahead == 0 ? tile.First : begin + (end - 1 - begin) / AttentionPanels.Rows * AttentionPanels.Rows;
        int keys = 0, values = THead.Panels * AttentionPanels.Panel, spare = 2 * values;
        AttentionPanels.Copy<THead>(ring, spare, AttentionPanels.Rows, x, tile.First, end, columns.Pitch, columns.Query);
        AttentionPanels.Copy<THead>(ring, keys, AttentionPanels.Rows, x, begin, end, columns.Pitch, columns.Key);
        GpuIntrinsics.CommitCopies();
        AttentionPanels.Copy<THead>(ring, values, AttentionPanels.Rows, x, begin, end, columns.Pitch, columns.Value);
        GpuIntrinsics.CommitCopies();
        GpuIntrinsics.WaitForCopies();
        Group.Barrier();
        Word4x4 q0 = AttentionPanels.Left(ring, spare + own), q1 = default;
        if (THead.Panels == 2) q1 = AttentionPanels.Left(ring, spare + AttentionPanels.Panel + own);
        Sums sums = default;
        sums.Max = Float2.Of(float.NegativeInfinity, float.NegativeInfinity);
        float scale = s.Scale * Log2E;
        for (int k = begin; k < last; k += AttentionPanels.Rows)
        {
            GpuIntrinsics.WaitForCopies();
            Group.Barrier();
            AttentionPanels.Copy<THead>(ring, spare, AttentionPanels.Rows, x, k + AttentionPanels.Rows, end, columns.Pitch, columns.Key);
            GpuIntrinsics.CommitCopies();
            Float4x8 score = default;
            Places along = AttentionPanels.PlacesAlong(keys);
            score.Low = Scores<THead>(q0, q1, ring, along, 0);
            score.High = Scores<THead>(q0, q1, ring, along, 32);
            sums = Weighed<THead>(sums, score, scale);
            GpuIntrinsics.WaitForCopies();
            Group.Barrier();
            AttentionPanels.Copy<THead>(ring, keys, AttentionPanels.Rows, x, k + AttentionPanels.Rows, end, columns.Pitch, columns.Value);
            GpuIntrinsics.CommitCopies();
            Places across = AttentionPanels.PlacesAcross(values);
            sums = AddHalf<THead>(sums, sums.P.A, sums.P.B, ring, across, 0);
            sums = AddHalf<THead>(sums, sums.P.C, sums.P.D, ring, across, 32);
            int free = values;
            values = keys;
            keys = spare;
            spare = free;
        }
        GpuIntrinsics.CommitCopies();
        GpuIntrinsics.WaitForCopies();
        Group.Barrier();
        if (row >= end) return;
        // How far the last tile's first key lies beyond the last that a lane's two queries see.
        int upper = s.Ahead == 0 ? -16 * warp - lane / 4 : last - (end - 1), lower = s.Ahead == 0 ? upper - 8 : upper;
        sums = Last<THead>(sums, q0, q1, ring, keys, values, s.Ahead == 0 ? warp > 1 : end - last > 32, upper, lower, scale);
        Float2 sum = GpuIntrinsics.SumsOfFour(sums.Sum), inverse = Float2.Of(1 / sum.X, 1 / sum.Y);
        row += lane / 4;
        AttentionPanels.Store(y, sums.Y0, inverse, row, end, s.Channels, 8 * columns.Query, 0);
        if (THead.Panels == 2) AttentionPanels.Store(y, sums.Y1, inverse, row, end, s.Channels, 8 * columns.Query + 64, 0);
        if ((lane & 3) != 0) return;
        if (row < end) lse[tile.Head * s.Rows + row] = sums.Max.X * s.Scale + GpuMath.Log(sum.X);
        if (row + 8 < end) lse[tile.Head * s.Rows + row + 8] = sums.Max.Y * s.Scale + GpuMath.Log(sum.Y);
    }

    // The keys that are masked; both: whether the second 32 of them are seen at all, the same for a warp.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Sums Last<THead>(
        Sums sums, Word4x4 q0, Word4x4 q1, ArrayView<Word4> ring, int keys, int values, bool both, int upper, int lower, float scale)
        where THead : struct, IHead
    {
        int column = 2 * (Group.IdxX & 3);
        Places along = AttentionPanels.PlacesAlong(keys), across = AttentionPanels.PlacesAcross(values);
        Float4x8 score = default;
        score.Low = Scores<THead>(q0, q1, ring, along, 0);
        if (both) score.High = Scores<THead>(q0, q1, ring, along, 32);
        sums = Weighed<THead>(sums, Masked(score, upper + column, lower + column), scale);
        sums = AddHalf<THead>(sums, sums.P.A, sums.P.B, ring, across, 0);
        if (both) sums = AddHalf<THead>(sums, sums.P.C, sums.P.D, ring, across, 32);
        return sums;
    }

    // Takes 64 scores of each query into maximum and sum, and leaves their weights in P.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Sums Weighed<THead>(Sums sums, Float4x8 score, float scale)
        where THead : struct, IHead
    {
        Float2 larger = Maxima(sums.Max, score), shift = Float2.Of(larger.X * scale, larger.Y * scale);
        Float2 keep = Float2.Of(GpuIntrinsics.Exp2(sums.Max.X * scale - shift.X), GpuIntrinsics.Exp2(sums.Max.Y * scale - shift.Y));
        score.Low = Exponentials(score.Low, scale, shift);
        score.High = Exponentials(score.High, scale, shift);
        sums.Max = larger;
        sums.Sum = Float2.Of(sums.Sum.X * keep.X + Upper(score), sums.Sum.Y * keep.Y + Lower(score));
        sums.Y0 = Scaled(sums.Y0, keep);
        if (THead.Panels == 2) sums.Y1 = Scaled(sums.Y1, keep);
        sums.P.A = AttentionPanels.Pack(score.Low.A, score.Low.B);
        sums.P.B = AttentionPanels.Pack(score.Low.C, score.Low.D);
        sums.P.C = AttentionPanels.Pack(score.High.A, score.High.B);
        sums.P.D = AttentionPanels.Pack(score.High.C, score.High.D);
        return sums;
    }

    // q · kᵀ for 32 keys.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4x4 Scores<THead>(Word4x4 q0, Word4x4 q1, ArrayView<Word4> ring, Places keys, int row)
        where THead : struct, IHead
    {
        Float4x4 score = AttentionPanels.AddDots(default(Float4x4), q0, ring, keys, row);
        return THead.Panels == 2 ? AttentionPanels.AddDots(score, q1, ring, keys, row + AttentionPanels.Rows) : score;
    }

    // Adds 32 weighted values.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Sums AddHalf<THead>(Sums sums, Word4 near, Word4 far, ArrayView<Word4> ring, Places values, int row)
        where THead : struct, IHead
    {
        sums.Y0 = AttentionPanels.AddProduct(AttentionPanels.AddProduct(sums.Y0, near, ring, values, row), far, ring, values, row + 16);
        if (THead.Panels == 1) return sums;
        row += AttentionPanels.Rows;
        sums.Y1 = AttentionPanels.AddProduct(AttentionPanels.AddProduct(sums.Y1, near, ring, values, row), far, ring, values, row + 16);
        return sums;
    }

    // See AttentionPanels.Masked.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4x8 Masked(Float4x8 score, int upper, int lower)
    {
        score.Low = Masked(score.Low, upper, lower);
        score.High = Masked(score.High, upper + 32, lower + 32);
        return score;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4x4 Masked(Float4x4 score, int upper, int lower)
    {
        score.A = AttentionPanels.Masked(score.A, upper, lower);
        score.B = AttentionPanels.Masked(score.B, upper + 8, lower + 8);
        score.C = AttentionPanels.Masked(score.C, upper + 16, lower + 16);
        score.D = AttentionPanels.Masked(score.D, upper + 24, lower + 24);
        return score;
    }

    // The largest score so far of a lane's two queries, the same in the four lanes that share them.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float2 Maxima(Float2 max, Float4x8 score)
    {
        Float4 low = Float4.Max(Float4.Max(score.Low.A, score.Low.B), Float4.Max(score.Low.C, score.Low.D));
        Float4 high = Float4.Max(Float4.Max(score.High.A, score.High.B), Float4.Max(score.High.C, score.High.D));
        Float4 both = Float4.Max(low, high);
        Float2 found = GpuIntrinsics.MaximaOfFour(Float2.Of(IntrinsicMath.Max(both.X, both.Y), IntrinsicMath.Max(both.Z, both.W)));
        return Float2.Of(IntrinsicMath.Max(max.X, found.X), IntrinsicMath.Max(max.Y, found.Y));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4x4 Exponentials(Float4x4 score, float scale, Float2 shift)
    {
        score.A = AttentionPanels.Exponentials(score.A, scale, shift.X, shift.X, shift.Y, shift.Y);
        score.B = AttentionPanels.Exponentials(score.B, scale, shift.X, shift.X, shift.Y, shift.Y);
        score.C = AttentionPanels.Exponentials(score.C, scale, shift.X, shift.X, shift.Y, shift.Y);
        score.D = AttentionPanels.Exponentials(score.D, scale, shift.X, shift.X, shift.Y, shift.Y);
        return score;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Upper(Float4x8 p) =>
        p.Low.A.X + p.Low.A.Y + (p.Low.B.X + p.Low.B.Y) + (p.Low.C.X + p.Low.C.Y + (p.Low.D.X + p.Low.D.Y))
        + (p.High.A.X + p.High.A.Y + (p.High.B.X + p.High.B.Y) + (p.High.C.X + p.High.C.Y + (p.High.D.X + p.High.D.Y)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Lower(Float4x8 p) =>
        p.Low.A.Z + p.Low.A.W + (p.Low.B.Z + p.Low.B.W) + (p.Low.C.Z + p.Low.C.W + (p.Low.D.Z + p.Low.D.W))
        + (p.High.A.Z + p.High.A.W + (p.High.B.Z + p.High.B.W) + (p.High.C.Z + p.High.C.W + (p.High.D.Z + p.High.D.W)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4x8 Scaled(Float4x8 sums, Float2 by)
    {
        Float4 each = Float4.Of(by.X, by.X, by.Y, by.Y);
        sums.Low = Scaled(sums.Low, each);
        sums.High = Scaled(sums.High, each);
        return sums;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4x4 Scaled(Float4x4 sums, Float4 by)
    {
        sums.A *= by;
        sums.B *= by;
        sums.C *= by;
        sums.D *= by;
        return sums;
    }

    /// <summary>
    /// What a warp keeps of its 16 queries: largest score, sum of exponentials,
    /// weighted sums of values, and the newest weights.
    /// </summary>
    private struct Sums
    {
        public Float2 Max, Sum;
        public Float4x8 Y0, Y1;
        public Word4x4 P;
    }
}
