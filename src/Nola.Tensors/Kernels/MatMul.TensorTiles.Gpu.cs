using System.Runtime.CompilerServices;
using ILGPU;

namespace Nola.Tensors;

/// <summary>
/// One product on tensor cores but its memory. Offsets and strides of A and B are in chunks of 16 bytes. Steps: strips of
/// the inner dimension; Depth: those that a block does.
/// </summary>
internal struct TensorShape
{
    public Place A, B;
    public int Steps, Depth;
    public Epilogue End;
}

/// <summary>
/// op(a) · op(b) and its <see cref="Epilogue"/> with float32 sums, for compute capability 8.0 and up. A block makes one tile
/// of c, its warps make 64 or 32 rows of 32 or 64 columns each. Strips of 64 bytes of the inner dimension come through
/// shared memory, three or two at a time: some are on their way (cp.async) while one is multiplied (ldmatrix, mma.sync).
/// Operands are read as they lie, rows along the inner dimension or across it. An element is summed in the order of the
/// inner dimension whatever the tile, so tiles differ in speed and not in bits.
/// </summary>
internal static class TensorTiles
{
    /// <summary>The body of every kernel.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Multiply<TTile, TLeft, TRight, TProduct>(
        ArrayView<Word4> a, ArrayView<Word4> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, TensorShape s)
        where TTile : struct, ITile
        where TLeft : struct, IOrder
        where TRight : struct, IOrder
        where TProduct : struct, IProduct
    {
        ArrayView<Word4> left = SharedMemory.Allocate<Word4>(TTile.Strips * TTile.Rows * 4);
        ArrayView<Word4> right = SharedMemory.Allocate<Word4>(TTile.Strips * TTile.Columns * 4);
        int lane = Group.IdxX & 31, warp = Group.IdxX / 32, row0 = Grid.IdxY * TTile.Rows, column0 = Grid.IdxX * TTile.Columns;
        int warpRow = (warp & (TTile.Rows / TTile.WarpRows - 1)) * TTile.WarpRows;
        int warpColumn = warp / (TTile.Rows / TTile.WarpRows) * TTile.WarpColumns;
        int step = Grid.IdxZ * s.Depth, end = IntrinsicMath.Min(s.Steps, step + s.Depth), ahead = step;
        Cursor ofA = TLeft.Begin(TTile.Rows, TTile.Threads, s.A, row0, Group.IdxX);
        Cursor ofB = TRight.Begin(TTile.Columns, TTile.Threads, s.B, column0, Group.IdxX);
        for (int strip = 0; strip < TTile.Strips - 1; strip++, ahead++)
        {
            if (ahead < end)
            {
                Copy<TTile, TLeft>(left, strip, a, s.A, ofA, TTile.Rows, ahead);
                Copy<TTile, TRight>(right, strip, b, s.B, ofB, TTile.Columns, ahead);
            }
            GpuIntrinsics.CommitCopies();
        }
        int inLeft = TLeft.LeftPlace(TTile.Rows, warpRow, lane), inRight = TRight.RightPlace(TTile.Columns, warpColumn, lane);
        Sums sums = default;
        int here = 0, there = TTile.Strips - 1;
        for (; step < end; step++, ahead++)
        {
            if (TTile.Strips == 2) GpuIntrinsics.WaitForAllCopies();
            else GpuIntrinsics.WaitForCopies();
            Group.Barrier();
            if (ahead < end)
            {
                Copy<TTile, TLeft>(left, there, a, s.A, ofA, TTile.Rows, ahead);
                Copy<TTile, TRight>(right, there, b, s.B, ofB, TTile.Columns, ahead);
            }
            GpuIntrinsics.CommitCopies();
            there = there == TTile.Strips - 1 ? 0 : there + 1;
            int atLeft = TLeft.Strip(TTile.Rows, here) + inLeft, atRight = TRight.Strip(TTile.Columns, here) + inRight;
            sums = AddHalf<TTile, TLeft, TRight, TProduct>(sums, left, atLeft, right, atRight, 0);
            sums = AddHalf<TTile, TLeft, TRight, TProduct>(sums, left, atLeft, right, atRight, 1);
            here = here == TTile.Strips - 1 ? 0 : here + 1;
        }
        int row = row0 + warpRow + lane / 4, column = column0 + warpColumn + (lane & 3) * 2;
        Store(sums.First, c, bias, residual, activated, s.End, row, column);
        Store(sums.Second, c, bias, residual, activated, s.End, row + 16, column);
        if (TTile.WarpColumns > 32)
        {
            Store(sums.First2, c, bias, residual, activated, s.End, row, column + 32);
            Store(sums.Second2, c, bias, residual, activated, s.End, row + 16, column + 32);
        }
        if (TTile.WarpRows == 32) return;
        Store(sums.Third, c, bias, residual, activated, s.End, row + 32, column);
        Store(sums.Fourth, c, bias, residual, activated, s.End, row + 48, column);
        if (TTile.WarpColumns == 32) return;
        Store(sums.Third2, c, bias, residual, activated, s.End, row + 32, column + 32);
        Store(sums.Fourth2, c, bias, residual, activated, s.End, row + 48, column + 32);
    }

    // A strip has four chunks for each of its rows; a thread copies two or four of them.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Copy<TTile, TOrder>(
        ArrayView<Word4> strips, int strip, ArrayView<Word4> x, Place place, Cursor cursor, int side, int step)
        where TTile : struct, ITile
        where TOrder : struct, IOrder
    {
        int to = strip * side * 4 + cursor.Target, from = cursor.Source + step * cursor.Step;
        TOrder.Copy(strips, to, x, from, cursor, place, step, 0);
        TOrder.Copy(strips, to + TTile.Threads, x, from + cursor.Below, cursor, place, step, 1);
        if (4 * side == 2 * TTile.Threads) return;
        TOrder.Copy(strips, to + 2 * TTile.Threads, x, from + 2 * cursor.Below, cursor, place, step, 2);
        TOrder.Copy(strips, to + 3 * TTile.Threads, x, from + 3 * cursor.Below, cursor, place, step, 3);
    }

    // Half of a strip's steps; written out twice, as a loop would move all sums from register to register.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Sums AddHalf<TTile, TLeft, TRight, TProduct>(
        Sums sums, ArrayView<Word4> left, int atLeft, ArrayView<Word4> right, int atRight, int half)
        where TTile : struct, ITile
        where TLeft : struct, IOrder
        where TRight : struct, IOrder
        where TProduct : struct, IProduct
    {
        Word4 b0 = TRight.Right(right, atRight, TTile.Columns, 0, half), b1 = TRight.Right(right, atRight, TTile.Columns, 1, half);
        Word4 b2 = default, b3 = default;
        if (TTile.WarpColumns > 32)
        {
            b2 = TRight.Right(right, atRight, TTile.Columns, 2, half);
            b3 = TRight.Right(right, atRight, TTile.Columns, 3, half);
        }
        Word4 fragment = TLeft.Left(left, atLeft, TTile.Rows, 0, half);
        sums.First = Row<TProduct>(sums.First, fragment, b0, b1);
        if (TTile.WarpColumns > 32) sums.First2 = Row<TProduct>(sums.First2, fragment, b2, b3);
        fragment = TLeft.Left(left, atLeft, TTile.Rows, 1, half);
        sums.Second = Row<TProduct>(sums.Second, fragment, b0, b1);
        if (TTile.WarpColumns > 32) sums.Second2 = Row<TProduct>(sums.Second2, fragment, b2, b3);
        if (TTile.WarpRows == 32) return sums;
        fragment = TLeft.Left(left, atLeft, TTile.Rows, 2, half);
        sums.Third = Row<TProduct>(sums.Third, fragment, b0, b1);
        if (TTile.WarpColumns > 32) sums.Third2 = Row<TProduct>(sums.Third2, fragment, b2, b3);
        fragment = TLeft.Left(left, atLeft, TTile.Rows, 3, half);
        sums.Fourth = Row<TProduct>(sums.Fourth, fragment, b0, b1);
        if (TTile.WarpColumns > 32) sums.Fourth2 = Row<TProduct>(sums.Fourth2, fragment, b2, b3);
        return sums;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4x4 Row<TProduct>(Float4x4 sums, Word4 a, Word4 b0, Word4 b1)
        where TProduct : struct, IProduct
    {
        sums.A = TProduct.Add(sums.A, a, b0.X, b0.Y);
        sums.B = TProduct.Add(sums.B, a, b0.Z, b0.W);
        sums.C = TProduct.Add(sums.C, a, b1.X, b1.Y);
        sums.D = TProduct.Add(sums.D, a, b1.Z, b1.W);
        return sums;
    }

    private static void Store(
        Float4x4 sums, ArrayView<float> c, ArrayView<float> bias, ArrayView<float> residual,
        ArrayView<float> activated, Epilogue e, int row, int column)
    {
        Store(sums.A, c, bias, residual, activated, e, row, column);
        Store(sums.B, c, bias, residual, activated, e, row, column + 8);
        Store(sums.C, c, bias, residual, activated, e, row, column + 16);
        Store(sums.D, c, bias, residual, activated, e, row, column + 24);
    }

    // A lane's two columns of rows row and row + 8.
    private static void Store(
        Float4 sums, ArrayView<float> c, ArrayView<float> bias, ArrayView<float> residual,
        ArrayView<float> activated, Epilogue e, int row, int column)
    {
        Store(sums.X, sums.Y, c, bias, residual, activated, e, row, column);
        Store(sums.Z, sums.W, c, bias, residual, activated, e, row + 8, column);
    }

    private static void Store(
        float x, float y, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, Epilogue e, int row, int column)
    {
        Place place = e.C;
        if (row >= place.Rows || column >= place.Columns) return;
        int part = Grid.IdxZ * place.Rows * place.Columns, at = place.Offset + part + row * place.Stride + column;
        bool both = column + 1 < place.Columns;
        if (both && ((place.Offset | part | place.Stride) & 1) == 0)
        {
            Epilogue.Two(Float2.Of(x, y), c, bias, residual, activated, e, at, column);
            return;
        }
        Epilogue.One(x, c, bias, residual, activated, e, at, column);
        if (both) Epilogue.One(y, c, bias, residual, activated, e, at + 1, column + 1);
    }

    /// <summary>
    /// Rows of four 16 × 8 tiles: up to four below each other, and as many to their right. What a tile does not use is never
    /// touched, and takes no register.
    /// </summary>
    private struct Sums
    {
        public Float4x4 First, Second, Third, Fourth, First2, Second2, Third2, Fourth2;
    }
}

/// <summary>Sizes of a tile. Threads: 32 for each of its warps. Strips: those in shared memory, two or three.</summary>
internal interface ITile
{
    static abstract int Rows { get; }

    static abstract int Columns { get; }

    /// <summary>32 or 64.</summary>
    static abstract int WarpRows { get; }

    /// <summary>32 or 64.</summary>
    static abstract int WarpColumns { get; }

    static abstract int Threads { get; }

    static abstract int Strips { get; }
}

/// <summary>How a warp multiplies fragments.</summary>
internal interface IProduct
{
    /// <summary>c (16, 8) + a · b.</summary>
    static abstract Float4 Add(Float4 c, Word4 a, uint b0, uint b1);
}
