using System.Runtime.CompilerServices;
using ILGPU;

namespace Nola.Tensors;

/// <summary>
/// What a thread copies of an operand: chunk Target of a strip, from chunk Source of memory and Step chunks further for each strip;
/// and again for as many rounds as the strip needs, as many chunks further in it as there are threads, and Below in memory. Row and
/// Column, in elements, are where that is in the operand, and Rows lie between two rounds.
/// </summary>
internal struct Cursor
{
    public int Target, Source, Step, Below, Row, Column, Rows;
}

/// <summary>
/// How an operand lies in memory, and so in its strip: <c>side</c> rows (of a, or columns of b) and 64 bytes of steps, in
/// chunks of 16 bytes that are swizzled so that what is read at once lies in all banks. Places are worked out once, before the
/// loop over strips: what a strip, half of its steps or 16 rows add to one is a constant, added or exclusively ored.
/// </summary>
internal interface IOrder
{
    /// <summary>Where a thread's copies begin, for the rows from <paramref name="first"/> on.</summary>
    static abstract Cursor Begin(int side, int threads, Place place, int first, int thread);

    /// <summary>Starts the copy of one chunk, the <paramref name="round"/>-th that the thread copies of a strip.</summary>
    static abstract void Copy(
        ArrayView<Word4> strip, int to, ArrayView<Word4> x, int from, Cursor cursor, Place place, int step, int round);

    /// <summary>What a lane reads of left fragments of the rows from <paramref name="row"/> on, a multiple of 32.</summary>
    static abstract int LeftPlace(int side, int row, int lane);

    /// <summary>The same of right fragments.</summary>
    static abstract int RightPlace(int side, int row, int lane);

    /// <summary>
    /// 16 rows and 32 bytes of steps as the left fragment: the second register is 8 rows below the first, the third 16 bytes of
    /// steps further. Place: from <see cref="LeftPlace"/>, and what the strip adds; rows: which 16 of a warp; half: of the steps.
    /// </summary>
    static abstract Word4 Left(ArrayView<Word4> strips, int place, int side, int rows, int half);

    /// <summary>The same as two right fragments: the second register is 16 bytes of steps further, the third 8 rows below.</summary>
    static abstract Word4 Right(ArrayView<Word4> strips, int place, int side, int rows, int half);

    /// <summary>The first place of a strip.</summary>
    static abstract int Strip(int side, int strip);
}

/// <summary>bfloat16, padded with zeros. Rows of memory run along the inner dimension: a strip is rows of 4 chunks.</summary>
internal readonly struct Along : IOrder
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Cursor Begin(int side, int threads, Place place, int first, int thread)
    {
        int row = thread / 4, column = thread & 3;
        Cursor cursor = default;
        cursor.Target = Chunk(row, column);
        cursor.Source = (first + row) * place.Stride + column;
        cursor.Step = 4;
        cursor.Below = threads / 4 * place.Stride;
        return cursor;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Copy(
        ArrayView<Word4> strip, int to, ArrayView<Word4> x, int from, Cursor cursor, Place place, int step, int round) =>
        GpuIntrinsics.CopyAsync(ref strip[to], ref x[from]);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int LeftPlace(int side, int row, int lane) => Chunk(row + (lane & 15), lane / 16);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int RightPlace(int side, int row, int lane) => Chunk(row + (lane & 7) + lane / 16 * 8, (lane / 8) & 1);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Word4 Left(ArrayView<Word4> strips, int place, int side, int rows, int half) =>
        GpuIntrinsics.LoadMatricesBeyond(ref strips[place ^ (2 * half)], 64 * rows);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Word4 Right(ArrayView<Word4> strips, int place, int side, int rows, int half) => Left(strips, place, side, rows, half);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Strip(int side, int strip) => strip * side * 4;

    /// <summary>Where a chunk of a strip lies. Eight rows of one column are in all banks.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Chunk(int row, int column) => row * 4 + (column ^ ((row / 2) & 3));
}

/// <summary>
/// bfloat16, padded with zeros. Rows of memory run across the inner dimension:
/// a strip is 32 rows, and ldmatrix transposes.
/// </summary>
internal readonly struct Across : IOrder
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Cursor Begin(int side, int threads, Place place, int first, int thread)
    {
        int row = thread / (side / 8), column = thread & (side / 8 - 1);
        Cursor cursor = default;
        cursor.Target = row * (side / 8) + (column ^ (row & 7));
        cursor.Source = row * place.Stride + first / 8 + column;
        cursor.Step = 32 * place.Stride;
        cursor.Below = threads / (side / 8) * place.Stride;
        return cursor;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Copy(
        ArrayView<Word4> strip, int to, ArrayView<Word4> x, int from, Cursor cursor, Place place, int step, int round) =>
        GpuIntrinsics.CopyAsync(ref strip[to], ref x[from]);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int LeftPlace(int side, int row, int lane) =>
        ((lane & 7) + lane / 16 * 8) * (side / 8) + ((row / 8 + ((lane / 8) & 1)) ^ (lane & 7));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int RightPlace(int side, int row, int lane) => (lane & 15) * (side / 8) + ((row / 8 + lane / 16) ^ (lane & 7));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Word4 Left(ArrayView<Word4> strips, int place, int side, int rows, int half) =>
        GpuIntrinsics.LoadMatricesTransposedBeyond(ref strips[place ^ (2 * rows)], 2 * side * half);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Word4 Right(ArrayView<Word4> strips, int place, int side, int rows, int half) => Left(strips, place, side, rows, half);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Strip(int side, int strip) => strip * side * 4;
}

/// <summary>
/// float32, rounded to TF32 on the way to the tensor cores. As <see cref="Along"/>, with chunks of four elements; what is
/// outside the matrix is filled with zeros by the copy.
/// </summary>
internal readonly struct WideAlong : IOrder
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Cursor Begin(int side, int threads, Place place, int first, int thread)
    {
        Cursor cursor = Along.Begin(side, threads, place, first, thread);
        cursor.Source += place.Offset;
        cursor.Row = first + thread / 4;
        cursor.Column = (thread & 3) * 4;
        cursor.Rows = threads / 4;
        return cursor;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Copy(ArrayView<Word4> strip, int to, ArrayView<Word4> x, int from, Cursor cursor, Place place, int step, int round)
    {
        int bytes = cursor.Row + round * cursor.Rows < place.Rows ? Bytes(place.Columns - step * 16 - cursor.Column) : 0;
        GpuIntrinsics.CopyPartAsync(ref strip[to], ref x[bytes > 0 ? from : 0], bytes);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int LeftPlace(int side, int row, int lane) => Along.LeftPlace(side, row, lane);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int RightPlace(int side, int row, int lane) => Along.RightPlace(side, row, lane);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Word4 Left(ArrayView<Word4> strips, int place, int side, int rows, int half) =>
        GpuIntrinsics.RoundToTf32(Along.Left(strips, place, side, rows, half));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Word4 Right(ArrayView<Word4> strips, int place, int side, int rows, int half) =>
        GpuIntrinsics.RoundToTf32(Along.Right(strips, place, side, rows, half));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Strip(int side, int strip) => Along.Strip(side, strip);

    /// <summary>Bytes of a chunk with so many elements left in its row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Bytes(int left) => IntrinsicMath.Clamp(4 * left, 0, 16);
}

/// <summary>
/// float32, as <see cref="WideAlong"/>. Rows of memory run across the inner dimension: a strip is 16 rows. ldmatrix cannot
/// transpose words of 32 bits, so a lane reads its four by itself, and its places are of words.
/// </summary>
internal readonly struct WideAcross : IOrder
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Cursor Begin(int side, int threads, Place place, int first, int thread)
    {
        int row = thread / (side / 4), column = thread & (side / 4 - 1);
        Cursor cursor = default;
        cursor.Target = row * (side / 4) + (column ^ ((row & 3) * 2));
        cursor.Source = place.Offset + row * place.Stride + first / 4 + column;
        cursor.Step = 16 * place.Stride;
        cursor.Below = threads / (side / 4) * place.Stride;
        cursor.Row = row;
        cursor.Column = first + column * 4;
        cursor.Rows = threads / (side / 4);
        return cursor;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Copy(ArrayView<Word4> strip, int to, ArrayView<Word4> x, int from, Cursor cursor, Place place, int step, int round)
    {
        int bytes = step * 16 + cursor.Row + round * cursor.Rows < place.Rows ? WideAlong.Bytes(place.Columns - cursor.Column) : 0;
        GpuIntrinsics.CopyPartAsync(ref strip[to], ref x[bytes > 0 ? from : 0], bytes);
    }

    // Four steps of eight rows are in all banks.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int LeftPlace(int side, int row, int lane) =>
        (lane & 3) * side + 4 * ((row / 4 + lane / 16) ^ ((lane & 3) * 2)) + ((lane / 4) & 3);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int RightPlace(int side, int row, int lane) => LeftPlace(side, row, lane);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Word4 Left(ArrayView<Word4> strips, int place, int side, int rows, int half)
    {
        ArrayView<uint> words = strips.Cast<uint>();
        int near = (place ^ (16 * rows)) + 8 * side * half, below = (place ^ (16 * rows + 8)) + 8 * side * half;
        Word4 found = default;
        found.X = words[near];
        found.Y = words[below];
        found.Z = words[near + 4 * side];
        found.W = words[below + 4 * side];
        return GpuIntrinsics.RoundToTf32(found);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Word4 Right(ArrayView<Word4> strips, int place, int side, int rows, int half)
    {
        ArrayView<uint> words = strips.Cast<uint>();
        int near = (place ^ (16 * rows)) + 8 * side * half, below = (place ^ (16 * rows + 8)) + 8 * side * half;
        Word4 found = default;
        found.X = words[near];
        found.Y = words[near + 4 * side];
        found.Z = words[below];
        found.W = words[below + 4 * side];
        return GpuIntrinsics.RoundToTf32(found);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Strip(int side, int strip) => strip * side * 16;
}
