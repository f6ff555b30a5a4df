using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Nola.Tensors;

/// <summary>
/// Kernels in SIMD C# on a team of threads. Vectors are 512, 256 or 128 bits wide, by what the machine has; every
/// kernel is written once over <see cref="ISimd{V}"/>. Results do not depend on the number of threads.
/// </summary>
public sealed unsafe partial class CpuDevice : Device
{
    private readonly ThreadTeam team;

    /// <summary>Starts the team.</summary>
    /// <param name="threads">Number of threads, 1 to 256; 0 takes one for each core that the process may use.</param>
    /// <param name="bfloat16">
    /// Whether products round their operands to bfloat16 and sum in float32, on chips that have an instruction for it (AVX512_BF16), which
    /// takes about half the time; see <see cref="RoundsProducts"/>. What adapters add, attention and everything else remain float32.
    /// </param>
    /// <exception cref="NolaException">The number is out of range.</exception>
    public CpuDevice(int threads = 0, bool bfloat16 = false)
    {
        RoundsProducts = bfloat16 && PairKernels.AreThere;
        if (threads is < 0 or > 256)
            throw new NolaException($"Threads: {threads} given; expected 1 to 256, or 0 for one per core.");
        team = new ThreadTeam(threads == 0 ? Environment.ProcessorCount : threads);
    }

    /// <inheritdoc/>
    public override string Name => RoundsProducts ? "cpu,bfloat16" : "cpu";

    /// <summary>Whether products round to bfloat16: it was asked for, the chip can, and the system allows its code.</summary>
    public bool RoundsProducts { get; }

    /// <summary>What kernels run on; the bench measures the machine with it.</summary>
    internal ThreadTeam Team => team;

    /// <summary>Threads that kernels run on.</summary>
    public int Threads => team.Threads;

    /// <inheritdoc/>
    public override string Description =>
        $"cpu ({Threads} thread{(Threads == 1 ? "" : "s")}, "
        + $"{(Vector512.IsHardwareAccelerated ? 512 : Vector256.IsHardwareAccelerated ? 256 : 128)}-bit vectors"
        + (RoundsProducts ? ", products of bfloat16)" : ")");

    /// <inheritdoc/>
    public override void UploadAt(ReadOnlySpan<float> source, Tensor destination, int first)
    {
        if (first < 0 || first + source.Length > destination.Length)
            throw new ShapeException(
                $"UploadAt: elements {first} … {first + source.Length - 1} of a tensor of shape {destination.Shape}, "
                + $"which has {destination.Length}.");
        source.CopyTo(new Span<float>(Floats(destination) + first, source.Length));
    }

    /// <inheritdoc/>
    public override void Upload(ReadOnlySpan<int> source, Tensor destination)
    {
        CheckLength(source.Length, destination);
        source.CopyTo(new Span<int>(Ints(destination), destination.Length));
    }

    /// <inheritdoc/>
    public override void Download(Tensor source, Span<float> destination)
    {
        CheckLength(destination.Length, source);
        new ReadOnlySpan<float>(Floats(source), source.Length).CopyTo(destination);
    }

    /// <inheritdoc/>
    public override void Download(Tensor source, Span<int> destination)
    {
        CheckLength(destination.Length, source);
        new ReadOnlySpan<int>(Ints(source), source.Length).CopyTo(destination);
    }

    /// <inheritdoc/>
    public override void Download(Tensor source, Span<double> destination)
    {
        CheckLength(destination.Length, source);
        new ReadOnlySpan<double>(Doubles(source), source.Length).CopyTo(destination);
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        team.Dispose();
        base.Dispose();
    }

    /// <inheritdoc/>
    protected override Storage? Allocate(long bytes)
    {
        // The operating system promises more than it has and kills the process later; the limit that the runtime
        // knows (physical memory or the container's) is checked here so that the user gets a sentence instead.
        if (Pool.LiveBytes + Pool.PooledBytes + bytes > GC.GetGCMemoryInfo().TotalAvailableMemoryBytes) return null;
        try
        {
            return new Block((nint)HostMemory.Allocate((nuint)bytes), bytes);
        }
        catch (OutOfMemoryException)
        {
            return null;
        }
    }

    /// <inheritdoc/>
    protected override void Free(Storage storage) => HostMemory.Free((void*)((Block)storage).Address);

    /// <summary>The elements of a float32 tensor of this device; valid until it is disposed.</summary>
    internal static float* Floats(Tensor tensor) => (float*)Address(tensor, DType.Float32);

    /// <summary>The elements of a bfloat16 tensor of this device; valid until it is disposed.</summary>
    internal static ushort* Halves(Tensor tensor) => (ushort*)Address(tensor, DType.BFloat16);

    /// <summary>The elements of an int32 tensor of this device; valid until it is disposed.</summary>
    internal static int* Ints(Tensor tensor) => (int*)Address(tensor, DType.Int32);

    /// <summary>The elements of a float64 tensor of this device; valid until it is disposed.</summary>
    internal static double* Doubles(Tensor tensor) => (double*)Address(tensor, DType.Float64);

    /// <summary>Element (0, 0) of a rectangle.</summary>
    internal static float* Floats(in Matrix matrix) => Floats(matrix.Tensor) + matrix.Offset;

    private static nint Address(Tensor tensor, DType expected)
    {
        if (tensor.DType != expected)
            throw new ArgumentException($"Kernel: tensor {tensor.Shape} is {tensor.DType}; expected {expected}.");
        return tensor.Storage is Block block
            ? block.Address
            : throw new ArgumentException($"Kernel: tensor {tensor.Shape} is on {tensor.Device.Name}; expected cpu.");
    }

    private static void CheckLength(int length, Tensor tensor)
    {
        if (length != tensor.Length)
            throw new ShapeException(
                $"Copy: {length} elements on the host and a tensor of shape {tensor.Shape}; expected {tensor.Length}.");
    }

    private sealed class Block(nint address, long bytes) : Storage
    {
        public nint Address => address;

        public override long Bytes => bytes;
    }
}
