using System.Runtime.CompilerServices;
using ILGPU;

namespace Nola.Tensors;

/// <summary>Everything about one product but its memory. Depth: steps of the inner dimension that a block does.</summary>
internal struct ProductShape
{
    public int K, TransposeA, TransposeB, Depth;
    public Place A, B;
    public Epilogue End;
}

/// <summary>
/// op(a) · op(b) and its <see cref="Epilogue"/> in float32. A block makes one tile of c from strips of a and b in shared
/// memory, both laid out so that a thread reads its four rows and its four columns at once; each thread has 4 × 4 sums.
/// Blocks along z take parts of the inner dimension and write tiles of their own.
/// </summary>
internal static class ProductKernels
{
    /// <summary>Steps of the inner dimension in shared memory at once.</summary>
    public const int Step = 16;

    [Kernel(256, 4)]
    public static void Square(
        ArrayView<float> a, ArrayView<float> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, ProductShape s) =>
        Tile<SquareTile, float, WideElement>(a, b, c, bias, residual, activated, s);

    [Kernel(256, 4)]
    public static void Tall(
        ArrayView<float> a, ArrayView<float> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, ProductShape s) =>
        Tile<TallTile, float, WideElement>(a, b, c, bias, residual, activated, s);

    [Kernel(256, 4)]
    public static void Flat(
        ArrayView<float> a, ArrayView<float> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, ProductShape s) =>
        Tile<FlatTile, float, WideElement>(a, b, c, bias, residual, activated, s);

    [Kernel(256, 4)]
    public static void SquareNarrow(
        ArrayView<float> a, ArrayView<ushort> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, ProductShape s) =>
        Tile<SquareTile, ushort, NarrowElement>(a, b, c, bias, residual, activated, s);

    [Kernel(256, 4)]
    public static void TallNarrow(
        ArrayView<float> a, ArrayView<ushort> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, ProductShape s) =>
        Tile<TallTile, ushort, NarrowElement>(a, b, c, bias, residual, activated, s);

    [Kernel(256, 4)]
    public static void FlatNarrow(
        ArrayView<float> a, ArrayView<ushort> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, ProductShape s) =>
        Tile<FlatTile, ushort, NarrowElement>(a, b, c, bias, residual, activated, s);

    private static void Tile<TTile, T, TElement>(
        ArrayView<float> a, ArrayView<T> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, ProductShape s)
        where TTile : struct, ITile
        where T : unmanaged
        where TElement : struct, IElement<T>
    {
        // Strips (Step, Rows) and (Step, Columns), each row with four floats to spare, so that columns lie in other banks.
        ArrayView<Float4> left = SharedMemory.Allocate<Float4>(Step * (TTile.Rows / 4 + 1));
        ArrayView<Float4> right = SharedMemory.Allocate<Float4>(Step * (TTile.Columns / 4 + 1));
        int pitchLeft = TTile.Rows / 4 + 1, pitchRight = TTile.Columns / 4 + 1;
        int row0 = Grid.IdxY * TTile.Rows, column0 = Grid.IdxX * TTile.Columns;
        int down = Group.IdxX / (TTile.Columns / 4), across = Group.IdxX & (TTile.Columns / 4 - 1);
        int start = Grid.IdxZ * s.Depth, end = IntrinsicMath.Min(s.K, start + s.Depth);
        Float4x4 sums = default;
        for (int k = start; k < end; k += Step)
        {
            if (s.TransposeA != 0) Rows<float, WideElement>(left, TTile.Rows, a, s.A, k, end, row0, s.End.C.Rows);
            else Columns<float, WideElement>(left, TTile.Rows, a, s.A, k, end, row0, s.End.C.Rows);
            if (s.TransposeB != 0) Columns<T, TElement>(right, TTile.Columns, b, s.B, k, end, column0, s.End.C.Columns);
            else Rows<T, TElement>(right, TTile.Columns, b, s.B, k, end, column0, s.End.C.Columns);
            Group.Barrier();
            for (int p = 0; p < Step; p += 4)
            {
                int atLeft = p * pitchLeft + down, atRight = p * pitchRight + across;
                sums.AddOuter(left[atLeft], right[atRight]);
                sums.AddOuter(left[atLeft + pitchLeft], right[atRight + pitchRight]);
                sums.AddOuter(left[atLeft + 2 * pitchLeft], right[atRight + 2 * pitchRight]);
                sums.AddOuter(left[atLeft + 3 * pitchLeft], right[atRight + 3 * pitchRight]);
            }
            Group.Barrier();
        }
        int row = row0 + 4 * down, column = column0 + 4 * across;
        Store(sums.A, c, bias, residual, activated, s.End, row, column);
        Store(sums.B, c, bias, residual, activated, s.End, row + 1, column);
        Store(sums.C, c, bias, residual, activated, s.End, row + 2, column);
        Store(sums.D, c, bias, residual, activated, s.End, row + 3, column);
    }

    // A strip whose rows are rows of the matrix: neighbors in the strip are neighbors in memory.
    private static void Rows<T, TElement>(
        ArrayView<Float4> strip, int size, ArrayView<T> x, Place place, int k, int end, int first, int count)
        where T : unmanaged
        where TElement : struct, IElement<T>
    {
        int quarters = size / 4;
        for (int q = Group.IdxX; q < Step * quarters; q += 256)
        {
            int p = q / quarters, i = q & (quarters - 1);
            strip[p * (quarters + 1) + i] = Four<T, TElement>(x, place, k + p, end, first + 4 * i, count);
        }
    }

    // A strip whose rows are columns of the matrix: four steps are read at once and put into four rows.
    private static void Columns<T, TElement>(
        ArrayView<Float4> strip, int size, ArrayView<T> x, Place place, int k, int end, int first, int count)
        where T : unmanaged
        where TElement : struct, IElement<T>
    {
        ArrayView<float> to = strip.Cast<float>();
        int pitch = size + 4;
        for (int q = Group.IdxX; q < size * (Step / 4); q += 256)
        {
            int i = q / (Step / 4), p = (q & (Step / 4 - 1)) * 4;
            Float4 v = Four<T, TElement>(x, place, first + i, count, k + p, end);
            to[p * pitch + i] = v.X;
            to[(p + 1) * pitch + i] = v.Y;
            to[(p + 2) * pitch + i] = v.Z;
            to[(p + 3) * pitch + i] = v.W;
        }
    }

    /// <summary>Elements (row, column … column + 3), zero outside rows and columns.</summary>
    public static Float4 Four<T, TElement>(ArrayView<T> x, Place place, int row, int rows, int column, int columns)
        where T : unmanaged
        where TElement : struct, IElement<T>
    {
        Float4 v = default;
        if (row >= rows) return v;
        int at = place.Offset + row * place.Stride + column;
        if (((place.Offset | place.Stride) & 3) == 0 && column + 4 <= columns) return TElement.Four(x, at / 4);
        if (column < columns) v.X = TElement.Value(x[at]);
        if (column + 1 < columns) v.Y = TElement.Value(x[at + 1]);
        if (column + 2 < columns) v.Z = TElement.Value(x[at + 2]);
        if (column + 3 < columns) v.W = TElement.Value(x[at + 3]);
        return v;
    }

    private static void Store(
        Float4 sums, ArrayView<float> c, ArrayView<float> bias, ArrayView<float> residual,
        ArrayView<float> activated, Epilogue e, int row, int column)
    {
        Place place = e.C;
        if (row >= place.Rows) return;
        int part = Grid.IdxZ * place.Rows * place.Columns, at = place.Offset + part + row * place.Stride + column;
        if (((place.Offset | part | place.Stride) & 3) == 0 && column + 4 <= place.Columns)
        {
            Epilogue.Four(sums, c, bias, residual, activated, e, at, column);
            return;
        }
        if (column < place.Columns) Epilogue.One(sums.X, c, bias, residual, activated, e, at, column);
        if (column + 1 < place.Columns) Epilogue.One(sums.Y, c, bias, residual, activated, e, at + 1, column + 1);
        if (column + 2 < place.Columns) Epilogue.One(sums.Z, c, bias, residual, activated, e, at + 2, column + 2);
        if (column + 3 < place.Columns) Epilogue.One(sums.W, c, bias, residual, activated, e, at + 3, column + 3);
    }

    /// <summary>Size of the tile of a block of 256 threads with 4 × 4 sums each.</summary>
    private interface ITile
    {
        static abstract int Rows { get; }

        static abstract int Columns { get; }
    }

    private readonly struct SquareTile : ITile
    {
        public static int Rows => 64;

        public static int Columns => 64;
    }

    private readonly struct TallTile : ITile
    {
        public static int Rows => 256;

        public static int Columns => 16;
    }

    private readonly struct FlatTile : ITile
    {
        public static int Rows => 16;

        public static int Columns => 256;
    }
}
