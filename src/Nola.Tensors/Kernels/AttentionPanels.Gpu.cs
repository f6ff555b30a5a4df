using System.Runtime.CompilerServices;
using ILGPU;

namespace Nola.Tensors;

/// <summary>A size of heads, in panels of 64 columns.</summary>
internal interface IHead
{
    /// <summary>One or two.</summary>
    static abstract int Panels { get; }
}

/// <summary>D = 64.</summary>
internal readonly struct Head64 : IHead
{
    public static int Panels => 1;
}

/// <summary>D = 128.</summary>
internal readonly struct Head128 : IHead
{
    public static int Panels => 2;
}

/// <summary>16 × 16 sums of a warp: two tiles of <see cref="GpuIntrinsics.MultiplyTiles"/> side by side.</summary>
internal struct Float4x2
{
    public Float4 A, B;
}

/// <summary>16 × 64 sums of a warp: eight tiles side by side.</summary>
internal struct Float4x8
{
    public Float4x4 Low, High;
}

/// <summary>16 × 64 bfloat16 of a warp, as the left operand of four products.</summary>
internal struct Word4x4
{
    public Word4 A, B, C, D;
}

/// <summary>
/// Where a lane reads a panel, for each of its four pairs of chunks: pair p lies at the first's place xor 2p, whatever
/// multiple of eight is added for rows.
/// </summary>
internal struct Places
{
    public int A, B, C, D;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Places Of(int first)
    {
        Places places = default;
        places.A = first;
        places.B = first ^ 2;
        places.C = first ^ 4;
        places.D = first ^ 6;
        return places;
    }
}

/// <summary>
/// What a block does: rows First … + 63, as far as End, of the sequence from Begin on, in one head. Number: its place among
/// all tiles when those of a head follow each other.
/// </summary>
internal struct AttentionTile
{
    public int Head, Number, Begin, End, First;
}

/// <summary>Rows of q, k and v in memory, in chunks of eight columns: from row to row, and to the first column of a head of each.</summary>
internal struct AttentionColumns
{
    public int Pitch, Query, Key, Value;
}

/// <summary>
/// What attention's kernels on tensor cores share. A tile in shared memory is rows of one head in panels of 64 columns, one
/// panel after the other, each row eight chunks of 16 bytes; chunk c lies at place c xor (row mod 8), so that the eight
/// rows of an 8 × 8 matrix lie in all banks. A block is four warps, each with 16 of its 64 rows.
/// </summary>
internal static class AttentionPanels
{
    /// <summary>Threads of a block.</summary>
    public const int Threads = 128;

    /// <summary>Rows of a block: queries, or keys.</summary>
    public const int Rows = 64;

    /// <summary>Chunks of 64 rows of a panel.</summary>
    public const int Panel = Rows * Chunks;

    // Chunks of a panel's row.
    private const int Chunks = 8;

    /// <summary>The tile of a block, heads after each other in each slot; one without rows has a First that is not before End.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static AttentionTile TileOf(int block, ArrayView<int> starts, AttentionShape s)
    {
        int slot = block / s.Heads, sequence = GpuMath.SequenceOfSlot(starts, slot, Rows);
        AttentionTile tile = default;
        tile.Head = block - slot * s.Heads;
        tile.Number = tile.Head * s.Slots + slot;
        tile.Begin = starts[sequence];
        tile.End = starts[sequence + 1];
        tile.First = tile.Begin + (slot - tile.Begin / Rows - sequence) * Rows;
        return tile;
    }

    /// <summary>Where a query head's columns lie, and those of the keys and values that it reads.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static AttentionColumns ColumnsOf<THead>(int head, AttentionShape s)
        where THead : struct, IHead
    {
        AttentionColumns columns = default;
        columns.Pitch = s.Width / 8;
        columns.Query = head * THead.Panels * Chunks;
        columns.Key = s.Channels / 8 + head / s.Group * THead.Panels * Chunks;
        columns.Value = columns.Key + s.KeyWidth / 8;
        return columns;
    }

    /// <summary>
    /// Starts the copy of rows first … first + count − 1 (32 or 64) of one head; beyond end the last row again, whose products
    /// a mask hides. Pitch: chunks from row to row of memory.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Copy<THead>(ArrayView<Word4> tile, int at, int count, ArrayView<Word4> x, int first, int end, int pitch, int column)
        where THead : struct, IHead
    {
        int across = Chunks * THead.Panels, place = Group.IdxX & (across - 1), row = Group.IdxX / across;
        int to = at + (place / Chunks * count + row) * Chunks + ((place ^ row) & 7);
        Copy32<THead>(tile, to, x, first + row, end - 1, pitch, column + place);
        if (count == 64) Copy32<THead>(tile, to + 32 * Chunks, x, first + row + 32, end - 1, pitch, column + place);
    }

    /// <summary>
    /// Where a lane reads left operands, and right operands whose rows lie across the inner dimension, in a tile at (a multiple of
    /// 8).
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Places PlacesAcross(int at)
    {
        int lane = Group.IdxX & 31;
        return Places.Of(at + (lane & 15) * Chunks + ((lane >> 4) ^ (lane & 7)));
    }

    /// <summary>Where a lane reads right operands whose rows lie along the inner dimension.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Places PlacesAlong(int at)
    {
        int lane = Group.IdxX & 31;
        return Places.Of(at + ((lane & 7) + (lane >> 4) * 8) * Chunks + (((lane >> 3) & 1) ^ (lane & 7)));
    }

    /// <summary>16 rows of a panel as left operands.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Word4x4 Left(ArrayView<Word4> tile, int at)
    {
        Places places = PlacesAcross(at);
        Word4x4 a = default;
        a.A = GpuIntrinsics.LoadMatrices(ref tile[places.A]);
        a.B = GpuIntrinsics.LoadMatrices(ref tile[places.B]);
        a.C = GpuIntrinsics.LoadMatrices(ref tile[places.C]);
        a.D = GpuIntrinsics.LoadMatrices(ref tile[places.D]);
        return a;
    }

    /// <summary>Sums + a · bᵀ over a panel's 64 columns; b is 32 rows from row (a constant) on.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4x4 AddDots(Float4x4 sums, Word4x4 a, ArrayView<Word4> tile, Places b, int row)
    {
        sums = Multiply(sums, a.A, Along(tile, b.A, row), Along(tile, b.A, row + 16));
        sums = Multiply(sums, a.B, Along(tile, b.B, row), Along(tile, b.B, row + 16));
        sums = Multiply(sums, a.C, Along(tile, b.C, row), Along(tile, b.C, row + 16));
        return Multiply(sums, a.D, Along(tile, b.D, row), Along(tile, b.D, row + 16));
    }

    /// <summary>The same with 16 rows.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4x2 AddDots(Float4x2 sums, Word4x4 a, ArrayView<Word4> tile, Places b, int row)
    {
        sums = Multiply(sums, a.A, Along(tile, b.A, row));
        sums = Multiply(sums, a.B, Along(tile, b.B, row));
        sums = Multiply(sums, a.C, Along(tile, b.C, row));
        return Multiply(sums, a.D, Along(tile, b.D, row));
    }

    /// <summary>Sums + a · b for 16 rows of a panel from row (a constant) on, in all its columns.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4x8 AddProduct(Float4x8 sums, Word4 a, ArrayView<Word4> tile, Places b, int row)
    {
        sums.Low = Multiply(sums.Low, a, Across(tile, b.A, row), Across(tile, b.B, row));
        sums.High = Multiply(sums.High, a, Across(tile, b.C, row), Across(tile, b.D, row));
        return sums;
    }

    /// <summary>
    /// Sums of 16 × 16 rounded to a left operand: what a lane holds of two tiles of sums is what it must hold of one tile of
    /// 16 steps.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Word4 Pack(Float4 near, Float4 far) => GpuIntrinsics.PackHalves(near, far);

    /// <summary>
    /// −∞ for the keys of a tile that their queries do not see; upper and lower: how far the lane's first key lies beyond the
    /// last one that its first query sees, and its second, eight rows below.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 Masked(Float4 score, int upper, int lower)
    {
        if (upper > 0) score.X = float.NegativeInfinity;
        if (upper > -1) score.Y = float.NegativeInfinity;
        if (lower > 0) score.Z = float.NegativeInfinity;
        if (lower > -1) score.W = float.NegativeInfinity;
        return score;
    }

    /// <summary>2^(score · scale − shift), a shift for each.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 Exponentials(Float4 score, float scale, float x, float y, float z, float w) =>
        Float4.Of(
            GpuIntrinsics.Exp2(score.X * scale - x), GpuIntrinsics.Exp2(score.Y * scale - y),
            GpuIntrinsics.Exp2(score.Z * scale - z), GpuIntrinsics.Exp2(score.W * scale - w));

    /// <summary>
    /// Scales and writes, or with beta adds, a lane's part of 16 × 64 sums: rows row and row + 8 as far as end, in the columns
    /// from column (even) on.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(ArrayView<float> y, Float4x8 sums, Float2 scale, int row, int end, int stride, int column, float beta)
    {
        ArrayView<Float2> pairs = y.Cast<Float2>();
        long at = ((long)row * stride + column) / 2 + (Group.IdxX & 3);
        if (row < end) StoreRow(pairs, at, sums, scale.X, false, beta);
        if (row + 8 < end) StoreRow(pairs, at + 4L * stride, sums, scale.Y, true, beta);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreRow(ArrayView<Float2> pairs, long at, Float4x8 sums, float scale, bool lower, float beta)
    {
        StorePair(pairs, at, sums.Low.A, scale, lower, beta);
        StorePair(pairs, at + 4, sums.Low.B, scale, lower, beta);
        StorePair(pairs, at + 8, sums.Low.C, scale, lower, beta);
        StorePair(pairs, at + 12, sums.Low.D, scale, lower, beta);
        StorePair(pairs, at + 16, sums.High.A, scale, lower, beta);
        StorePair(pairs, at + 20, sums.High.B, scale, lower, beta);
        StorePair(pairs, at + 24, sums.High.C, scale, lower, beta);
        StorePair(pairs, at + 28, sums.High.D, scale, lower, beta);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StorePair(ArrayView<Float2> pairs, long at, Float4 sums, float scale, bool lower, float beta)
    {
        Float2 v = lower ? Float2.Of(sums.Z * scale, sums.W * scale) : Float2.Of(sums.X * scale, sums.Y * scale);
        if (beta != 0)
        {
            Float2 old = pairs[at];
            v = Float2.Of(v.X + old.X, v.Y + old.Y);
        }
        pairs[at] = v;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4x4 Multiply(Float4x4 sums, Word4 a, Word4 b0, Word4 b1)
    {
        sums.A = GpuIntrinsics.MultiplyTiles(sums.A, a, b0.X, b0.Y);
        sums.B = GpuIntrinsics.MultiplyTiles(sums.B, a, b0.Z, b0.W);
        sums.C = GpuIntrinsics.MultiplyTiles(sums.C, a, b1.X, b1.Y);
        sums.D = GpuIntrinsics.MultiplyTiles(sums.D, a, b1.Z, b1.W);
        return sums;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4x2 Multiply(Float4x2 sums, Word4 a, Word4 b)
    {
        sums.A = GpuIntrinsics.MultiplyTiles(sums.A, a, b.X, b.Y);
        sums.B = GpuIntrinsics.MultiplyTiles(sums.B, a, b.Z, b.W);
        return sums;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Word4 Along(ArrayView<Word4> tile, int at, int row) => GpuIntrinsics.LoadMatricesBeyond(ref tile[at], row * Chunks);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Word4 Across(ArrayView<Word4> tile, int at, int row) =>
        GpuIntrinsics.LoadMatricesTransposedBeyond(ref tile[at], row * Chunks);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Copy32<THead>(ArrayView<Word4> tile, int to, ArrayView<Word4> x, int row, int last, int pitch, int from)
        where THead : struct, IHead
    {
        const int Half = 16 * Chunks;
        CopyOne(tile, to, x, row, last, pitch, from);
        if (THead.Panels == 2) CopyOne(tile, to + Half / 2, x, row + 8, last, pitch, from);
        CopyOne(tile, to + Half, x, row + 16, last, pitch, from);
        if (THead.Panels == 2) CopyOne(tile, to + Half + Half / 2, x, row + 24, last, pitch, from);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void CopyOne(ArrayView<Word4> tile, int to, ArrayView<Word4> x, int row, int last, int pitch, int from) =>
        GpuIntrinsics.CopyAsync(ref tile[to], ref x[IntrinsicMath.Min(row, last) * pitch + from]);
}
