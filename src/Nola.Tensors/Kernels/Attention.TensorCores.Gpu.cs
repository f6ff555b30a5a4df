using System.Runtime.CompilerServices;
using ILGPU;

namespace Nola.Tensors;

public sealed partial class GpuDevice
{
    private bool HeadsOnTensorCores(AttentionShape shape) => tensorCores && shape.Size is 64 or 128;

    private void TensorAttention(Tensor qkv, Tensor starts, Tensor y, Tensor lse, AttentionShape shape)
    {
        using Tensor halves = Rounded(qkv);
        Action<ArrayView<Word4>, ArrayView<int>, ArrayView<float>, ArrayView<float>, AttentionShape> forward =
            shape.Size == 64 ? TensorAttentionKernels.Forward64 : TensorAttentionKernels.Forward128;
        Launch(forward, TensorTiles(shape, starts), Halves(halves).Cast<Word4>(), Ints(starts), Floats(y), Floats(lse), shape);
    }

    private void TensorAttentionGrad(Tensor qkv, Tensor starts, Tensor y, Tensor lse, Tensor dy, Tensor dqkv, AttentionShape shape, float beta)
    {
        using Tensor halves = Rounded(qkv), grads = Empty(dy.Shape, DType.BFloat16), numbers = Empty([shape.Heads, shape.Rows, 2]);
        ArrayView<Word4> x = Halves(halves).Cast<Word4>(), dys = Halves(grads).Cast<Word4>();
        ArrayView<Float2> rows = Floats(numbers).Cast<Float2>();
        bool small = shape.Size == 64;
        Launch<ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<Word4>, ArrayView<Float2>, AttentionShape>(
            small ? TensorAttentionGradKernels.Prepare64 : TensorAttentionGradKernels.Prepare128,
            new(Blocks.For(dy.Length, 8 * 256)), Floats(y), Floats(dy), Floats(lse), dys, rows, shape);
        Blocks tiles = TensorTiles(shape, starts);
        Launch<ArrayView<Word4>, ArrayView<Word4>, ArrayView<Float2>, ArrayView<int>, ArrayView<float>, AttentionShape, float>(
            small ? TensorAttentionGradKernels.Queries64 : TensorAttentionGradKernels.Queries128, tiles, x, dys, rows, Ints(starts), Floats(dqkv), shape, beta);
        Launch<ArrayView<Word4>, ArrayView<Word4>, ArrayView<Float2>, ArrayView<int>, ArrayView<float>, AttentionShape, float>(
            small ? TensorAttentionGradKernels.Keys64 : TensorAttentionGradKernels.Keys128, tiles, x, dys, rows, Ints(starts), Floats(dqkv), shape, beta);
    }

    private Tensor Rounded(Tensor x)
    {
        Tensor halves = Empty(x.Shape, DType.BFloat16);
        Launch(TensorAttentionKernels.Round, new(Blocks.For(x.Length, 8 * 256)), Floats(x), Halves(halves).Cast<Word4>());
        return halves;
    }

    // As Tiles, with the heads of a tile one after the other.
    private static Blocks TensorTiles(AttentionShape shape, Tensor starts) => new((shape.Rows / AttentionPanels.Rows + starts.Length - 1) * shape.Heads);
}

/// <summary>
/// Causal attention on tensor cores, for compute capability 8.0 and up and heads of 64 and 128 (Dao 2023): q, k and v
/// rounded to bfloat16, scores, softmax and sums in float32, weights rounded to bfloat16 in the registers where their
/// sums came to be, from which the second product reads them. A block has 64 queries of one head of one sequence, a warp
/// 16, whose q stays in registers. Tiles of 64 keys and of their values take turns in three slots of shared memory: two
/// are on their way while one is multiplied. Only the last tile of keys meets the diagonal.
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
        halves[chunk] = AttentionPanels.Round(fours[2L * chunk], fours[2L * chunk + 1]);
    }

    private static void Forward<THead>(
        ArrayView<Word4> ring, ArrayView<Word4> x, ArrayView<int> starts, ArrayView<float> y, ArrayView<float> lse, AttentionShape s)
        where THead : struct, IHead
    {
        // Tiles with many keys first, so that the last blocks to start are short.
        int block = Grid.DimX - 1 - Grid.IdxX, head = block % s.Heads, slot = block / s.Heads, c = s.Channels / 8, column = head * THead.Panels * 8;
        int sequence = GpuMath.SequenceOfSlot(starts, slot, AttentionPanels.Rows), begin = starts[sequence], end = starts[sequence + 1];
        int first = begin + (slot - begin / AttentionPanels.Rows - sequence) * AttentionPanels.Rows;
        if (first >= end) return;
        int lane = Group.IdxX & 31, warp = Group.IdxX / 32, row = first + 16 * warp;
        int keys = 0, values = THead.Panels * AttentionPanels.Panel, spare = 2 * values;
        AttentionPanels.Copy<THead>(ring, spare, AttentionPanels.Rows, x, first, end, 3 * c, column);
        AttentionPanels.Copy<THead>(ring, keys, AttentionPanels.Rows, x, begin, end, 3 * c, c + column);
        GpuIntrinsics.CommitCopies();
        AttentionPanels.Copy<THead>(ring, values, AttentionPanels.Rows, x, begin, end, 3 * c, 2 * c + column);
        GpuIntrinsics.CommitCopies();
        GpuIntrinsics.WaitForCopies();
        Group.Barrier();
        Word4x4 q0 = AttentionPanels.Left(ring, spare, 16 * warp), q1 = default;
        if (THead.Panels == 2) q1 = AttentionPanels.Left(ring, spare + AttentionPanels.Panel, 16 * warp);
        Float4x8 y0 = default, y1 = default;
        Float2 max = Float2.Of(float.NegativeInfinity, float.NegativeInfinity), sum = default;
        float scale = s.Scale * Log2E;
        for (int k = begin; k <= first; k += AttentionPanels.Rows)
        {
            GpuIntrinsics.WaitForCopies();
            Group.Barrier();
            if (k < first) AttentionPanels.Copy<THead>(ring, spare, AttentionPanels.Rows, x, k + AttentionPanels.Rows, end, 3 * c, c + column);
            GpuIntrinsics.CommitCopies();
            // Of the last tile, the first two warps need the first 32 keys only.
            bool needed = row < end, all = needed && (k < first || warp > 1);
            Word4x4 weights = default;
            if (needed)
            {
                Float4x8 score = All(float.NegativeInfinity);
                score.Low = Scores<THead>(q0, q1, ring, keys, 0);
                if (all) score.High = Scores<THead>(q0, q1, ring, keys, 32);
                if (k == first) score = Masked(score, 2 * (lane & 3) - 16 * warp - lane / 4);
                Float2 larger = Maxima(max, score);
                Float2 shift = Float2.Of(larger.X * scale, larger.Y * scale);
                Float2 keep = Float2.Of(GpuIntrinsics.Exp2(max.X * scale - shift.X), GpuIntrinsics.Exp2(max.Y * scale - shift.Y));
                max = larger;
                score.Low = Exponentials(score.Low, scale, shift);
                score.High = Exponentials(score.High, scale, shift);
                sum = Float2.Of(sum.X * keep.X + Upper(score), sum.Y * keep.Y + Lower(score));
                y0 = Scaled(y0, keep);
                if (THead.Panels == 2) y1 = Scaled(y1, keep);
                weights.A = AttentionPanels.Pack(score.Low.A, score.Low.B);
                weights.B = AttentionPanels.Pack(score.Low.C, score.Low.D);
                weights.C = AttentionPanels.Pack(score.High.A, score.High.B);
                weights.D = AttentionPanels.Pack(score.High.C, score.High.D);
            }
            GpuIntrinsics.WaitForCopies();
            Group.Barrier();
            if (k < first) AttentionPanels.Copy<THead>(ring, keys, AttentionPanels.Rows, x, k + AttentionPanels.Rows, end, 3 * c, 2 * c + column);
            GpuIntrinsics.CommitCopies();
            if (needed)
            {
                y0 = AddHalf(y0, weights.A, weights.B, ring, values, 0);
                if (THead.Panels == 2) y1 = AddHalf(y1, weights.A, weights.B, ring, values + AttentionPanels.Panel, 0);
            }
            if (all)
            {
                y0 = AddHalf(y0, weights.C, weights.D, ring, values, 32);
                if (THead.Panels == 2) y1 = AddHalf(y1, weights.C, weights.D, ring, values + AttentionPanels.Panel, 32);
            }
            int free = values;
            values = keys;
            keys = spare;
            spare = free;
        }
        sum = GpuIntrinsics.SumsOfFour(sum);
        row += lane / 4;
        Float2 inverse = Float2.Of(1 / sum.X, 1 / sum.Y);
        AttentionPanels.Store(y, y0, inverse, row, end, s.Channels, 8 * column, 0);
        if (THead.Panels == 2) AttentionPanels.Store(y, y1, inverse, row, end, s.Channels, 8 * column + 64, 0);
        if ((lane & 3) != 0) return;
        if (row < end) lse[head * s.Rows + row] = max.X * s.Scale + GpuMath.Log(sum.X);
        if (row + 8 < end) lse[head * s.Rows + row + 8] = max.Y * s.Scale + GpuMath.Log(sum.Y);
    }

    // q · kᵀ for 32 keys.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4x4 Scores<THead>(Word4x4 q0, Word4x4 q1, ArrayView<Word4> tile, int at, int row)
        where THead : struct, IHead
    {
        Float4x4 score = Scores(default, q0, tile, at, row);
        if (THead.Panels == 2) score = Scores(score, q1, tile, at + AttentionPanels.Panel, row);
        return score;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4x4 Scores(Float4x4 score, Word4x4 q, ArrayView<Word4> tile, int at, int row)
    {
        score = AttentionPanels.AddDots(score, q.A, tile, at, row, 0);
        score = AttentionPanels.AddDots(score, q.B, tile, at, row, 1);
        score = AttentionPanels.AddDots(score, q.C, tile, at, row, 2);
        return AttentionPanels.AddDots(score, q.D, tile, at, row, 3);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4x8 AddHalf(Float4x8 sums, Word4 near, Word4 far, ArrayView<Word4> tile, int at, int row) =>
        AttentionPanels.AddProduct(AttentionPanels.AddProduct(sums, near, tile, at, row), far, tile, at, row + 16);

    // Scores of keys after their query become −∞; ahead: how far the lane's first key lies after its first query.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4x8 Masked(Float4x8 score, int ahead)
    {
        score.Low = Masked(score.Low, ahead);
        score.High = Masked(score.High, ahead + 32);
        return score;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4x4 Masked(Float4x4 score, int ahead)
    {
        score.A = AttentionPanels.Masked(score.A, ahead);
        score.B = AttentionPanels.Masked(score.B, ahead + 8);
        score.C = AttentionPanels.Masked(score.C, ahead + 16);
        score.D = AttentionPanels.Masked(score.D, ahead + 24);
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

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4x8 All(float x)
    {
        Float4x8 all = default;
        all.Low.A = all.Low.B = all.Low.C = all.Low.D = Float4.All(x);
        all.High = all.Low;
        return all;
    }
}
