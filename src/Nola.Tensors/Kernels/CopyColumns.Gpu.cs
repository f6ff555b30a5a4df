using ILGPU;

namespace Nola.Tensors;

public sealed partial class GpuDevice
{
    private protected override void CopyColumnsCore(Matrix x, Matrix y)
    {
        if (x.Rows * x.Columns == 0) return;
        bool wide = (x.Columns | x.Offset | x.Stride | y.Offset | y.Stride) % 4 == 0;
        int each = wide ? 4 : 1, threads = x.Rows * (x.Columns / each);
        Launch(CopyColumnsKernels.Copy, new(Blocks.For(threads, 256)), Floats(x.Tensor), Floats(y.Tensor), Place.Of(x), Place.Of(y), each);
    }
}

/// <summary>A window copied into another, four elements a thread where rows begin at whole multiples of four, else one.</summary>
internal static class CopyColumnsKernels
{
    [Kernel(256)]
    public static void Copy(ArrayView<float> x, ArrayView<float> y, Place from, Place to, int each)
    {
        int columns = from.Columns / each, index = Grid.IdxX * Group.DimX + Group.IdxX;
        if (index >= from.Rows * columns) return;
        int row = index / columns, j = index % columns * each;
        long source = from.Offset + (long)row * from.Stride + j, target = to.Offset + (long)row * to.Stride + j;
        if (each == 4) y.Cast<Float4>()[target / 4] = x.Cast<Float4>()[source / 4];
        else y[target] = x[source];
    }
}
