using ILGPU;

namespace Nola.Tensors;

public sealed partial class GpuDevice
{
    private protected override void RotaryCore(Matrix x, Tensor positions, Tensor angles, AttentionLayout layout, Matrix y, float direction)
    {
        RotaryPlaces at = RotaryPlaces.Of(x, y, layout, angles.Shape.Rows);
        at.Direction = direction;
        Launch(RotaryKernels.Rotate, new(Blocks.For(x.Rows * at.PerRow, 256)), Floats(x.Tensor), Ints(positions), Floats(angles),
            Floats(y.Tensor), faults.View, at);
    }
}

/// <summary>
/// Rows of heads. Size: columns of a head; Each: neighboring pairs that a thread turns; PerHead, PerRow: threads; Turned: heads
/// that are turned, the others are copied; Limit: positions that the table is for.
/// </summary>
internal struct RotaryPlaces
{
    public Place X, Y;
    public int Size, Each, PerHead, PerRow, Turned, Limit;
    public float Direction;

    public static RotaryPlaces Of(in Matrix x, in Matrix y, in AttentionLayout layout, int tableRows)
    {
        int half = layout.HeadSize / 2, each = FourOrOne.Of(half | x.Offset | x.Stride | y.Offset | y.Stride);
        int turned = layout.Heads + layout.KeyValueHeads, heads = x == y ? turned : turned + layout.KeyValueHeads;
        return new()
        {
            X = Place.Of(x),
            Y = Place.Of(y),
            Size = layout.HeadSize,
            Each = each,
            PerHead = half / each,
            PerRow = heads * (half / each),
            Turned = turned,
            Limit = (tableRows - RotaryFrequencies.Step) * RotaryFrequencies.Step,
        };
    }
}

/// <summary>A thread for four neighboring pairs of columns, or for one.</summary>
internal static class RotaryKernels
{
    [Kernel(256)]
    public static void Rotate(
        ArrayView<float> x, ArrayView<int> positions, ArrayView<float> angles, ArrayView<float> y, ArrayView<int> faults, RotaryPlaces at)
    {
        int index = Grid.IdxX * Group.DimX + Group.IdxX, row = index / at.PerRow, item = index - row * at.PerRow;
        if (row >= at.X.Rows) return;
        int head = item / at.PerHead, pair = (item - head * at.PerHead) * at.Each, half = at.Size / 2, position = positions[row];
        if (position < 0 || position >= at.Limit)
        {
            if (item == 0) Faults.Note(faults, Faults.IndexOutside, position, at.Limit, 0, 0);
            return;
        }
        long from = at.X.At(row) + head * at.Size + pair, to = at.Y.At(row) + head * at.Size + pair;
        Float4 a = FourOrOne.Read(x, from, at.Each), b = FourOrOne.Read(x, from + half, at.Each), first = a, second = b;
        if (head < at.Turned)
        {
            int near = (position & (RotaryFrequencies.Step - 1)) * at.Size + pair;
            int far = (RotaryFrequencies.Step + position / RotaryFrequencies.Step) * at.Size + pair;
            Float4 ca = FourOrOne.Read(angles, near, at.Each), sa = FourOrOne.Read(angles, near + half, at.Each);
            Float4 cb = FourOrOne.Read(angles, far, at.Each), sb = FourOrOne.Read(angles, far + half, at.Each);
            Float4 c = ca * cb + sa * sb * -1, s = (sa * cb + ca * sb) * at.Direction;
            first = c * a + s * b * -1;
            second = c * b + s * a;
        }
        FourOrOne.Write(y, to, at.Each, first);
        FourOrOne.Write(y, to + half, at.Each, second);
    }
}
