using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace Nola.Tensors;

public sealed partial class GpuDevice
{
    /// <inheritdoc/>
    public override void Sum(Tensor x, Tensor y, float scale = 1)
    {
        int pieces = Blocks.For(x.Length, ReduceKernels.Piece);
        using Tensor partial = Empty([pieces], DType.Float64);
        Launch(ReduceKernels.Sums, new(pieces), Floats(x), Doubles(partial));
        Launch(ReduceKernels.Total, new(1), Doubles(partial), Floats(y), scale);
    }

    /// <inheritdoc/>
    public override double SumSquares(params ReadOnlySpan<Tensor> tensors)
    {
        using Tensor partial = SquaresOfPieces(tensors);
        double[] sums = new double[partial.Length];
        Download(partial, sums);
        double total = 0;
        foreach (double sum in sums) total += sum;
        return total;
    }

    // The sum of squares of each piece of each tensor.
    private Tensor SquaresOfPieces(ReadOnlySpan<Tensor> tensors)
    {
        int pieces = 0, first = 0;
        foreach (Tensor x in tensors) pieces += Blocks.For(x.Length, ReduceKernels.Piece);
        Tensor partial = Empty([pieces], DType.Float64);
        foreach (Tensor x in tensors)
        {
            int count = Blocks.For(x.Length, ReduceKernels.Piece);
            Launch(ReduceKernels.SumsOfSquares, new(count), Floats(x), Doubles(partial), first);
            first += count;
        }
        return partial;
    }

    private protected override void ColumnSumsCore(Tensor x, Tensor y, float beta)
    {
        int rows = x.Shape.Rows, columns = x.Shape.Columns, pieces = Blocks.For(rows, ReduceKernels.RowsOfPiece);
        using Tensor partial = Empty([pieces, columns]);
        Launch(ReduceKernels.ColumnSums, new(Blocks.For(columns, 32), pieces), Floats(x), Floats(partial), rows, columns);
        SumParts(partial, y, 1, beta);
    }

    // y = scale · Σ of the parts, in order, (+ what comes after) + beta · y. parts: (S, |y|).
    private void SumParts(Tensor parts, Matrix y, float scale, float beta, After after = default) =>
        Launch(
            ReduceKernels.SumParts, new(Blocks.For(y.Rows * y.Columns, 256)),
            Floats(parts), Floats(y.Tensor), Floats(after.Bias ?? y.Tensor),
            Floats(after.Residual ?? y.Tensor), Floats(after.Activated ?? y.Tensor), parts.Shape[0], after.On(y, scale, beta));
}

/// <summary>A rectangle of a tensor as a kernel sees it; element (i, j) is at Offset + i · Stride + j.</summary>
internal struct Place
{
    public int Rows, Columns, Offset, Stride;

    public static Place Of(in Matrix matrix) =>
        new() { Rows = matrix.Rows, Columns = matrix.Columns, Offset = matrix.Offset, Stride = matrix.Stride };

    /// <summary>Index of a row's first element.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly long At(int row) => Offset + (long)row * Stride;
}

/// <summary>
/// Sums whose order depends on the shape alone:
/// threads sum with a fixed stride, blocks as a tree, parts one after another.
/// </summary>
internal static class ReduceKernels
{
    /// <summary>Elements that one block sums, and rows of its columns; the number of blocks follows from the shape alone.</summary>
    public const int Piece = 16384, RowsOfPiece = 256;

    [Kernel(256, AnyWarps = true)]
    public static void Sums(ArrayView<float> x, ArrayView<double> partial)
    {
        double sum = 0;
        int end = IntrinsicMath.Min(x.IntLength, (Grid.IdxX + 1) * Piece);
        for (int i = Grid.IdxX * Piece + Group.IdxX; i < end; i += Group.DimX) sum += x[i];
        sum = BlockSum(sum);
        if (Group.IdxX == 0) partial[Grid.IdxX] = sum;
    }

    /// <summary>The sum of block b goes to partial[first + b].</summary>
    [Kernel(256, AnyWarps = true)]
    public static void SumsOfSquares(ArrayView<float> x, ArrayView<double> partial, int first)
    {
        double sum = 0;
        int end = IntrinsicMath.Min(x.IntLength, (Grid.IdxX + 1) * Piece);
        for (int i = Grid.IdxX * Piece + Group.IdxX; i < end; i += Group.DimX) sum += (double)x[i] * x[i];
        sum = BlockSum(sum);
        if (Group.IdxX == 0) partial[first + Grid.IdxX] = sum;
    }

    [Kernel(256, AnyWarps = true)]
    public static void Total(ArrayView<double> partial, ArrayView<float> y, float scale)
    {
        double sum = 0;
        for (int i = Group.IdxX; i < partial.IntLength; i += Group.DimX) sum += partial[i];
        sum = BlockSum(sum);
        if (Group.IdxX == 0) y[0] = (float)(scale * sum);
    }

    /// <summary>partial[p, j] = Σ over the rows of piece p of x[i, j]; a block has 32 columns and 8 rows at a time.</summary>
    [Kernel(256)]
    public static void ColumnSums(ArrayView<float> x, ArrayView<float> partial, int rows, int columns)
    {
        ArrayView<float> shared = SharedMemory.Allocate<float>(256);
        int lane = Group.IdxX & 31, warp = Group.IdxX / 32, j = Grid.IdxX * 32 + lane;
        int end = IntrinsicMath.Min(rows, (Grid.IdxY + 1) * RowsOfPiece);
        float sum = 0;
        if (j < columns)
            for (int i = Grid.IdxY * RowsOfPiece + warp; i < end; i += 8) sum += x[(long)i * columns + j];
        shared[Group.IdxX] = sum;
        Group.Barrier();
        if (warp == 0 && j < columns) partial[Grid.IdxY * columns + j] = EightRows(shared, lane);
    }

    [Kernel(256)]
    public static void SumParts(
        ArrayView<float> parts, ArrayView<float> y, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, int count, Epilogue e)
    {
        int size = e.C.Rows * e.C.Columns, i = Grid.IdxX * Group.DimX + Group.IdxX;
        if (i >= size) return;
        float sum = 0;
        int p = 0;
        // Eight are on their way at once; they are added in their order all the same.
        for (; p + 8 <= count; p += 8)
        {
            long at = (long)p * size + i;
            float a = parts[at], b = parts[at + size], c = parts[at + 2L * size], d = parts[at + 3L * size];
            float f = parts[at + 4L * size], g = parts[at + 5L * size], h = parts[at + 6L * size], last = parts[at + 7L * size];
            sum = sum + a + b + c + d + f + g + h + last;
        }
        for (; p < count; p++) sum += parts[(long)p * size + i];
        int row = i / e.C.Columns, column = i - row * e.C.Columns;
        Epilogue.One(sum, y, bias, residual, activated, e, e.C.Offset + row * e.C.Stride + column, column);
    }

    /// <summary>Column <paramref name="lane"/> of eight rows of 32, added as a tree.</summary>
    public static float EightRows(ArrayView<float> shared, int lane) =>
        shared[lane] + shared[lane + 32] + (shared[lane + 64] + shared[lane + 96])
        + (shared[lane + 128] + shared[lane + 160] + (shared[lane + 192] + shared[lane + 224]));

    /// <summary>The sum over a block, in thread 0 only.</summary>
    public static double BlockSum(double x)
    {
        ArrayView<double> shared = SharedMemory.Allocate<double>(256);
        shared[Group.IdxX] = x;
        Group.Barrier();
        double sum = 0;
        if (Group.IdxX < 32)
        {
            for (int i = Group.IdxX; i < Group.DimX; i += 32) sum += shared[i];
            shared[Group.IdxX] = sum;
        }
        Group.Barrier();
        if (Group.IdxX != 0) return 0;
        for (int lane = 1; lane < 32; lane++) sum += shared[lane];
        return sum;
    }
}
