using System.Runtime.CompilerServices;
using ILGPU;

namespace Nola.Tensors;

/// <summary>
/// Products of bfloat16 operands, padded with zeros to whole tiles. AlongAcross is x · W with W stored (in, out), AlongAlong
/// dy · Wᵀ, AcrossAcross xᵀ · dy, AcrossAlong aᵀ · bᵀ; a name without a size is of 128 × 128.
/// </summary>
internal static class TensorKernels
{
    [Kernel(128, 4)]
    public static void AlongAcross64x64(
        ArrayView<Word4> a, ArrayView<Word4> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, TensorShape s) =>
        TensorTiles.Multiply<Tile64x64, Along, Across, BFloat16>(a, b, c, bias, residual, activated, s);

    [Kernel(128, 4)]
    public static void AlongAlong64x64(
        ArrayView<Word4> a, ArrayView<Word4> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, TensorShape s) =>
        TensorTiles.Multiply<Tile64x64, Along, Along, BFloat16>(a, b, c, bias, residual, activated, s);

    [Kernel(128, 4)]
    public static void AcrossAcross64x64(
        ArrayView<Word4> a, ArrayView<Word4> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, TensorShape s) =>
        TensorTiles.Multiply<Tile64x64, Across, Across, BFloat16>(a, b, c, bias, residual, activated, s);

    [Kernel(128, 3)]
    public static void AlongAcross128x64(
        ArrayView<Word4> a, ArrayView<Word4> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, TensorShape s) =>
        TensorTiles.Multiply<Tile128x64, Along, Across, BFloat16>(a, b, c, bias, residual, activated, s);

    [Kernel(128, 3)]
    public static void AlongAlong128x64(
        ArrayView<Word4> a, ArrayView<Word4> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, TensorShape s) =>
        TensorTiles.Multiply<Tile128x64, Along, Along, BFloat16>(a, b, c, bias, residual, activated, s);

    [Kernel(128, 3)]
    public static void AcrossAcross128x64(
        ArrayView<Word4> a, ArrayView<Word4> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, TensorShape s) =>
        TensorTiles.Multiply<Tile128x64, Across, Across, BFloat16>(a, b, c, bias, residual, activated, s);

    [Kernel(256, 2)]
    public static void AlongAcross(
        ArrayView<Word4> a, ArrayView<Word4> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, TensorShape s) =>
        TensorTiles.Multiply<Tile128x128, Along, Across, BFloat16>(a, b, c, bias, residual, activated, s);

    [Kernel(256, 2)]
    public static void AlongAlong(
        ArrayView<Word4> a, ArrayView<Word4> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, TensorShape s) =>
        TensorTiles.Multiply<Tile128x128, Along, Along, BFloat16>(a, b, c, bias, residual, activated, s);

    [Kernel(256, 2)]
    public static void AcrossAcross(
        ArrayView<Word4> a, ArrayView<Word4> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, TensorShape s) =>
        TensorTiles.Multiply<Tile128x128, Across, Across, BFloat16>(a, b, c, bias, residual, activated, s);

    [Kernel(256, 2)]
    public static void AcrossAlong(
        ArrayView<Word4> a, ArrayView<Word4> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, TensorShape s) =>
        TensorTiles.Multiply<Tile128x128, Across, Along, BFloat16>(a, b, c, bias, residual, activated, s);

    [Kernel(128, 2)]
    public static void AlongAcrossBy4(
        ArrayView<Word4> a, ArrayView<Word4> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, TensorShape s) =>
        TensorTiles.Multiply<Tile128x128By4, Along, Across, BFloat16>(a, b, c, bias, residual, activated, s);

    [Kernel(128, 2)]
    public static void AlongAlongBy4(
        ArrayView<Word4> a, ArrayView<Word4> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, TensorShape s) =>
        TensorTiles.Multiply<Tile128x128By4, Along, Along, BFloat16>(a, b, c, bias, residual, activated, s);

    [Kernel(128, 2)]
    public static void AcrossAcrossBy4(
        ArrayView<Word4> a, ArrayView<Word4> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, TensorShape s) =>
        TensorTiles.Multiply<Tile128x128By4, Across, Across, BFloat16>(a, b, c, bias, residual, activated, s);

    [Kernel(256)]
    public static void AlongAcross256x128(
        ArrayView<Word4> a, ArrayView<Word4> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, TensorShape s) =>
        TensorTiles.Multiply<Tile256x128, Along, Across, BFloat16>(a, b, c, bias, residual, activated, s);

    [Kernel(256)]
    public static void AlongAlong256x128(
        ArrayView<Word4> a, ArrayView<Word4> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, TensorShape s) =>
        TensorTiles.Multiply<Tile256x128, Along, Along, BFloat16>(a, b, c, bias, residual, activated, s);

    [Kernel(256)]
    public static void AcrossAcross256x128(
        ArrayView<Word4> a, ArrayView<Word4> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, TensorShape s) =>
        TensorTiles.Multiply<Tile256x128, Across, Across, BFloat16>(a, b, c, bias, residual, activated, s);

    /// <summary>m16n8k16: two halves of 16 steps in a strip of 32.</summary>
    private readonly struct BFloat16 : IProduct
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Float4 Add(Float4 c, Word4 a, uint b0, uint b1) => GpuIntrinsics.MultiplyTiles(c, a, b0, b1);
    }

    /// <summary>Four warps of 32 × 32.</summary>
    private readonly struct Tile64x64 : ITile
    {
        public static int Rows => 64;

        public static int Columns => 64;

        public static int WarpRows => 32;

        public static int WarpColumns => 32;

        public static int Threads => 128;

        public static int Strips => 3;
    }

    /// <summary>Four warps of 64 × 32.</summary>
    private readonly struct Tile128x64 : ITile
    {
        public static int Rows => 128;

        public static int Columns => 64;

        public static int WarpRows => 64;

        public static int WarpColumns => 32;

        public static int Threads => 128;

        public static int Strips => 3;
    }

    /// <summary>Eight warps of 64 × 32.</summary>
    internal readonly struct Tile128x128 : ITile
    {
        public static int Rows => 128;

        public static int Columns => 128;

        public static int WarpRows => 64;

        public static int WarpColumns => 32;

        public static int Threads => 256;

        public static int Strips => 3;
    }

    /// <summary>Four warps of 64 × 64.</summary>
    private readonly struct Tile128x128By4 : ITile
    {
        public static int Rows => 128;

        public static int Columns => 128;

        public static int WarpRows => 64;

        public static int WarpColumns => 64;

        public static int Threads => 128;

        public static int Strips => 3;
    }

    /// <summary>Eight warps of 64 × 64.</summary>
    private readonly struct Tile256x128 : ITile
    {
        public static int Rows => 256;

        public static int Columns => 128;

        public static int WarpRows => 64;

        public static int WarpColumns => 64;

        public static int Threads => 256;

        public static int Strips => 2;
    }
}

/// <summary>Products of float32 operands as they lie in memory, rounded to TF32 (10 bits of mantissa) in registers.</summary>
internal static class Tf32Kernels
{
    [Kernel(256, 2)]
    public static void AlongAcross(
        ArrayView<Word4> a, ArrayView<Word4> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, TensorShape s) =>
        TensorTiles.Multiply<TensorKernels.Tile128x128, WideAlong, WideAcross, Tf32>(a, b, c, bias, residual, activated, s);

    [Kernel(256, 2)]
    public static void AlongAlong(
        ArrayView<Word4> a, ArrayView<Word4> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, TensorShape s) =>
        TensorTiles.Multiply<TensorKernels.Tile128x128, WideAlong, WideAlong, Tf32>(a, b, c, bias, residual, activated, s);

    [Kernel(256, 2)]
    public static void AcrossAcross(
        ArrayView<Word4> a, ArrayView<Word4> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, TensorShape s) =>
        TensorTiles.Multiply<TensorKernels.Tile128x128, WideAcross, WideAcross, Tf32>(a, b, c, bias, residual, activated, s);

    [Kernel(256, 2)]
    public static void AcrossAlong(
        ArrayView<Word4> a, ArrayView<Word4> b, ArrayView<float> c, ArrayView<float> bias,
        ArrayView<float> residual, ArrayView<float> activated, TensorShape s) =>
        TensorTiles.Multiply<TensorKernels.Tile128x128, WideAcross, WideAlong, Tf32>(a, b, c, bias, residual, activated, s);

    /// <summary>m16n8k8: two halves of 8 steps in a strip of 16.</summary>
    private readonly struct Tf32 : IProduct
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Float4 Add(Float4 c, Word4 a, uint b0, uint b1) => GpuIntrinsics.MultiplyTf32Tiles(c, a, b0, b1);
    }
}
