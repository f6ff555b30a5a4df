using System.Runtime.InteropServices;
using ILGPU;
using ILGPU.Runtime;
using ILGPU.Runtime.Cuda;

namespace Nola.Tensors;

/// <summary>
/// Kernels in C# that ILGPU compiles to PTX and the NVIDIA driver to machine code. Everything is queued on one stream in
/// the order of the calls, so memory can be used again as soon as it is given back, and only a download waits. One thread at a time
/// queues.
/// An index outside a table or a list that does not fit cannot throw inside a kernel: it is noted, and the next download throws.
/// </summary>
public sealed partial class GpuDevice : Device
{
    /// <summary>
    /// The environment variable that makes every tensor an allocation of the driver by itself, for tools that find accesses beyond
    /// an allocation: inside one block they see none.
    /// </summary>
    internal const string SeparateVariable = "NOLA_GPU_SEPARATE";

    private readonly DriverTurn turn = new();
    private readonly Context context;
    private readonly Accelerator accelerator;
    private readonly AcceleratorStream stream;
    private readonly KernelCache kernels;
    private readonly BlockAllocator memory;
    private readonly Staging staging;
    private readonly Faults faults;
    private readonly int logitFloats;
    private readonly Products products;

    /// <summary>Takes over a context and one accelerator of it.</summary>
    /// <param name="context">Made by <see cref="NewContext"/>.</param>
    /// <param name="accelerator">CUDA, or ILGPU's CPU accelerator, on which the same kernels can be tested.</param>
    /// <param name="name">For example <c>cuda:0</c>.</param>
    /// <param name="description">One line for people.</param>
    /// <param name="products">What large products round their operands to; with bfloat16, attention with heads of 64 and 128 too.</param>
    internal GpuDevice(Context context, Accelerator accelerator, string name, string description, Products products)
    {
        this.context = context;
        this.accelerator = accelerator;
        Name = name;
        Description = description;
        this.products = products;
        stream = accelerator.CreateStream();
        kernels = new KernelCache(accelerator);
        bool simulated = accelerator.AcceleratorType == AcceleratorType.CPU;
        logitFloats = simulated ? 1 << 10 : 1 << 25;
        memory = new BlockAllocator(
            accelerator, Environment.GetEnvironmentVariable(SeparateVariable) == "1" ? 0 : simulated ? 1 << 20 : 64 << 20);
        staging = new Staging(accelerator, stream, simulated ? 64 << 10 : 8 << 20, () => Waits++);
        faults = new Faults(accelerator, stream);
    }

    /// <inheritdoc/>
    public override string Name { get; }

    /// <inheritdoc/>
    public override string Description { get; }

    /// <inheritdoc/>
    public override bool IsQueued => true;

    /// <summary>How often the host has waited for the device: once for every download, and whenever page-locked memory was full.</summary>
    public long Waits { get; private set; }

    /// <summary>How often something was copied to the host.</summary>
    public long Downloads { get; private set; }

    /// <summary>Bytes taken from the driver, in use or not.</summary>
    public long ReservedBytes => memory.TakenBytes;

    /// <summary>What the self-test found that is no reason to refuse the device, for people.</summary>
    internal IReadOnlyList<string> Remarks { get; set; } = [];

    /// <summary>Whether uploads pass through page-locked memory.</summary>
    internal bool IsPageLocked => staging.IsPageLocked;

    /// <summary>The first kernel that was compiled, and how long that took.</summary>
    internal (string Kernel, TimeSpan Took)? FirstKernel => kernels.First;

    /// <summary>The version of PTX that the driver is given; null where there is no driver.</summary>
    internal string? Ptx => accelerator is CudaAccelerator cuda ? $"{cuda.InstructionSet}" : null;

    /// <summary>A context with what kernels need; at O2 global loads and stores are told from others.</summary>
    internal static Context NewContext(Action<Context.Builder> devices) =>
        Context.Create(builder =>
        {
            builder.Optimize(OptimizationLevel.O2).AddIntrinsics();
            devices(builder);
        });

    /// <inheritdoc/>
    public override void UploadAt(ReadOnlySpan<float> source, Tensor destination, int first)
    {
        if (first < 0 || first + source.Length > destination.Length)
            throw new ShapeException(
                $"UploadAt: elements {first} … {first + source.Length - 1} of a tensor of shape {destination.Shape}, "
                + $"which has {destination.Length}.");
        CheckNotRecording("An upload");
        Stage(MemoryMarshal.AsBytes(source), Floats(destination).SubView(first, source.Length).Cast<byte>());
    }

    /// <inheritdoc/>
    public override void Upload(ReadOnlySpan<int> source, Tensor destination)
    {
        CheckLength(source.Length, destination);
        CheckNotRecording("An upload");
        Stage(MemoryMarshal.AsBytes(source), Ints(destination).Cast<byte>());
    }

    /// <inheritdoc/>
    public override void Download(Tensor source, Span<float> destination)
    {
        CheckLength(destination.Length, source);
        Download(Floats(source), destination);
    }

    /// <inheritdoc/>
    public override void Download(Tensor source, Span<int> destination)
    {
        CheckLength(destination.Length, source);
        Download(Ints(source), destination);
    }

    /// <inheritdoc/>
    public override void Download(Tensor source, Span<double> destination)
    {
        CheckLength(destination.Length, source);
        Download(Doubles(source), destination);
    }

    /// <inheritdoc/>
    public override void DownloadAll(params ReadOnlySpan<(Tensor Source, Array Destination)> copies)
    {
        // The arrays must stay where they are until the copies have run.
        List<GCHandle> pinned = [];
        try
        {
            foreach ((Tensor source, Array destination) in copies)
            {
                CheckLength(destination.Length, source);
                pinned.Add(GCHandle.Alloc(destination, GCHandleType.Pinned));
                if (destination is float[] floats) Queue(Floats(source), floats);
                else Queue(Ints(source), (int[])destination);
            }
            Synchronize();
        }
        catch
        {
            Quietly.Do(stream.Synchronize);
            throw;
        }
        finally
        {
            foreach (GCHandle handle in pinned) handle.Free();
        }
    }

    /// <summary>Waits until everything queued has run, and throws what kernels noted.</summary>
    /// <exception cref="NolaException">The device failed; the message has the driver's reason.</exception>
    public void Synchronize()
    {
        CheckNotRecording("A wait");
        using DriverTurn.Held held = turn.Take();
        try
        {
            faults.Fetch();
            Wait();
        }
        catch (AcceleratorException error)
        {
            throw Failed(error);
        }
        faults.Throw();
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        base.Dispose();
        Quietly.Dispose(normalTable);
        normalTable = null;
        Quietly.Dispose(nf4Table);
        nf4Table = null;
        Quietly.Dispose(faults);
        Quietly.Dispose(staging);
        memory.Dispose();
        Quietly.Dispose(stream);
        Quietly.Dispose(accelerator);
        Quietly.Dispose(context);
    }

    /// <inheritdoc/>
    protected override Storage? Allocate(long bytes)
    {
        try
        {
            return memory.Take(bytes);
        }
        catch (AcceleratorException error)
        {
            throw Failed(error);
        }
    }

    /// <inheritdoc/>
    protected override void Free(Storage storage) => memory.Give((GpuStorage)storage);

    // Whatever asks the driver next meets what a kernel did before.
    private NolaException Failed(AcceleratorException error) =>
        new(
            $"Device {Name} failed: {error.Message}. "
            + $"{(waitsForEach ? "Every kernel was waited for" : $"Set {SyncVariable}=1 to wait for each kernel and learn which")}.",
            error);

    private void Stage(ReadOnlySpan<byte> source, ArrayView<byte> destination)
    {
        using DriverTurn.Held held = turn.Take();
        try
        {
            staging.Upload(source, destination);
        }
        catch (AcceleratorException error)
        {
            throw Failed(error);
        }
    }

    private void Wait()
    {
        stream.Synchronize();
        Waits++;
        staging.Restart();
    }

    private static ArrayView<float> Floats(Tensor tensor) => View<float>(tensor, DType.Float32);

    private static ArrayView<double> Doubles(Tensor tensor) => View<double>(tensor, DType.Float64);

    private static ArrayView<ushort> Halves(Tensor tensor) => View<ushort>(tensor, DType.BFloat16);

    private static ArrayView<int> Ints(Tensor tensor) => View<int>(tensor, DType.Int32);

    private static ArrayView<T> View<T>(Tensor tensor, DType expected) where T : unmanaged
    {
        if (tensor.DType != expected)
            throw new ArgumentException($"Kernel: tensor {tensor.Shape} is {tensor.DType}; expected {expected}.");
        return tensor.Storage is GpuStorage storage
            ? storage.View<T>(tensor.Length)
            : throw new ArgumentException($"Kernel: tensor {tensor.Shape} is on {tensor.Device.Name}; expected a GPU.");
    }

    private static void CheckLength(int length, Tensor tensor)
    {
        if (length != tensor.Length)
            throw new ShapeException(
                $"Copy: {length} elements on the host and a tensor of shape {tensor.Shape}; expected {tensor.Length}.");
    }

    private unsafe void Download<T>(ArrayView<T> source, Span<T> destination) where T : unmanaged
    {
        // The array must stay where it is until the copy has run.
        fixed (T* to = destination)
        {
            Queue(source, destination);
            Synchronize();
        }
    }

    // The copy to memory that stays where it is.
    private void Queue<T>(ArrayView<T> source, Span<T> destination) where T : unmanaged
    {
        Downloads++;
        if (destination.Length == 0) return;
        try
        {
            source.CopyToCPUUnsafeAsync(stream, ref MemoryMarshal.GetReference(destination), destination.Length);
        }
        catch (AcceleratorException error)
        {
            throw Failed(error);
        }
    }
}
