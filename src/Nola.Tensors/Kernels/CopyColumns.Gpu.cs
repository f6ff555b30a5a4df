using ILGPU;

namespace Nola.Tensors;

public sealed partial class GpuDevice
{
    private protected override void CopyColumnsCore(Matrix x, Matrix y)
    {
        if (x.Rows * x.Columns == 0) return;
        int each = FourOrOne.Of(x.Columns | x.Offset | x.Stride | y.Offset | y.Stride), threads = x.Rows * (x.Columns / each);
        Launch(CopyColumnsKernels.Copy, new(Blocks.For(threads, 256)), Floats(x.Tensor), Floats(y.Tensor), Place.Of(x), Place.Of(y), each);
    }
}

/// <summary>A window copied into another, four elements a thread or one.</summary>
internal static class CopyColumnsKernels
{
    [Kernel(256)]
    public static void Copy(ArrayView<float> x, ArrayView<float> y, Place from, Place to, int each)
    {
        int columns = from.Columns / each, index = Grid.IdxX * Group.DimX + Group.IdxX;
        if (index >= from.Rows * columns) return;
        int row = index / columns, j = (index - row * columns) * each;
        FourOrOne.Write(y, to.At(row) + j, each, FourOrOne.Read(x, from.At(row) + j, each));
    }
}
