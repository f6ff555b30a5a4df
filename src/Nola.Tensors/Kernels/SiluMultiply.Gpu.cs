using System.Runtime.CompilerServices;
using ILGPU;

namespace Nola.Tensors;

public sealed partial class GpuDevice
{
    private protected override void SiluMultiplyCore(Matrix a, Matrix b, Matrix y)
    {
        GatePlaces at = GatePlaces.Of(a, b, y, y, y, 0);
        if (at.Threads == 0) return;
        Launch(SiluMultiplyKernels.Forward, new(Blocks.For(at.Threads, 256)), Floats(a.Tensor), Floats(b.Tensor), Floats(y.Tensor), at);
    }

    private protected override void SiluMultiplyGradCore(Matrix a, Matrix b, Matrix dy, Matrix da, Matrix db, float beta)
    {
        GatePlaces at = GatePlaces.Of(a, b, dy, da, db, beta);
        if (at.Threads == 0) return;
        Launch(SiluMultiplyKernels.Grad, new(Blocks.For(at.Threads, 256)), Floats(a.Tensor), Floats(b.Tensor), Floats(dy.Tensor),
            Floats(da.Tensor), Floats(db.Tensor), at);
    }
}

/// <summary>Where gate, input, result and gradients lie, of one size. Each: neighboring elements of a thread.</summary>
internal struct GatePlaces
{
    public Place A, B, Y, Da, Db;
    public int Each, PerRow, Threads;
    public float Beta;

    public static GatePlaces Of(in Matrix a, in Matrix b, in Matrix y, in Matrix da, in Matrix db, float beta)
    {
        int places = a.Offset | a.Stride | b.Offset | b.Stride | y.Offset | y.Stride | da.Offset | da.Stride | db.Offset | db.Stride;
        int each = FourOrOne.Of(a.Columns | places), perRow = a.Columns / each;
        return new()
        {
            A = Place.Of(a),
            B = Place.Of(b),
            Y = Place.Of(y),
            Da = Place.Of(da),
            Db = Place.Of(db),
            Each = each,
            PerRow = perRow,
            Threads = a.Rows * perRow,
            Beta = beta,
        };
    }
}

/// <summary>silu(a) · b and its gradients, four elements a thread or one.</summary>
internal static class SiluMultiplyKernels
{
    [Kernel(256)]
    public static void Forward(ArrayView<float> a, ArrayView<float> b, ArrayView<float> y, GatePlaces at)
    {
        int index = Grid.IdxX * Group.DimX + Group.IdxX;
        if (index >= at.Threads) return;
        int row = index / at.PerRow, j = (index - row * at.PerRow) * at.Each;
        Float4 gate = FourOrOne.Read(a, at.A.At(row) + j, at.Each), input = FourOrOne.Read(b, at.B.At(row) + j, at.Each);
        FourOrOne.Write(y, at.Y.At(row) + j, at.Each, gate * Sigmoid(gate) * input);
    }

    [Kernel(256)]
    public static void Grad(
        ArrayView<float> a, ArrayView<float> b, ArrayView<float> dy, ArrayView<float> da, ArrayView<float> db, GatePlaces at)
    {
        int index = Grid.IdxX * Group.DimX + Group.IdxX;
        if (index >= at.Threads) return;
        int row = index / at.PerRow, j = (index - row * at.PerRow) * at.Each;
        Float4 gate = FourOrOne.Read(a, at.A.At(row) + j, at.Each), input = FourOrOne.Read(b, at.B.At(row) + j, at.Each);
        Float4 gradient = FourOrOne.Read(dy, at.Y.At(row) + j, at.Each), sigmoid = Sigmoid(gate), silu = gate * sigmoid;
        Float4 first = gradient * input * (sigmoid + silu * (Float4.All(1) + sigmoid * -1)), second = gradient * silu;
        if (at.Beta != 0)
        {
            first += FourOrOne.Read(da, at.Da.At(row) + j, at.Each);
            second += FourOrOne.Read(db, at.Db.At(row) + j, at.Each);
        }
        FourOrOne.Write(da, at.Da.At(row) + j, at.Each, first);
        FourOrOne.Write(db, at.Db.At(row) + j, at.Each, second);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Sigmoid(Float4 x) => Float4.Of(Sigmoid(x.X), Sigmoid(x.Y), Sigmoid(x.Z), Sigmoid(x.W));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Sigmoid(float x) => GpuIntrinsics.Reciprocal(1 + GpuMath.Exp(-x));
}
