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
        ArrayView<Word4> a, ArrayView<Word4> b, ArrayView<float> c, ArrayView<float> bias, ArrayView<float> residual, ArrayView<float> activated, TensorShape s)
        where TTile : struct, ITile
        where TLeft : struct, IOrder
        where TRight : struct, IOrder
        where TProduct : struct, IProduct
    {
        ArrayView<Word4> left = SharedMemory.Allocate<Word4>(TTile.Strips * TTile.Rows * 4), right = SharedMemory.Allocate<Word4>(TTile.Strips * TTile.Columns * 4);
        int lane = Group.IdxX % 32, warp = Group.IdxX / 32, row0 = Grid.IdxY * TTile.Rows, column0 = Grid.IdxX * TTile.Columns;
        int warpRow = warp % (TTile.Rows / TTile.WarpRows) * TTile.WarpRows, warpColumn = warp / (TTile.Rows / TTile.WarpRows) * TTile.WarpColumns;
        int step = Grid.IdxZ * s.Depth, end = IntrinsicMath.Min(s.Steps, step + s.Depth), ahead = step;
        for (int strip = 0; strip < TTile.Strips - 1; strip++, ahead++)
        {
            if (ahead < end) Copy<TTile, TLeft, TRight>(left, a, right, b, strip, s, row0, column0, ahead);
            GpuIntrinsics.CommitCopies();
        }
        // Rows of four 16 × 8 tiles: up to four below each other, and as many to their right. What a tile does not use
        // is never touched, and takes no register.
        Float4x4 first = default, second = default, third = default, fourth = default;
        Float4x4 first2 = default, second2 = default, third2 = default, fourth2 = default;
        int here = 0, there = TTile.Strips - 1;
        for (; step < end; step++, ahead++)
        {
            if (TTile.Strips == 2) GpuIntrinsics.WaitForAllCopies();
            else GpuIntrinsics.WaitForCopies();
            Group.Barrier();
            if (ahead < end) Copy<TTile, TLeft, TRight>(left, a, right, b, there, s, row0, column0, ahead);
            GpuIntrinsics.CommitCopies();
            there = there == TTile.Strips - 1 ? 0 : there + 1;
            int atLeft = here * TTile.Rows * 4, atRight = here * TTile.Columns * 4;
            for (int half = 0; half < 2; half++)
            {
                Word4 b0 = TRight.Right(right, atRight, TTile.Columns, warpColumn, half, lane), b1 = TRight.Right(right, atRight, TTile.Columns, warpColumn + 16, half, lane);
                Word4 b2 = default, b3 = default;
                if (TTile.WarpColumns > 32)
                {
                    b2 = TRight.Right(right, atRight, TTile.Columns, warpColumn + 32, half, lane);
                    b3 = TRight.Right(right, atRight, TTile.Columns, warpColumn + 48, half, lane);
                }
                Word4 fragment = TLeft.Left(left, atLeft, TTile.Rows, warpRow, half, lane);
                first = Row<TProduct>(first, fragment, b0, b1);
                if (TTile.WarpColumns > 32) first2 = Row<TProduct>(first2, fragment, b2, b3);
                fragment = TLeft.Left(left, atLeft, TTile.Rows, warpRow + 16, half, lane);
                second = Row<TProduct>(second, fragment, b0, b1);
                if (TTile.WarpColumns > 32) second2 = Row<TProduct>(second2, fragment, b2, b3);
                if (TTile.WarpRows == 32) continue;
                fragment = TLeft.Left(left, atLeft, TTile.Rows, warpRow + 32, half, lane);
                third = Row<TProduct>(third, fragment, b0, b1);
                if (TTile.WarpColumns > 32) third2 = Row<TProduct>(third2, fragment, b2, b3);
                fragment = TLeft.Left(left, atLeft, TTile.Rows, warpRow + 48, half, lane);
                fourth = Row<TProduct>(fourth, fragment, b0, b1);
                if (TTile.WarpColumns > 32) fourth2 = Row<TProduct>(fourth2, fragment, b2, b3);
            }
            here = here == TTile.Strips - 1 ? 0 : here + 1;
        }
        int row = row0 + warpRow + lane / 4, column = column0 + warpColumn + lane % 4 * 2;
        Store(first, c, bias, residual, activated, s.End, row, column);
        Store(second, c, bias, residual, activated, s.End, row + 16, column);
        if (TTile.WarpColumns > 32)
        {
            Store(first2, c, bias, residual, activated, s.End, row, column + 32);
            Store(second2, c, bias, residual, activated, s.End, row + 16, column + 32);
        }
        if (TTile.WarpRows == 32) return;
        Store(third, c, bias, residual, activated, s.End, row + 32, column);
        Store(fourth, c, bias, residual, activated, s.End, row + 48, column);
        if (TTile.WarpColumns == 32) return;
        Store(third2, c, bias, residual, activated, s.End, row + 32, column + 32);
        Store(fourth2, c, bias, residual, activated, s.End, row + 48, column + 32);
    }

    private static void Copy<TTile, TLeft, TRight>(
        ArrayView<Word4> left, ArrayView<Word4> a, ArrayView<Word4> right, ArrayView<Word4> b, int strip, TensorShape s, int row0, int column0, int step)
        where TTile : struct, ITile
        where TLeft : struct, IOrder
        where TRight : struct, IOrder
    {
        Side<TTile, TLeft>(left, strip * TTile.Rows * 4, a, s.A, TTile.Rows, row0, step);
        Side<TTile, TRight>(right, strip * TTile.Columns * 4, b, s.B, TTile.Columns, column0, step);
    }

    // A strip has four chunks for each of its rows; a thread copies two or four of them.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Side<TTile, TOrder>(ArrayView<Word4> strip, int at, ArrayView<Word4> x, Place place, int side, int first, int step)
        where TTile : struct, ITile
        where TOrder : struct, IOrder
    {
        int chunk = Group.IdxX;
        TOrder.Copy(strip, at, side, x, place, first, step, chunk);
        TOrder.Copy(strip, at, side, x, place, first, step, chunk + TTile.Threads);
        if (4 * side == 2 * TTile.Threads) return;
        TOrder.Copy(strip, at, side, x, place, first, step, chunk + 2 * TTile.Threads);
        TOrder.Copy(strip, at, side, x, place, first, step, chunk + 3 * TTile.Threads);
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
        Float4x4 sums, ArrayView<float> c, ArrayView<float> bias, ArrayView<float> residual, ArrayView<float> activated, Epilogue e, int row, int column)
    {
        Store(sums.A, c, bias, residual, activated, e, row, column);
        Store(sums.B, c, bias, residual, activated, e, row, column + 8);
        Store(sums.C, c, bias, residual, activated, e, row, column + 16);
        Store(sums.D, c, bias, residual, activated, e, row, column + 24);
    }

    // A lane's two columns of rows row and row + 8.
    private static void Store(
        Float4 sums, ArrayView<float> c, ArrayView<float> bias, ArrayView<float> residual, ArrayView<float> activated, Epilogue e, int row, int column)
    {
        Store(sums.X, sums.Y, c, bias, residual, activated, e, row, column);
        Store(sums.Z, sums.W, c, bias, residual, activated, e, row + 8, column);
    }

    private static void Store(
        float x, float y, ArrayView<float> c, ArrayView<float> bias, ArrayView<float> residual, ArrayView<float> activated, Epilogue e, int row, int column)
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
