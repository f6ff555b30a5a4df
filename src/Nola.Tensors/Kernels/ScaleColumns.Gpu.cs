using ILGPU;
using ILGPU.Runtime;

namespace Nola.Tensors;

public sealed partial class GpuDevice
{
    private protected override void ScaleColumnsCore(Matrix x, Matrix s, Matrix y, float beta)
    {
        if (x.Rows * x.Columns == 0) return;
        Launch(ScaleColumnsKernels.Scale, new(Blocks.For(x.Rows * x.Columns, 256)), Floats(x.Tensor), Floats(s.Tensor), Floats(y.Tensor),
            new ScaledPlaces { X = Place.Of(x), S = Place.Of(s), Y = Place.Of(y), Beta = beta });
    }

    private protected override void ScaleColumnsGradCore(Matrix x, Matrix dy, Matrix ds, float beta)
    {
        if (x.Columns == 0) return;
        int pieces = Math.Max(1, Blocks.For(x.Rows, ReduceKernels.RowsOfPiece));
        using Tensor partial = Empty([pieces, x.Columns]);
        Launch(ScaleColumnsKernels.Dots, new(Blocks.For(x.Columns, 32), pieces), Floats(x.Tensor), Floats(dy.Tensor), Floats(partial),
            new ScaledPlaces { X = Place.Of(x), Y = Place.Of(dy) });
        SumParts(partial, ds, 1, beta);
    }
}

/// <summary>Where the operands of a scaling lie.</summary>
internal struct ScaledPlaces
{
    public Place X, S, Y;
    public float Beta;
}

/// <summary>Columns of a matrix scaled, one element a thread; and the column sums of a product of two matrices.</summary>
internal static class ScaleColumnsKernels
{
    [Kernel(256)]
    public static void Scale(ArrayView<float> x, ArrayView<float> s, ArrayView<float> y, ScaledPlaces at)
    {
        int index = Grid.IdxX * Group.DimX + Group.IdxX;
        if (index >= at.X.Rows * at.X.Columns) return;
        int i = index / at.X.Columns, j = index - i * at.X.Columns;
        long to = at.Y.Offset + (long)i * at.Y.Stride + j;
        float value = x[at.X.Offset + (long)i * at.X.Stride + j] * s[at.S.Offset + j];
        if (at.Beta != 0) value += y[to];
        y[to] = value;
    }

    /// <summary>partial[p, j] = Σ over the rows of piece p of x[i, j] · y[i, j]; a block has 32 columns and 8 rows at a time.</summary>
    [Kernel(256)]
    public static void Dots(ArrayView<float> x, ArrayView<float> y, ArrayView<float> partial, ScaledPlaces at)
    {
        ArrayView<float> shared = SharedMemory.Allocate<float>(256);
        int lane = Group.IdxX & 31, warp = Group.IdxX / 32, j = Grid.IdxX * 32 + lane;
        int end = IntrinsicMath.Min(at.X.Rows, (Grid.IdxY + 1) * ReduceKernels.RowsOfPiece);
        float sum = 0;
        if (j < at.X.Columns)
            for (int i = Grid.IdxY * ReduceKernels.RowsOfPiece + warp; i < end; i += 8)
                sum += x[at.X.Offset + (long)i * at.X.Stride + j] * y[at.Y.Offset + (long)i * at.Y.Stride + j];
        shared[Group.IdxX] = sum;
        Group.Barrier();
        if (warp == 0 && j < at.X.Columns) partial[Grid.IdxY * at.X.Columns + j] = ReduceKernels.EightRows(shared, lane);
    }
}
