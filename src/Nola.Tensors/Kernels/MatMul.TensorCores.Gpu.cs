using System.Runtime.CompilerServices;
using ILGPU;

namespace Nola.Tensors;

public sealed partial class GpuDevice
{
    // Adapters' products, with a side of r, gain nothing from tensor cores: they read more than they multiply.
    private bool OnTensorCores(int m, int n, int k) => tensorCores && Math.Min(m, Math.Min(n, k)) > 16;

    // c = alpha · a · b (+ bias) + beta · c with both operands rounded and padded already.
    private void TensorProduct(Tensor a, bool transposeA, Tensor b, bool transposeB, int k, Matrix c, float alpha, float beta, Tensor? bias)
    {
        int m = c.Rows, n = c.Columns, steps = Blocks.For(k, TensorKernels.Step), down = Blocks.For(m, TensorKernels.Side), across = Blocks.For(n, TensorKernels.Side);
        int parts = Parts(down * across, k);
        TensorShape shape = new()
        {
            M = m,
            N = n,
            Left = a.Shape.Columns / 8,
            Right = b.Shape.Columns / 8,
            Steps = steps,
            Depth = Blocks.For(steps, parts),
            HasBias = bias is null ? 0 : 1,
            C = Place.Of(c),
            Alpha = alpha,
            Beta = beta,
        };
        Action<ArrayView<Word4>, ArrayView<Word4>, ArrayView<float>, ArrayView<float>, TensorShape> kernel =
            transposeA ? transposeB ? TensorKernels.AcrossAlong : TensorKernels.AcrossAcross : transposeB ? TensorKernels.AlongAlong : TensorKernels.AlongAcross;
        ArrayView<Word4> left = Halves(a).Cast<Word4>(), right = Halves(b).Cast<Word4>();
        Blocks blocks = new(across, down, parts);
        if (parts == 1)
        {
            Launch(kernel, blocks, left, right, Floats(c.Tensor), Floats(bias ?? c.Tensor), shape);
            return;
        }
        using Tensor partial = Empty([parts, m, n]);
        shape.C = Place.Of(new Matrix(partial, m, n, 0, n));
        (shape.Alpha, shape.Beta, shape.HasBias) = (1, 0, 0);
        Launch(kernel, blocks, left, right, Floats(partial), Floats(partial), shape);
        SumParts(partial, c, alpha, beta, bias);
    }

    // The rectangle as bfloat16, padded with zeros to whole tiles.
    private Tensor Padded(Matrix x)
    {
        int rows = Blocks.For(x.Rows, TensorKernels.Side) * TensorKernels.Side, chunks = Blocks.For(x.Columns, TensorKernels.Side) * TensorKernels.Side / 8;
        Tensor padded = Empty([rows, 8 * chunks], DType.BFloat16);
        Blocks blocks = new(rows, Blocks.For(chunks, 256));
        ArrayView<Word4> to = Halves(padded).Cast<Word4>();
        if (x.Tensor.DType == DType.BFloat16) Launch(TensorKernels.PadNarrow, blocks, Halves(x.Tensor), to, Place.Of(x), chunks);
        else Launch(TensorKernels.Pad, blocks, Floats(x.Tensor), to, Place.Of(x), chunks);
        return padded;
    }
}

/// <summary>
/// One product on tensor cores but its memory. Operands are bfloat16 with both sides padded with zeros to whole tiles of
/// 128; Left and Right are the lengths of their rows in chunks of eight. Depth: steps of 32 that a block does.
/// </summary>
internal struct TensorShape
{
    public int M, N, Left, Right, Steps, Depth, HasBias;
    public Place C;
    public float Alpha, Beta;
}

/// <summary>
/// c = alpha · a · b (+ bias) + beta · c with bfloat16 operands and float32 sums, for compute capability 8.0 and up. A
/// block makes 128 × 128 of c; its eight warps make 64 × 32 each. Strips of 32 steps come through shared memory, three at
/// a time: two are on their way (cp.async) while one is multiplied (ldmatrix, mma.sync m16n8k16). Operands are read as
/// they lie in memory, rows along the inner dimension or across it: ldmatrix transposes. Chunks of 16 bytes are swizzled
/// so that the eight rows of a matrix lie in all banks.
/// </summary>
internal static class TensorKernels
{
    /// <summary>Side of a tile of c, and to what operands are padded.</summary>
    public const int Side = 128;

    /// <summary>Steps of the inner dimension in a strip.</summary>
    public const int Step = 32;

    // Chunks of 16 bytes in a strip of one operand, and of all strips.
    private const int Strip = Side * Step / 8, Strips = 3 * Strip;

    /// <summary>x · W with W stored (in, out).</summary>
    [Kernel(256, 2)]
    public static void AlongAcross(ArrayView<Word4> a, ArrayView<Word4> b, ArrayView<float> c, ArrayView<float> bias, TensorShape s) =>
        Tile<Along, Across>(a, b, c, bias, s);

    /// <summary>dy · Wᵀ with W stored (in, out).</summary>
    [Kernel(256, 2)]
    public static void AlongAlong(ArrayView<Word4> a, ArrayView<Word4> b, ArrayView<float> c, ArrayView<float> bias, TensorShape s) =>
        Tile<Along, Along>(a, b, c, bias, s);

    /// <summary>xᵀ · dy.</summary>
    [Kernel(256, 2)]
    public static void AcrossAcross(ArrayView<Word4> a, ArrayView<Word4> b, ArrayView<float> c, ArrayView<float> bias, TensorShape s) =>
        Tile<Across, Across>(a, b, c, bias, s);

    /// <summary>aᵀ · bᵀ.</summary>
    [Kernel(256, 2)]
    public static void AcrossAlong(ArrayView<Word4> a, ArrayView<Word4> b, ArrayView<float> c, ArrayView<float> bias, TensorShape s) =>
        Tile<Across, Along>(a, b, c, bias, s);

    /// <summary>Rounds a float32 rectangle to bfloat16 in a matrix padded with zeros; a thread writes eight elements.</summary>
    [Kernel(256)]
    public static void Pad(ArrayView<float> from, ArrayView<Word4> to, Place place, int chunks) => Pad<float, WideElement>(from, to, place, chunks);

    /// <summary>The same from bfloat16.</summary>
    [Kernel(256)]
    public static void PadNarrow(ArrayView<ushort> from, ArrayView<Word4> to, Place place, int chunks) => Pad<ushort, NarrowElement>(from, to, place, chunks);

    private static void Pad<T, TElement>(ArrayView<T> from, ArrayView<Word4> to, Place place, int chunks)
        where T : unmanaged
        where TElement : struct, IElement<T>
    {
        int chunk = Grid.IdxY * Group.DimX + Group.IdxX, row = Grid.IdxX, column = 8 * chunk;
        if (chunk >= chunks) return;
        Word4 halves = default;
        if (row < place.Rows)
        {
            int at = place.Offset + row * place.Stride + column;
            Float4 low = default, high = default;
            if (((place.Offset | place.Stride) & 3) == 0 && column + 8 <= place.Columns)
            {
                low = TElement.Four(from, at / 4);
                high = TElement.Four(from, at / 4 + 1);
            }
            else
            {
                if (column < place.Columns) low.X = TElement.Value(from[at]);
                if (column + 1 < place.Columns) low.Y = TElement.Value(from[at + 1]);
                if (column + 2 < place.Columns) low.Z = TElement.Value(from[at + 2]);
                if (column + 3 < place.Columns) low.W = TElement.Value(from[at + 3]);
                if (column + 4 < place.Columns) high.X = TElement.Value(from[at + 4]);
                if (column + 5 < place.Columns) high.Y = TElement.Value(from[at + 5]);
                if (column + 6 < place.Columns) high.Z = TElement.Value(from[at + 6]);
                if (column + 7 < place.Columns) high.W = TElement.Value(from[at + 7]);
            }
            halves.X = GpuIntrinsics.PackHalves(low.X, low.Y);
            halves.Y = GpuIntrinsics.PackHalves(low.Z, low.W);
            halves.Z = GpuIntrinsics.PackHalves(high.X, high.Y);
            halves.W = GpuIntrinsics.PackHalves(high.Z, high.W);
        }
        to[(long)row * chunks + chunk] = halves;
    }

    private static void Tile<TLeft, TRight>(ArrayView<Word4> a, ArrayView<Word4> b, ArrayView<float> c, ArrayView<float> bias, TensorShape s)
        where TLeft : struct, IOrder
        where TRight : struct, IOrder
    {
        ArrayView<Word4> left = SharedMemory.Allocate<Word4>(Strips), right = SharedMemory.Allocate<Word4>(Strips);
        int lane = Group.IdxX % 32, warp = Group.IdxX / 32, row0 = Grid.IdxY * Side, column0 = Grid.IdxX * Side;
        int warpRow = warp % 2 * 64, warpColumn = warp / 2 * 32;
        int step = Grid.IdxZ * s.Depth, end = IntrinsicMath.Min(s.Steps, step + s.Depth), ahead = step;
        for (int stage = 0; stage < 2; stage++, ahead++)
        {
            if (ahead < end) Copy<TLeft, TRight>(left, a, right, b, stage * Strip, s, row0, column0, ahead);
            GpuIntrinsics.CommitCopies();
        }
        // Four rows of four 16 × 8 tiles.
        Float4x4 first = default, second = default, third = default, fourth = default;
        int here = 0, there = 2 * Strip;
        for (; step < end; step++, ahead++)
        {
            GpuIntrinsics.WaitForCopies();
            Group.Barrier();
            if (ahead < end) Copy<TLeft, TRight>(left, a, right, b, there, s, row0, column0, ahead);
            GpuIntrinsics.CommitCopies();
            there = there == 2 * Strip ? 0 : there + Strip;
            for (int half = 0; half < 2; half++)
            {
                Word4 b0 = TRight.Load(right, here, warpColumn, half, lane / 16, lane / 8 % 2, lane), b1 = TRight.Load(right, here, warpColumn + 16, half, lane / 16, lane / 8 % 2, lane);
                first = Multiply(first, TLeft.Load(left, here, warpRow, half, lane / 8 % 2, lane / 16, lane), b0, b1);
                second = Multiply(second, TLeft.Load(left, here, warpRow + 16, half, lane / 8 % 2, lane / 16, lane), b0, b1);
                third = Multiply(third, TLeft.Load(left, here, warpRow + 32, half, lane / 8 % 2, lane / 16, lane), b0, b1);
                fourth = Multiply(fourth, TLeft.Load(left, here, warpRow + 48, half, lane / 8 % 2, lane / 16, lane), b0, b1);
            }
            here = here == 2 * Strip ? 0 : here + Strip;
        }
        int row = row0 + warpRow + lane / 4, column = column0 + warpColumn + lane % 4 * 2;
        Store(first, c, bias, s, row, column);
        Store(second, c, bias, s, row + 16, column);
        Store(third, c, bias, s, row + 32, column);
        Store(fourth, c, bias, s, row + 48, column);
    }

    private static void Copy<TLeft, TRight>(
        ArrayView<Word4> left, ArrayView<Word4> a, ArrayView<Word4> right, ArrayView<Word4> b, int at, TensorShape s, int row0, int column0, int step)
        where TLeft : struct, IOrder
        where TRight : struct, IOrder
    {
        TLeft.Copy(left, at, a, s.Left, row0, step * Step, Group.IdxX);
        TLeft.Copy(left, at, a, s.Left, row0, step * Step, Group.IdxX + 256);
        TRight.Copy(right, at, b, s.Right, column0, step * Step, Group.IdxX);
        TRight.Copy(right, at, b, s.Right, column0, step * Step, Group.IdxX + 256);
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

    private static void Store(Float4x4 sums, ArrayView<float> c, ArrayView<float> bias, TensorShape s, int row, int column)
    {
        Store(sums.A, c, bias, s, row, column);
        Store(sums.B, c, bias, s, row, column + 8);
        Store(sums.C, c, bias, s, row, column + 16);
        Store(sums.D, c, bias, s, row, column + 24);
    }

    // A lane's two columns of rows row and row + 8.
    private static void Store(Float4 sums, ArrayView<float> c, ArrayView<float> bias, TensorShape s, int row, int column)
    {
        Store(sums.X, sums.Y, c, bias, s, row, column);
        Store(sums.Z, sums.W, c, bias, s, row + 8, column);
    }

    private static void Store(float x, float y, ArrayView<float> c, ArrayView<float> bias, TensorShape s, int row, int column)
    {
        if (row >= s.M || column >= s.N) return;
        int at = s.C.Offset + Grid.IdxZ * s.M * s.N + row * s.C.Stride + column;
        bool both = column + 1 < s.N;
        x *= s.Alpha;
        y *= s.Alpha;
        if (s.HasBias != 0)
        {
            x += bias[column];
            if (both) y += bias[column + 1];
        }
        if (both && ((s.C.Offset | s.C.Stride | (s.M * s.N)) & 1) == 0)
        {
            ArrayView<Float2> pairs = c.Cast<Float2>();
            Float2 old = default;
            if (s.Beta != 0) old = pairs[at / 2];
            pairs[at / 2] = Float2.Of(x + old.X, y + old.Y);
            return;
        }
        c[at] = s.Beta == 0 ? x : x + c[at];
        if (both) c[at + 1] = s.Beta == 0 ? y : y + c[at + 1];
    }

    /// <summary>How an operand lies in memory, and so in its strip of 128 rows (of a, or columns of b) and 32 steps.</summary>
    private interface IOrder
    {
        /// <summary>Starts the copy of one of the 512 chunks of a strip.</summary>
        static abstract void Copy(ArrayView<Word4> strip, int at, ArrayView<Word4> x, int pitch, int first, int step, int chunk);

        /// <summary>Four 8 × 8 matrices: matrix i is 8 · rowBit rows and 8 · stepBit steps further than the first.</summary>
        static abstract Word4 Load(ArrayView<Word4> strip, int at, int row, int half, int rowBit, int stepBit, int lane);
    }

    /// <summary>Rows of memory run along the inner dimension: a strip is 128 rows of 4 chunks.</summary>
    private readonly struct Along : IOrder
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Copy(ArrayView<Word4> strip, int at, ArrayView<Word4> x, int pitch, int first, int step, int chunk)
        {
            int row = chunk / 4, place = chunk % 4;
            GpuIntrinsics.CopyAsync(ref strip[at + row * 4 + (place ^ (row / 2 % 4))], ref x[(first + row) * pitch + step / 8 + place]);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Word4 Load(ArrayView<Word4> strip, int at, int row, int half, int rowBit, int stepBit, int lane)
        {
            row += lane % 8 + 8 * rowBit;
            return GpuIntrinsics.LoadMatrices(ref strip[at + row * 4 + ((2 * half + stepBit) ^ (row / 2 % 4))]);
        }
    }

    /// <summary>Rows of memory run across the inner dimension: a strip is 32 rows of 16 chunks.</summary>
    private readonly struct Across : IOrder
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Copy(ArrayView<Word4> strip, int at, ArrayView<Word4> x, int pitch, int first, int step, int chunk)
        {
            int row = chunk / 16, place = chunk % 16;
            GpuIntrinsics.CopyAsync(ref strip[at + row * 16 + (place ^ (row % 8))], ref x[(step + row) * pitch + first / 8 + place]);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Word4 Load(ArrayView<Word4> strip, int at, int row, int half, int rowBit, int stepBit, int lane)
        {
            int step = 16 * half + lane % 8 + 8 * stepBit;
            return GpuIntrinsics.LoadMatricesTransposed(ref strip[at + step * 16 + ((row / 8 + rowBit) ^ (step % 8))]);
        }
    }
}
