namespace Nola.Tensors;

/// <summary>
/// Semantics of every kernel, and the memory they work on. Each kernel family is a part of this class in
/// <c>Kernels/</c>, with its implementations in the neighboring files; the contract tests run on every device.
/// One thread drives a device at a time; kernels spread over the device's own threads.
/// </summary>
public abstract partial class Device : IDisposable
{
    private MemoryPool? pool, borrowed;

    /// <summary>For example <c>cpu</c>.</summary>
    public abstract string Name { get; }

    /// <summary>One line for people: what it is and what it was opened with.</summary>
    public abstract string Description { get; }

    /// <summary>
    /// Whether calls return before they have run, so that reading a result waits for everything before it. Where they do,
    /// a loop is fastest that reads seldom.
    /// </summary>
    public virtual bool IsQueued => false;

    /// <summary>The memory of this device.</summary>
    public MemoryPool Pool => borrowed ?? (pool ??= new MemoryPool(Name, Allocate, Free));

    /// <summary>
    /// Opens a device by name: <c>cpu</c>; <c>cuda</c> or <c>cuda:1</c> for a GPU (large products round to bfloat16; with
    /// <c>,tf32</c> added, to TF32; with <c>,float32</c>, without tensor cores);
    /// or <c>auto</c> for the first GPU whose self-test passes, else the CPU.
    /// </summary>
    /// <param name="name">Name of the device.</param>
    /// <param name="threads">Threads of the CPU device; 0 takes one for each core that the process may use.</param>
    /// <param name="say">Told what <c>auto</c> chose and why, wherever there is an NVIDIA driver.</param>
    /// <exception cref="NolaException">There is no such device, it does not work, or the number of threads is out of range.</exception>
    public static Device Open(string name = "auto", int threads = 0, Action<string>? say = null) => name switch
    {
        "auto" => Best(threads, say),
        "cpu" => new CpuDevice(threads),
        "cpu,bfloat16" => Rounding(threads, say),
        _ when name.StartsWith("cuda", StringComparison.Ordinal) => CudaDevices.Open(name),
        _ => throw new NolaException($"Device '{name}' is not known; use auto, cpu, cpu,bfloat16, cuda or cuda:1."),
    };

    private static CpuDevice Rounding(int threads, Action<string>? say)
    {
        CpuDevice device = new(threads, bfloat16: true);
        if (!device.RoundsProducts)
            say?.Invoke(PairKernels.IsSupported
                ? "Device cpu: this system does not let a program make code executable, so products are float32."
                : "Device cpu: products of bfloat16 need a chip with AVX512_BF16 and Linux, so products are float32.");
        return device;
    }

    /// <summary>A new tensor with undefined content. The caller owns it.</summary>
    public Tensor Empty(Shape shape, DType type = DType.Float32) =>
        new(this, shape, type, Pool.Rent((long)shape.Length * type.Size()));

    /// <summary>A new tensor of zeros. The caller owns it.</summary>
    public Tensor Zeros(Shape shape)
    {
        Tensor tensor = Empty(shape);
        Fill(tensor, 0);
        return tensor;
    }

    /// <summary>A new float32 tensor with these elements in row-major order. The caller owns it.</summary>
    /// <exception cref="ShapeException">The number of elements differs from the shape's.</exception>
    public Tensor From(ReadOnlySpan<float> elements, Shape shape)
    {
        Tensor tensor = Empty(shape);
        Upload(elements, tensor);
        return tensor;
    }

    /// <summary>A new int32 tensor with these elements. The caller owns it.</summary>
    public Tensor From(ReadOnlySpan<int> elements)
    {
        Tensor tensor = Empty([elements.Length], DType.Int32);
        Upload(elements, tensor);
        return tensor;
    }

    /// <summary>A new tensor that a call fills, which may need memory of its own. The caller owns it.</summary>
    internal Tensor Filled(Shape shape, Action<Tensor> fill)
    {
        using Rollback made = new();
        Tensor tensor = made.Add(Empty(shape));
        fill(tensor);
        made.Commit();
        return tensor;
    }

    /// <summary>Copies float32 elements from the host; all of them.</summary>
    public void Upload(ReadOnlySpan<float> source, Tensor destination)
    {
        if (source.Length != destination.Length)
            throw new ShapeException(
                $"Upload: {source.Length} elements on the host and a tensor of shape {destination.Shape}; expected {destination.Length}.");
        UploadAt(source, destination, 0);
    }

    /// <summary>Copies float32 elements from the host to those of a tensor from <paramref name="first"/> on.</summary>
    public abstract void UploadAt(ReadOnlySpan<float> source, Tensor destination, int first);

    /// <summary>Copies int32 elements from the host.</summary>
    public abstract void Upload(ReadOnlySpan<int> source, Tensor destination);

    /// <summary>Copies float32 elements to the host, after everything queued before has run.</summary>
    public abstract void Download(Tensor source, Span<float> destination);

    /// <summary>Copies int32 elements to the host, after everything queued before has run.</summary>
    public abstract void Download(Tensor source, Span<int> destination);

    /// <summary>Copies float64 elements to the host, after everything queued before has run.</summary>
    public abstract void Download(Tensor source, Span<double> destination);

    /// <summary>Copies several tensors, each to an array of its elements' type (float or int), with one wait for all of them.</summary>
    public virtual void DownloadAll(params ReadOnlySpan<(Tensor Source, Array Destination)> copies)
    {
        foreach ((Tensor source, Array destination) in copies)
        {
            if (destination is float[] floats) Download(source, floats);
            else Download(source, (int[])destination);
        }
    }

    private static Device Best(int threads, Action<string>? say)
    {
        CudaFindings found = CudaDriver.Look();
        foreach (CudaCard card in found.Cards)
        {
            try
            {
                Device device = CudaDevices.Open(card, found.Version);
                say?.Invoke($"Device cuda:{card.Index}, the first GPU whose self-test passes.");
                return device;
            }
            catch (NolaException error)
            {
                say?.Invoke(error.Message);
            }
        }
        // A machine without a driver needs no word about GPUs.
        if (found.HasDriver) say?.Invoke($"Device cpu: {found.Problem ?? "no GPU works"}.");
        return new CpuDevice(threads);
    }

    /// <summary>
    /// For calls that are made again and again in the same way. Here each time is like the first; a device on which it costs
    /// more to queue a small call than to run it may do better. The caller disposes it.
    /// </summary>
    public virtual Replay NewReplay() => new();

    /// <summary>Runs calls with all their memory from <paramref name="own"/>.</summary>
    private protected void WithPool(MemoryPool own, Action calls)
    {
        (MemoryPool? before, borrowed) = (borrowed, own);
        try
        {
            calls();
        }
        finally
        {
            borrowed = before;
        }
    }

    /// <summary>Takes fresh memory from the system, or returns null when there is none.</summary>
    protected abstract Storage? Allocate(long bytes);

    /// <summary>Gives memory back to the system.</summary>
    protected abstract void Free(Storage storage);

    /// <summary>
    /// Closes the pool. Tensors should have been disposed before;
    /// the memory of one that is disposed later is freed then.
    /// </summary>
    public virtual void Dispose()
    {
        pool?.Close();
        GC.SuppressFinalize(this);
    }
}
