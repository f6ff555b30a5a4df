using ILGPU;

namespace Nola.Tensors;

/// <summary>What large products round their operands to; their sums are float32 always.</summary>
internal enum Products
{
    /// <summary>Nothing: no tensor cores.</summary>
    Float32,

    /// <summary>10 bits of mantissa, from operands that stay float32 in memory.</summary>
    Tf32,

    /// <summary>7 bits of mantissa, in copies of half the size.</summary>
    BFloat16,
}

public sealed partial class GpuDevice
{
    /// <summary>Which tile a product on tensor cores is cut into; the bench puts others here to time them.</summary>
    internal TileTable TileTable { get; set; } = TileTable.Embedded;

    // Adapters' products, with a side of r, gain nothing from tensor cores: they read more than they multiply.
    private bool OnTensorCores(int m, int n, int k) => products != Products.Float32 && Math.Min(m, Math.Min(n, k)) > 16;

    // As Product. A frozen b keeps what tensor cores read of it; with a preactivation u, a is multiplied by gelu′(u).
    private void TensorProduct(
        Matrix a, bool transposeA, Matrix b, bool transposeB, Matrix c, float alpha,
        float beta, After after, GpuFrozenMatrix? frozen = null, Tensor? preactivation = null)
    {
        int m = c.Rows, n = c.Columns, k = transposeA ? a.Rows : a.Columns;
        TensorTile tile = products == Products.Tf32 ? TensorTile.Tf32
            : transposeA && transposeB ? TensorTile.Square
            : TileTable.For(m, n, k);
        using TensorOperand left = transposeA
            ? Operand(a, tile.Step, tile.Rows, preactivation)
            : Operand(a, tile.Rows, tile.Step, preactivation);
        using TensorOperand own = frozen is not null ? default
            : transposeB ? Operand(b, tile.Columns, tile.Step)
            : Operand(b, tile.Step, tile.Columns);
        TensorOperand right = frozen?.OnTensorCores ?? own;
        int steps = Blocks.For(k, tile.Step), down = Blocks.For(m, tile.Rows), across = Blocks.For(n, tile.Columns);
        int parts = PartsOf(down * across, k, tile.Blocks);
        TensorShape shape = new()
        {
            A = left.Place,
            B = right.Place,
            Steps = steps,
            Depth = Blocks.For(steps, parts),
            End = after.On(c, alpha, beta),
        };
        TensorKernel kernel = tile.Kernel(transposeA, transposeB);
        Blocks blocks = new(across, down, parts);
        if (parts == 1)
        {
            Tensor y = c.Tensor;
            Launch(
                kernel, blocks, left.Chunks, right.Chunks, Floats(y), Floats(after.Bias ?? y),
                Floats(after.Residual ?? y), Floats(after.Activated ?? y), shape);
            return;
        }
        using Tensor partial = Empty([parts, m, n]);
        shape.End = SumsAlone(partial, c);
        ArrayView<float> sums = Floats(partial);
        Launch(kernel, blocks, left.Chunks, right.Chunks, sums, sums, sums, sums, shape);
        SumParts(partial, c, alpha, beta, after);
    }

    // The rectangle as tensor cores read it: itself, when it lies so already; else a copy. For bfloat16, sides are whole
    // numbers of rows and columns, padded with zeros; for TF32, rows begin at multiples of 16 bytes.
    private TensorOperand Operand(Matrix x, int rows, int columns, Tensor? preactivation = null)
    {
        bool narrow = x.Tensor.DType == DType.BFloat16, tf32 = products == Products.Tf32;
        bool fits = tf32
            ? !narrow && ((x.Offset | x.Stride | x.Tensor.Length) & 3) == 0
            : narrow && x.Offset == 0 && x.Stride == x.Columns && x.Rows % rows == 0 && x.Columns % columns == 0;
        if (fits) return new(x, null);
        if (tf32) (rows, columns) = (1, 4);
        int height = Blocks.For(x.Rows, rows) * rows, width = Blocks.For(x.Columns, columns) * columns;
        Tensor copy = Empty([height, width], tf32 ? DType.Float32 : DType.BFloat16);
        int chunks = copy.Shape.Columns / TensorOperand.Chunk(copy.DType);
        Blocks blocks = new(height, Blocks.For(chunks, 256));
        Place place = Place.Of(x);
        if (tf32)
        {
            ArrayView<Float4> to = Floats(copy).Cast<Float4>();
            if (narrow) Launch(PadKernels.AlignNarrow, blocks, Halves(x.Tensor), to, place, chunks);
            else Launch(PadKernels.Align, blocks, Floats(x.Tensor), to, place, chunks);
        }
        else
        {
            ArrayView<Word4> to = Halves(copy).Cast<Word4>();
            if (preactivation is not null)
                Launch(PadKernels.RoundGeluGrad, blocks, Floats(x.Tensor), Floats(preactivation), to, place, chunks);
            else if (narrow) Launch(PadKernels.RoundNarrow, blocks, Halves(x.Tensor), to, place, chunks);
            else Launch(PadKernels.Round, blocks, Floats(x.Tensor), to, place, chunks);
        }
        return new(new Matrix(copy, x.Rows, x.Columns, 0, width), copy);
    }

    /// <summary>A rectangle as tensor cores read it.</summary>
    /// <param name="Matrix">Where it lies; its rows begin at multiples of 16 bytes.</param>
    /// <param name="Copy">The copy that it lies in, to be disposed; null when it is where it was.</param>
    internal readonly record struct TensorOperand(Matrix Matrix, Tensor? Copy) : IDisposable
    {
        /// <summary>Elements in 16 bytes.</summary>
        public static int Chunk(DType type) => 16 / type.Size();

        public ArrayView<Word4> Chunks =>
            Matrix.Tensor.DType == DType.BFloat16 ? Halves(Matrix.Tensor).Cast<Word4>() : Floats(Matrix.Tensor).Cast<Word4>();

        /// <summary>Rows and columns in elements, offset and stride in chunks of 16 bytes.</summary>
        public Place Place
        {
            get
            {
                int chunk = Chunk(Matrix.Tensor.DType);
                return new()
                {
                    Rows = Matrix.Rows,
                    Columns = Matrix.Columns,
                    Offset = Matrix.Offset / chunk,
                    Stride = Matrix.Stride / chunk,
                };
            }
        }

        public void Dispose() => Copy?.Dispose();
    }
}

/// <summary>Copies of operands for tensor cores: a thread writes 16 bytes.</summary>
internal static class PadKernels
{
    /// <summary>Rounds a float32 rectangle to bfloat16 in a matrix padded with zeros; a thread writes eight elements.</summary>
    [Kernel(256)]
    public static void Round(ArrayView<float> from, ArrayView<Word4> to, Place place, int chunks) =>
        Rounded<float, WideElement>(from, to, place, chunks);

    /// <summary>The same from bfloat16.</summary>
    [Kernel(256)]
    public static void RoundNarrow(ArrayView<ushort> from, ArrayView<Word4> to, Place place, int chunks) =>
        Rounded<ushort, NarrowElement>(from, to, place, chunks);

    /// <summary>The same of dy · gelu′(u).</summary>
    [Kernel(256)]
    public static void RoundGeluGrad(ArrayView<float> dy, ArrayView<float> u, ArrayView<Word4> to, Place place, int chunks)
    {
        int chunk = Grid.IdxY * Group.DimX + Group.IdxX, row = Grid.IdxX;
        if (chunk < chunks)
            to[(long)row * chunks + chunk] = GpuIntrinsics.PackHalves(
                GeluGrad(dy, u, place, row, 8 * chunk), GeluGrad(dy, u, place, row, 8 * chunk + 4));
    }

    // Zero where dy is: outside the matrix.
    private static Float4 GeluGrad(ArrayView<float> dy, ArrayView<float> u, Place place, int row, int column)
    {
        Float4 d = ProductKernels.Four<float, WideElement>(dy, place, row, place.Rows, column, place.Columns);
        Float4 x = ProductKernels.Four<float, WideElement>(u, place, row, place.Rows, column, place.Columns);
        return Float4.Of(
            ElementwiseKernels.GeluGradFormula.Apply(x.X, d.X), ElementwiseKernels.GeluGradFormula.Apply(x.Y, d.Y),
            ElementwiseKernels.GeluGradFormula.Apply(x.Z, d.Z), ElementwiseKernels.GeluGradFormula.Apply(x.W, d.W));
    }

    private static void Rounded<T, TElement>(ArrayView<T> from, ArrayView<Word4> to, Place place, int chunks)
        where T : unmanaged
        where TElement : struct, IElement<T>
    {
        int chunk = Grid.IdxY * Group.DimX + Group.IdxX, row = Grid.IdxX;
        if (chunk >= chunks) return;
        Float4 low = ProductKernels.Four<T, TElement>(from, place, row, place.Rows, 8 * chunk, place.Columns);
        Float4 high = ProductKernels.Four<T, TElement>(from, place, row, place.Rows, 8 * chunk + 4, place.Columns);
        to[(long)row * chunks + chunk] = GpuIntrinsics.PackHalves(low, high);
    }

    /// <summary>A float32 rectangle in rows that begin at multiples of 16 bytes.</summary>
    [Kernel(256)]
    public static void Align(ArrayView<float> from, ArrayView<Float4> to, Place place, int chunks) =>
        Aligned<float, WideElement>(from, to, place, chunks);

    /// <summary>The same from bfloat16.</summary>
    [Kernel(256)]
    public static void AlignNarrow(ArrayView<ushort> from, ArrayView<Float4> to, Place place, int chunks) =>
        Aligned<ushort, NarrowElement>(from, to, place, chunks);

    private static void Aligned<T, TElement>(ArrayView<T> from, ArrayView<Float4> to, Place place, int chunks)
        where T : unmanaged
        where TElement : struct, IElement<T>
    {
        int chunk = Grid.IdxY * Group.DimX + Group.IdxX, row = Grid.IdxX;
        if (chunk < chunks)
            to[(long)row * chunks + chunk] = ProductKernels.Four<T, TElement>(from, place, row, place.Rows, 4 * chunk, place.Columns);
    }
}
