using System.Runtime.CompilerServices;
using ILGPU;

namespace Nola.Tensors;

public sealed partial class GpuDevice
{
    // Few rows read a weight once and multiply little: what counts is how many of its bytes are on their way at once.
    private const int FewRows = 16;

    // Tiles add a shallower inner dimension in one order whatever their number, so there a row has the same bits among any others.
    private const int LeastDepth = 256;

    private static bool IsFewRows(Matrix a, bool transposeA, Matrix b, bool transposeB, int k)
    {
        if (transposeA || a.Rows > FewRows || k < LeastDepth || ((b.Offset | b.Stride) & 7) != 0) return false;
        return transposeB ? (k & 7) == 0 && ((a.Offset | a.Stride) & 3) == 0 : (b.Columns & 7) == 0;
    }

    private void RowsProduct(Matrix a, Matrix b, bool transposeB, Matrix c, float alpha, float beta, After after)
    {
        ProductShape shape = new() { K = a.Columns, A = Place.Of(a), B = Place.Of(b), End = after.On(c, alpha, beta) };
        bool one = c.Rows == 1;
        Blocks blocks = new(
            Blocks.For(c.Columns, transposeB ? RowsKernels.ColumnsAlong : RowsKernels.ColumnsAcross), one ? 1 : Blocks.For(c.Rows, 4));
        ArrayView<float> x = Floats(a.Tensor), y = Floats(c.Tensor), bias = Floats(after.Bias ?? c.Tensor);
        ArrayView<float> residual = Floats(after.Residual ?? c.Tensor), activated = Floats(after.Activated ?? c.Tensor);
        if (b.Tensor.DType == DType.BFloat16)
        {
            Action<ArrayView<float>, ArrayView<ushort>, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>,
                ProductShape> narrow = (transposeB, one) switch
                {
                    (false, true) => RowsKernels.AcrossOneNarrow,
                    (false, false) => RowsKernels.AcrossFourNarrow,
                    (true, true) => RowsKernels.AlongOneNarrow,
                    (true, false) => RowsKernels.AlongFourNarrow,
                };
            Launch(narrow, blocks, x, Halves(b.Tensor), y, bias, residual, activated, shape);
            return;
        }
        Action<ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>,
            ProductShape> wide = (transposeB, one) switch
            {
                (false, true) => RowsKernels.AcrossOne,
                (false, false) => RowsKernels.AcrossFour,
                (true, true) => RowsKernels.AlongOne,
                (true, false) => RowsKernels.AlongFour,
            };
        Launch(wide, blocks, x, Floats(b.Tensor), y, bias, residual, activated, shape);
    }
}

/// <summary>
/// Products of one row, or of four at a time, with a matrix that is read once, eight elements by a thread, and the
/// <see cref="Epilogue"/>; float32 throughout. Across: rows of b run along the result, x · W with W stored (in, out). Along: they
/// run along the inner dimension, x · Wᵀ. A row has the same bits whatever other rows of
/// the sixteen stand beside it.
/// </summary>
internal static class RowsKernels
{
    /// <summary>Columns of the result that a block makes: two chunks of eight elements across, a warp for each along.</summary>
    public const int ColumnsAcross = 16, ColumnsAlong = 8;

    // Rows of b that a block of eight warps reads at once, 16 a warp; elements that a warp reads of a row along.
    private const int Down = 128, Width = 256;

    [Kernel(256, 3)]
    public static void AcrossOne(
        ArrayView<float> a, ArrayView<float> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, ProductShape s) =>
        Across<float, WideElement>(a, b, c, bias, residual, activated, s);

    [Kernel(256, 3)]
    public static void AcrossOneNarrow(
        ArrayView<float> a, ArrayView<ushort> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, ProductShape s) =>
        Across<ushort, NarrowElement>(a, b, c, bias, residual, activated, s);

    [Kernel(256, 2)]
    public static void AcrossFour(
        ArrayView<float> a, ArrayView<float> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, ProductShape s) =>
        AcrossRows<float, WideElement>(a, b, c, bias, residual, activated, s);

    [Kernel(256, 2)]
    public static void AcrossFourNarrow(
        ArrayView<float> a, ArrayView<ushort> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, ProductShape s) =>
        AcrossRows<ushort, NarrowElement>(a, b, c, bias, residual, activated, s);

    [Kernel(256, 3)]
    public static void AlongOne(
        ArrayView<float> a, ArrayView<float> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, ProductShape s) =>
        Along<float, WideElement>(a, b, c, bias, residual, activated, s);

    [Kernel(256, 3)]
    public static void AlongOneNarrow(
        ArrayView<float> a, ArrayView<ushort> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, ProductShape s) =>
        Along<ushort, NarrowElement>(a, b, c, bias, residual, activated, s);

    [Kernel(256, 2)]
    public static void AlongFour(
        ArrayView<float> a, ArrayView<float> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, ProductShape s) =>
        AlongRows<float, WideElement>(a, b, c, bias, residual, activated, s);

    [Kernel(256, 2)]
    public static void AlongFourNarrow(
        ArrayView<float> a, ArrayView<ushort> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, ProductShape s) =>
        AlongRows<ushort, NarrowElement>(a, b, c, bias, residual, activated, s);

    // Lanes 0 to 15 of a warp have the first chunk of 16 rows of b, lanes 16 to 31 the second.
    private static void Across<T, TElement>(
        ArrayView<float> a, ArrayView<T> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, ProductShape s)
        where T : unmanaged
        where TElement : struct, IElement<T>
    {
        ArrayView<Float4> shared = SharedMemory.Allocate<Float4>(8 * ColumnsAcross / 4);
        int lane = Group.IdxX & 31, warp = Group.IdxX / 32, column = Grid.IdxX * ColumnsAcross + lane / 16 * 8;
        int k = warp * 16 + (lane & 15), from = s.B.Offset / 8 + column / 8, stride = s.B.Stride / 8;
        Float4 low = default, high = default;
        if (column < s.End.C.Columns)
        {
            // Four chunks are on their way at once.
            for (; k + 3 * Down < s.K; k += 4 * Down)
            {
                Float8 w0 = TElement.Eight(b, from + k * stride), w1 = TElement.Eight(b, from + (k + Down) * stride);
                Float8 w2 = TElement.Eight(b, from + (k + 2 * Down) * stride), w3 = TElement.Eight(b, from + (k + 3 * Down) * stride);
                int at = s.A.Offset + k;
                float x0 = a[at], x1 = a[at + Down], x2 = a[at + 2 * Down], x3 = a[at + 3 * Down];
                low = low + w0.Low * x0 + w1.Low * x1 + w2.Low * x2 + w3.Low * x3;
                high = high + w0.High * x0 + w1.High * x1 + w2.High * x2 + w3.High * x3;
            }
            for (; k < s.K; k += Down)
            {
                Float8 w = TElement.Eight(b, from + k * stride);
                float x = a[s.A.Offset + k];
                low += w.Low * x;
                high += w.High * x;
            }
        }
        low = GpuIntrinsics.SumsOfSixteen(low);
        high = GpuIntrinsics.SumsOfSixteen(high);
        if ((lane & 15) == 0)
        {
            shared[warp * 4 + lane / 8] = low;
            shared[warp * 4 + lane / 8 + 1] = high;
        }
        Group.Barrier();
        int mine = Grid.IdxX * ColumnsAcross + Group.IdxX;
        if (Group.IdxX >= ColumnsAcross || mine >= s.End.C.Columns) return;
        Store(Eight(shared.Cast<float>(), ColumnsAcross, Group.IdxX), c, bias, residual, activated, s.End, 0, mine);
    }

    private static void AcrossRows<T, TElement>(
        ArrayView<float> a, ArrayView<T> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, ProductShape s)
        where T : unmanaged
        where TElement : struct, IElement<T>
    {
        ArrayView<Float4> shared = SharedMemory.Allocate<Float4>(8 * ColumnsAcross);
        int lane = Group.IdxX & 31, warp = Group.IdxX / 32, column = Grid.IdxX * ColumnsAcross + lane / 16 * 8;
        int k = warp * 16 + (lane & 15), from = s.B.Offset / 8 + column / 8, stride = s.B.Stride / 8, row0 = 4 * Grid.IdxY;
        Rows rows = Rows.From(s.A, row0);
        Float4x4 low = default, high = default;
        if (column < s.End.C.Columns)
        {
            for (; k + Down < s.K; k += 2 * Down)
            {
                Float8 near = TElement.Eight(b, from + k * stride), far = TElement.Eight(b, from + (k + Down) * stride);
                Float4 x = rows.At(a, k), next = rows.At(a, k + Down);
                low.AddOuter(x, near.Low);
                high.AddOuter(x, near.High);
                low.AddOuter(next, far.Low);
                high.AddOuter(next, far.High);
            }
            if (k < s.K)
            {
                Float8 w = TElement.Eight(b, from + k * stride);
                Float4 x = rows.At(a, k);
                low.AddOuter(x, w.Low);
                high.AddOuter(x, w.High);
            }
        }
        PutRow(shared, 0, lane, warp, GpuIntrinsics.SumsOfSixteen(low.A), GpuIntrinsics.SumsOfSixteen(high.A));
        PutRow(shared, 1, lane, warp, GpuIntrinsics.SumsOfSixteen(low.B), GpuIntrinsics.SumsOfSixteen(high.B));
        PutRow(shared, 2, lane, warp, GpuIntrinsics.SumsOfSixteen(low.C), GpuIntrinsics.SumsOfSixteen(high.C));
        PutRow(shared, 3, lane, warp, GpuIntrinsics.SumsOfSixteen(low.D), GpuIntrinsics.SumsOfSixteen(high.D));
        Group.Barrier();
        int row = row0 + Group.IdxX / ColumnsAcross, mine = Grid.IdxX * ColumnsAcross + (Group.IdxX & (ColumnsAcross - 1));
        if (Group.IdxX >= 4 * ColumnsAcross || row >= s.End.C.Rows || mine >= s.End.C.Columns) return;
        Store(Eight(shared.Cast<float>(), 4 * ColumnsAcross, Group.IdxX), c, bias, residual, activated, s.End, row, mine);
    }

    // A warp has a column.
    private static void Along<T, TElement>(
        ArrayView<float> a, ArrayView<T> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, ProductShape s)
        where T : unmanaged
        where TElement : struct, IElement<T>
    {
        int lane = Group.IdxX & 31, column = Grid.IdxX * ColumnsAlong + Group.IdxX / 32;
        if (column >= s.End.C.Columns) return;
        ArrayView<Float4> x = a.Cast<Float4>();
        int k = 8 * lane, from = (s.B.Offset + column * s.B.Stride) / 8, first = s.A.Offset / 4;
        float sum = 0;
        for (; k + 3 * Width < s.K; k += 4 * Width)
        {
            Float8 w0 = TElement.Eight(b, from + k / 8), w1 = TElement.Eight(b, from + (k + Width) / 8);
            Float8 w2 = TElement.Eight(b, from + (k + 2 * Width) / 8), w3 = TElement.Eight(b, from + (k + 3 * Width) / 8);
            sum += Dot(w0, x, first + k / 4);
            sum += Dot(w1, x, first + (k + Width) / 4);
            sum += Dot(w2, x, first + (k + 2 * Width) / 4);
            sum += Dot(w3, x, first + (k + 3 * Width) / 4);
        }
        for (; k < s.K; k += Width) sum += Dot(TElement.Eight(b, from + k / 8), x, first + k / 4);
        sum = GpuIntrinsics.WarpSum(sum);
        if (lane == 0) Store(sum, c, bias, residual, activated, s.End, 0, column);
    }

    private static void AlongRows<T, TElement>(
        ArrayView<float> a, ArrayView<T> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, ProductShape s)
        where T : unmanaged
        where TElement : struct, IElement<T>
    {
        int lane = Group.IdxX & 31, column = Grid.IdxX * ColumnsAlong + Group.IdxX / 32, row0 = 4 * Grid.IdxY;
        if (column >= s.End.C.Columns) return;
        ArrayView<Float4> x = a.Cast<Float4>();
        Rows rows = Rows.From(s.A, row0);
        int k = 8 * lane, from = (s.B.Offset + column * s.B.Stride) / 8;
        Float4 sums = default;
        for (; k + Width < s.K; k += 2 * Width)
        {
            Float8 near = TElement.Eight(b, from + k / 8), far = TElement.Eight(b, from + (k + Width) / 8);
            sums += rows.Dots(near, x, k);
            sums += rows.Dots(far, x, k + Width);
        }
        if (k < s.K) sums += rows.Dots(TElement.Eight(b, from + k / 8), x, k);
        sums = GpuIntrinsics.WarpSums(sums);
        if (lane != 0) return;
        Store(sums.X, c, bias, residual, activated, s.End, row0, column);
        if (row0 + 1 < s.End.C.Rows) Store(sums.Y, c, bias, residual, activated, s.End, row0 + 1, column);
        if (row0 + 2 < s.End.C.Rows) Store(sums.Z, c, bias, residual, activated, s.End, row0 + 2, column);
        if (row0 + 3 < s.End.C.Rows) Store(sums.W, c, bias, residual, activated, s.End, row0 + 3, column);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Dot(Float8 w, ArrayView<Float4> x, int at) => Float4.Dot(w.Low, x[at]) + Float4.Dot(w.High, x[at + 1]);

    private static void PutRow(ArrayView<Float4> shared, int row, int lane, int warp, Float4 low, Float4 high)
    {
        if ((lane & 15) != 0) return;
        int at = warp * ColumnsAcross + row * 4 + lane / 8;
        shared[at] = low;
        shared[at + 1] = high;
    }

    // The sum of what eight warps have, in their order.
    private static float Eight(ArrayView<float> shared, int pitch, int at) =>
        shared[at] + shared[at + pitch] + (shared[at + 2 * pitch] + shared[at + 3 * pitch])
        + (shared[at + 4 * pitch] + shared[at + 5 * pitch] + (shared[at + 6 * pitch] + shared[at + 7 * pitch]));

    private static void Store(
        float sum, ArrayView<float> c, ArrayView<float> bias, ArrayView<float> residual,
        ArrayView<float> activated, Epilogue e, int row, int column) =>
        Epilogue.One(sum, c, bias, residual, activated, e, e.C.Offset + row * e.C.Stride + column, column);

    /// <summary>Where four rows of x begin; those that are not there are the last one again.</summary>
    private struct Rows
    {
        public int First, Second, Third, Fourth;

        public static Rows From(Place place, int row)
        {
            Rows rows = default;
            rows.First = place.Offset + row * place.Stride;
            rows.Second = place.Offset + IntrinsicMath.Min(row + 1, place.Rows - 1) * place.Stride;
            rows.Third = place.Offset + IntrinsicMath.Min(row + 2, place.Rows - 1) * place.Stride;
            rows.Fourth = place.Offset + IntrinsicMath.Min(row + 3, place.Rows - 1) * place.Stride;
            return rows;
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly Float4 At(ArrayView<float> x, int k) => Float4.Of(x[First + k], x[Second + k], x[Third + k], x[Fourth + k]);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly Float4 Dots(Float8 w, ArrayView<Float4> x, int k) =>
            Float4.Of(
                Dot(w, x, (First + k) / 4), Dot(w, x, (Second + k) / 4), Dot(w, x, (Third + k) / 4), Dot(w, x, (Fourth + k) / 4));
    }
}
