using System.Runtime.CompilerServices;
using ILGPU;

namespace Nola.Tensors;

/// <summary>
/// How an operand lies in memory, and so in its strip: <c>side</c> rows (of a, or columns of b) and 64 bytes of steps, in
/// chunks of 16 bytes that are swizzled so that what is read at once lies in all banks.
/// </summary>
internal interface IOrder
{
    /// <summary>Starts the copy of one chunk of the strip that begins at row <paramref name="first"/> and is the <paramref name="step"/>-th of the inner dimension.</summary>
    static abstract void Copy(ArrayView<Word4> strip, int at, int side, ArrayView<Word4> x, Place place, int first, int step, int chunk);

    /// <summary>16 rows and 32 bytes of steps as the left fragment: the second register is 8 rows below the first, the third 16 bytes of steps further.</summary>
    static abstract Word4 Left(ArrayView<Word4> strip, int at, int side, int row, int half, int lane);

    /// <summary>The same as two right fragments: the second register is 16 bytes of steps further, the third 8 rows below.</summary>
    static abstract Word4 Right(ArrayView<Word4> strip, int at, int side, int row, int half, int lane);
}

/// <summary>bfloat16, padded with zeros. Rows of memory run along the inner dimension: a strip is rows of 4 chunks.</summary>
internal readonly struct Along : IOrder
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Copy(ArrayView<Word4> strip, int at, int side, ArrayView<Word4> x, Place place, int first, int step, int chunk)
    {
        int row = chunk / 4, column = chunk % 4;
        GpuIntrinsics.CopyAsync(ref strip[at + Chunk(row, column)], ref x[(first + row) * place.Stride + step * 4 + column]);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Word4 Left(ArrayView<Word4> strip, int at, int side, int row, int half, int lane) => Load(strip, at, row + lane % 16, 2 * half + lane / 16);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Word4 Right(ArrayView<Word4> strip, int at, int side, int row, int half, int lane) =>
        Load(strip, at, row + lane % 8 + lane / 16 * 8, 2 * half + lane / 8 % 2);

    /// <summary>Where a chunk of a strip lies. Eight rows of one column are in all banks.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Chunk(int row, int column) => row * 4 + (column ^ (row / 2 % 4));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Word4 Load(ArrayView<Word4> strip, int at, int row, int column) => GpuIntrinsics.LoadMatrices(ref strip[at + Chunk(row, column)]);
}

/// <summary>bfloat16, padded with zeros. Rows of memory run across the inner dimension: a strip is 32 rows, and ldmatrix transposes.</summary>
internal readonly struct Across : IOrder
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Copy(ArrayView<Word4> strip, int at, int side, ArrayView<Word4> x, Place place, int first, int step, int chunk)
    {
        int row = chunk / (side / 8), column = chunk % (side / 8);
        GpuIntrinsics.CopyAsync(ref strip[at + row * (side / 8) + (column ^ (row % 8))], ref x[(step * 32 + row) * place.Stride + first / 8 + column]);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Word4 Left(ArrayView<Word4> strip, int at, int side, int row, int half, int lane) =>
        Load(strip, at, side, row / 8 + lane / 8 % 2, 16 * half + lane % 8 + lane / 16 * 8);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Word4 Right(ArrayView<Word4> strip, int at, int side, int row, int half, int lane) => Load(strip, at, side, row / 8 + lane / 16, 16 * half + lane % 16);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Word4 Load(ArrayView<Word4> strip, int at, int side, int column, int step) =>
        GpuIntrinsics.LoadMatricesTransposed(ref strip[at + step * (side / 8) + (column ^ (step % 8))]);
}

/// <summary>
/// float32, rounded to TF32 on the way to the tensor cores. As <see cref="Along"/>, with chunks of four elements; what is
/// outside the matrix is filled with zeros by the copy.
/// </summary>
internal readonly struct WideAlong : IOrder
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Copy(ArrayView<Word4> strip, int at, int side, ArrayView<Word4> x, Place place, int first, int step, int chunk)
    {
        int row = chunk / 4, column = chunk % 4, from = first + row;
        int bytes = from < place.Rows ? Bytes(place.Columns - step * 16 - column * 4) : 0;
        GpuIntrinsics.CopyPartAsync(ref strip[at + Along.Chunk(row, column)], ref x[bytes > 0 ? place.Offset + from * place.Stride + step * 4 + column : 0], bytes);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Word4 Left(ArrayView<Word4> strip, int at, int side, int row, int half, int lane) => GpuIntrinsics.RoundToTf32(Along.Left(strip, at, side, row, half, lane));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Word4 Right(ArrayView<Word4> strip, int at, int side, int row, int half, int lane) => GpuIntrinsics.RoundToTf32(Along.Right(strip, at, side, row, half, lane));

    /// <summary>Bytes of a chunk with so many elements left in its row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Bytes(int left) => IntrinsicMath.Clamp(4 * left, 0, 16);
}

/// <summary>
/// float32, as <see cref="WideAlong"/>. Rows of memory run across the inner dimension: a strip is 16 rows. ldmatrix cannot
/// transpose words of 32 bits, so a lane reads its four by itself.
/// </summary>
internal readonly struct WideAcross : IOrder
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Copy(ArrayView<Word4> strip, int at, int side, ArrayView<Word4> x, Place place, int first, int step, int chunk)
    {
        int row = chunk / (side / 4), column = chunk % (side / 4), from = step * 16 + row;
        int bytes = from < place.Rows ? WideAlong.Bytes(place.Columns - first - column * 4) : 0;
        GpuIntrinsics.CopyPartAsync(
            ref strip[at + row * (side / 4) + (column ^ (row % 4 * 2))], ref x[bytes > 0 ? place.Offset + from * place.Stride + first / 4 + column : 0], bytes);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Word4 Left(ArrayView<Word4> strip, int at, int side, int row, int half, int lane)
    {
        int step = 8 * half + lane % 4;
        row += lane / 4;
        Word4 words = default;
        words.X = Word(strip, at, side, step, row);
        words.Y = Word(strip, at, side, step, row + 8);
        words.Z = Word(strip, at, side, step + 4, row);
        words.W = Word(strip, at, side, step + 4, row + 8);
        return GpuIntrinsics.RoundToTf32(words);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Word4 Right(ArrayView<Word4> strip, int at, int side, int row, int half, int lane)
    {
        int step = 8 * half + lane % 4;
        row += lane / 4;
        Word4 words = default;
        words.X = Word(strip, at, side, step, row);
        words.Y = Word(strip, at, side, step + 4, row);
        words.Z = Word(strip, at, side, step, row + 8);
        words.W = Word(strip, at, side, step + 4, row + 8);
        return GpuIntrinsics.RoundToTf32(words);
    }

    // Four steps of eight rows are in all banks.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint Word(ArrayView<Word4> strip, int at, int side, int step, int row) =>
        strip.Cast<uint>()[4 * (at + step * (side / 4) + ((row / 4) ^ (step % 4 * 2))) + row % 4];
}
