using ILGPU;

namespace Nola.Tensors;

public sealed partial class GpuDevice
{
    private protected override void RoundRowsCore(Tensor x, int levels, Tensor y) =>
        Launch(RoundRowsKernels.Round, new(x.Shape.Rows), Floats(x), Floats(y), x.Shape.Columns, levels);
}

/// <summary>
/// One block a row: its largest element, then every element's code.
/// Division and sums are IEEE's, so the bits are the CPU's.
/// </summary>
internal static class RoundRowsKernels
{
    // 1.5 · 2²³: added and taken away again, it rounds a number below 2²² to the nearest whole one, ties to even.
    private const float Whole = 12582912;

    [Kernel(256, AnyWarps = true)]
    public static void Round(ArrayView<float> x, ArrayView<float> y, int columns, int levels)
    {
        ArrayView<float> shared = SharedMemory.Allocate<float>(8);
        long first = (long)Grid.IdxX * columns;
        float largest = 0;
        for (int j = Group.IdxX; j < columns; j += Group.DimX)
        {
            float size = IntrinsicMath.Abs(x[first + j]);
            // What is not a number ranks above every number.
            largest = size < SymmetricRounding.Largest ? IntrinsicMath.Max(largest, size) : float.PositiveInfinity;
        }
        largest = GpuMath.BlockMax(largest, shared);
        float step = SymmetricRounding.OrZero(Interop.IntAsFloat(SymmetricRounding.Shorten(Interop.FloatAsInt(largest / levels))));
        if (!(largest < SymmetricRounding.Largest)) step = float.NaN;
        for (int j = Group.IdxX; j < columns; j += Group.DimX)
        {
            float code = 0;
            if (step > 0) code = IntrinsicMath.Clamp(x[first + j] / step + Whole - Whole, -levels, levels);
            y[first + j] = step * code;
        }
    }
}
