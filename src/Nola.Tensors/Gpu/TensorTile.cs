global using TensorKernel = System.Action<
    ILGPU.ArrayView<Nola.Tensors.Word4>, ILGPU.ArrayView<Nola.Tensors.Word4>,
    ILGPU.ArrayView<float>, ILGPU.ArrayView<float>, ILGPU.ArrayView<float>, ILGPU.ArrayView<float>, Nola.Tensors.TensorShape>;

namespace Nola.Tensors;

/// <summary>A way to cut a product on tensor cores into blocks, with a kernel for each order of its operands.</summary>
/// <param name="Name">Rows × columns of the result that a block makes.</param>
/// <param name="Rows">Rows of the result that a block makes.</param>
/// <param name="Columns">Its columns.</param>
/// <param name="Step">Steps of the inner dimension in shared memory at once.</param>
/// <param name="AlongAcross">a · b.</param>
/// <param name="AlongAlong">a · bᵀ.</param>
/// <param name="AcrossAcross">aᵀ · b.</param>
/// <param name="AcrossAlong">aᵀ · bᵀ, which no operation uses and only the square tile has.</param>
internal sealed record TensorTile(
    string Name, int Rows, int Columns, int Step, TensorKernel AlongAcross,
    TensorKernel AlongAlong, TensorKernel AcrossAcross, TensorKernel? AcrossAlong = null)
{
    /// <summary>To what both sides of a frozen weight are padded: a multiple of every tile's columns and steps.</summary>
    public const int Widest = 128;

    /// <summary>Enough blocks for a small result: 32 sums a thread, four blocks on a multiprocessor.</summary>
    public static readonly TensorTile Small = new(
        "64x64", 64, 64, 32, TensorKernels.AlongAcross64x64, TensorKernels.AlongAlong64x64, TensorKernels.AcrossAcross64x64);

    /// <summary>In between: 64 sums a thread, three blocks of four warps.</summary>
    public static readonly TensorTile Half = new(
        "128x64", 128, 64, 32, TensorKernels.AlongAcross128x64, TensorKernels.AlongAlong128x64, TensorKernels.AcrossAcross128x64);

    /// <summary>64 sums a thread, two blocks of eight warps.</summary>
    public static readonly TensorTile Square = new(
        "128x128", 128, 128, 32, TensorKernels.AlongAcross, TensorKernels.AlongAlong,
        TensorKernels.AcrossAcross, TensorKernels.AcrossAlong);

    /// <summary>128 sums a thread, two blocks of four warps: a warp reads less of shared memory for each operation.</summary>
    public static readonly TensorTile SquareBy4 = new(
        "128x128/4", 128, 128, 32, TensorKernels.AlongAcrossBy4, TensorKernels.AlongAlongBy4, TensorKernels.AcrossAcrossBy4);

    /// <summary>The fewest bytes for each operation: 128 sums a thread, one block of eight warps, two strips in 48 KiB.</summary>
    public static readonly TensorTile Large = new(
        "256x128", 256, 128, 32, TensorKernels.AlongAcross256x128, TensorKernels.AlongAlong256x128, TensorKernels.AcrossAcross256x128);

    /// <summary>What the table chooses from.</summary>
    public static readonly IReadOnlyList<TensorTile> All = [Small, Half, Square, SquareBy4, Large];

    /// <summary>
    /// Blocks that share a result, with parts of the inner dimension for each: about as many as a large card has at once, of the
    /// largest tile one and of others two on a multiprocessor.
    /// </summary>
    public int Blocks => Rows * Columns > 128 * 128 ? 128 : 256;

    /// <summary>The tile of TF32, whose strips have half the steps.</summary>
    public static readonly TensorTile Tf32 = new(
        "128x128", 128, 128, 16, Tf32Kernels.AlongAcross, Tf32Kernels.AlongAlong, Tf32Kernels.AcrossAcross, Tf32Kernels.AcrossAlong);

    /// <summary>The kernel for an order of operands.</summary>
    public TensorKernel Kernel(bool transposeA, bool transposeB) =>
        (transposeA, transposeB) switch
        {
            (false, false) => AlongAcross,
            (false, true) => AlongAlong,
            (true, false) => AcrossAcross,
            (true, true) => AcrossAlong ?? throw new ArgumentException($"Tile {Name} has no aᵀ · bᵀ."),
        };
}
