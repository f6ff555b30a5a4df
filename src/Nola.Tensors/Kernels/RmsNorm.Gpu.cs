using System.Runtime.CompilerServices;
using ILGPU;

namespace Nola.Tensors;

public sealed partial class GpuDevice
{
    private protected override void RmsNormCore(Matrix x, Tensor weight, float epsilon, Matrix y, Tensor rstd) =>
        Launch(RmsNormKernels.Forward, new(Blocks.For(rstd.Length, 8)), Floats(x.Tensor), Floats(weight), Floats(y.Tensor), Floats(rstd),
            RmsNormPlaces.Of(weight.Length, x, y, y), epsilon);

    private protected override void RmsNormGradCore(Matrix x, Tensor weight, Tensor rstd, Matrix dy, Matrix dx, float beta) =>
        Launch(RmsNormKernels.Grad, new(Blocks.For(rstd.Length, 8)), Floats(x.Tensor), Floats(weight), Floats(rstd),
            Floats(dy.Tensor), Floats(dx.Tensor), RmsNormPlaces.Of(weight.Length, x, dy, dx), beta);

    private protected override void RmsNormWeightGradCore(Matrix x, Tensor rstd, Matrix dy, Tensor dweight, float beta)
    {
        int columns = dweight.Length, pieces = Blocks.For(rstd.Length, ReduceKernels.RowsOfPiece);
        using Tensor partial = Empty([pieces, columns]);
        Launch(RmsNormKernels.WeightGrad, new(Blocks.For(columns, 32), pieces), Floats(x.Tensor), Floats(rstd),
            Floats(dy.Tensor), Floats(partial), RmsNormPlaces.Of(columns, x, dy, dy));
        SumParts(partial, dweight, 1, beta);
    }
}

/// <summary>
/// Groups of columns of x, of y (or dy) and of dx, counted along the rows. Wide: quarters of a group where all of them begin at
/// whole multiples of four elements, else 0.
/// </summary>
internal struct RmsNormPlaces
{
    public Place X, Y, Dx;
    public int Columns, PerRow, Wide;

    public static RmsNormPlaces Of(int columns, in Matrix x, in Matrix y, in Matrix dx)
    {
        int each = FourOrOne.Of(columns | x.Offset | x.Stride | y.Offset | y.Stride | dx.Offset | dx.Stride);
        return new()
        {
            X = Place.Of(x),
            Y = Place.Of(y),
            Dx = Place.Of(dx),
            Columns = columns,
            PerRow = Math.Max(1, x.Columns / columns),
            Wide = each == 4 ? columns / 4 : 0,
        };
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long First(Place place, int group, RmsNormPlaces at)
    {
        int row = group / at.PerRow;
        return place.At(row) + (group - row * at.PerRow) * at.Columns;
    }
}

/// <summary>One warp a group of columns, read four elements at a time where that is possible.</summary>
internal static class RmsNormKernels
{
    [Kernel(256)]
    public static void Forward(
        ArrayView<float> x, ArrayView<float> weight, ArrayView<float> y, ArrayView<float> rstd, RmsNormPlaces at, float epsilon)
    {
        int lane = Group.IdxX & 31, group = Grid.IdxX * 8 + Group.IdxX / 32;
        if (group >= rstd.IntLength) return;
        long from = RmsNormPlaces.First(at.X, group, at), to = RmsNormPlaces.First(at.Y, group, at);
        int from4 = (int)(from / 4), to4 = (int)(to / 4);
        ArrayView<Float4> x4 = x.Cast<Float4>(), y4 = y.Cast<Float4>(), weight4 = weight.Cast<Float4>();

        float squares = 0;
        for (int j = lane; j < at.Wide; j += 32)
        {
            Float4 value = x4[from4 + j];
            squares += Float4.Dot(value, value);
        }
        for (int j = 4 * at.Wide + lane; j < at.Columns; j += 32) squares += x[from + j] * x[from + j];
        float r = 1 / GpuIntrinsics.Sqrt(GpuIntrinsics.WarpSum(squares) / at.Columns + epsilon);

        for (int j = lane; j < at.Wide; j += 32) y4[to4 + j] = x4[from4 + j] * r * weight4[j];
        for (int j = 4 * at.Wide + lane; j < at.Columns; j += 32) y[to + j] = x[from + j] * r * weight[j];
        if (lane == 0) rstd[group] = r;
    }

    [Kernel(256)]
    public static void Grad(
        ArrayView<float> x, ArrayView<float> weight, ArrayView<float> rstd, ArrayView<float> dy, ArrayView<float> dx,
        RmsNormPlaces at, float beta)
    {
        int lane = Group.IdxX & 31, group = Grid.IdxX * 8 + Group.IdxX / 32;
        if (group >= rstd.IntLength) return;
        long from = RmsNormPlaces.First(at.X, group, at), back = RmsNormPlaces.First(at.Y, group, at);
        long to = RmsNormPlaces.First(at.Dx, group, at);
        int from4 = (int)(from / 4), back4 = (int)(back / 4), to4 = (int)(to / 4);
        ArrayView<Float4> x4 = x.Cast<Float4>(), dy4 = dy.Cast<Float4>(), dx4 = dx.Cast<Float4>(), weight4 = weight.Cast<Float4>();
        float r = rstd[group];

        float sumGx = 0;
        for (int j = lane; j < at.Wide; j += 32) sumGx += Float4.Dot(dy4[back4 + j] * weight4[j], x4[from4 + j] * r);
        for (int j = 4 * at.Wide + lane; j < at.Columns; j += 32) sumGx += dy[back + j] * weight[j] * (x[from + j] * r);
        float meanGx = GpuIntrinsics.WarpSum(sumGx) / at.Columns;

        for (int j = lane; j < at.Wide; j += 32)
        {
            Float4 d = (dy4[back4 + j] * weight4[j] + x4[from4 + j] * r * -meanGx) * r;
            if (beta != 0) d += dx4[to4 + j];
            dx4[to4 + j] = d;
        }
        for (int j = 4 * at.Wide + lane; j < at.Columns; j += 32)
        {
            float d = r * (dy[back + j] * weight[j] - x[from + j] * r * meanGx);
            if (beta != 0) d += dx[to + j];
            dx[to + j] = d;
        }
    }

    /// <summary>Sums of dy · x̂ over the groups of a piece; a block has 32 columns and 8 groups at a time.</summary>
    [Kernel(256)]
    public static void WeightGrad(
        ArrayView<float> x, ArrayView<float> rstd, ArrayView<float> dy, ArrayView<float> partial, RmsNormPlaces at)
    {
        ArrayView<float> shared = SharedMemory.Allocate<float>(256);
        int lane = Group.IdxX & 31, warp = Group.IdxX / 32, j = Grid.IdxX * 32 + lane;
        int end = IntrinsicMath.Min(rstd.IntLength, (Grid.IdxY + 1) * ReduceKernels.RowsOfPiece);
        float sum = 0;
        if (j < at.Columns)
            for (int i = Grid.IdxY * ReduceKernels.RowsOfPiece + warp; i < end; i += 8)
                sum += dy[RmsNormPlaces.First(at.Y, i, at) + j] * (x[RmsNormPlaces.First(at.X, i, at) + j] * rstd[i]);
        shared[Group.IdxX] = sum;
        Group.Barrier();
        if (warp == 0 && j < at.Columns) partial[Grid.IdxY * at.Columns + j] = ReduceKernels.EightRows(shared, lane);
    }
}
