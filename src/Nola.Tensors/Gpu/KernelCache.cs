using System.Diagnostics;
using System.Reflection;
using System.Text;
using ILGPU;
using ILGPU.Runtime;
using ILGPU.Runtime.Cuda;

namespace Nola.Tensors;

/// <summary>The kernels of one accelerator, each compiled when it is first launched.</summary>
internal sealed class KernelCache(Accelerator accelerator)
{
    private readonly bool simulated = accelerator.AcceleratorType == AcceleratorType.CPU;
    private readonly Dictionary<MethodInfo, (Delegate Launcher, int Threads)> loaded = [];

    /// <summary>The first kernel that was compiled, and how long ILGPU and the driver took; null before.</summary>
    public (string Kernel, TimeSpan Took)? First { get; private set; }

    /// <summary>What launches <paramref name="kernel"/>, and how many threads its blocks have.</summary>
    /// <exception cref="NolaException">The driver does not take it; the message has the driver's reason.</exception>
    public (TLauncher Launcher, int Threads) Get<TLauncher>(MethodInfo kernel) where TLauncher : Delegate
    {
        if (!loaded.TryGetValue(kernel, out (Delegate Launcher, int Threads) found))
        {
            KernelAttribute shape = ShapeOf(kernel);
            long start = Stopwatch.GetTimestamp();
            found = (Load<TLauncher>(kernel, shape), shape.AnyWarps && simulated ? GpuMath.WarpSize : shape.Threads);
            First ??= (NameOf(kernel), Stopwatch.GetElapsedTime(start));
            loaded.Add(kernel, found);
        }
        return ((TLauncher)found.Launcher, found.Threads);
    }

    /// <summary>Every kernel of the library, for compiling them all without a GPU.</summary>
    public static IEnumerable<MethodInfo> All() =>
        typeof(KernelCache).Assembly.GetTypes()
            .SelectMany(t => t.GetMethods(BindingFlags.Static | BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.DeclaredOnly))
            .Where(m => m.IsDefined(typeof(KernelAttribute)));

    /// <summary>The block shape that a kernel was written for.</summary>
    public static KernelAttribute ShapeOf(MethodInfo kernel) =>
        kernel.GetCustomAttribute<KernelAttribute>()
            ?? throw new ArgumentException($"{kernel.Name} is launched as a kernel and has no [Kernel].");

    /// <summary>A kernel's name for people: its family and its own.</summary>
    public static string NameOf(MethodInfo kernel) => $"{kernel.DeclaringType!.Name}.{kernel.Name}";

    private TLauncher Load<TLauncher>(MethodInfo kernel, KernelAttribute shape) where TLauncher : Delegate
    {
        if (accelerator is not CudaAccelerator cuda)
            return accelerator.LoadKernel<TLauncher>(kernel, new KernelSpecialization(shape.Threads, shape.Blocks));
        using DriverLog log = new();
        try
        {
            return accelerator.LoadKernel(PtxKernels.Compile(cuda.Backend, kernel)).CreateLauncherDelegate<TLauncher>();
        }
        catch (AcceleratorException error)
        {
            throw new NolaException($"the driver does not take kernel {NameOf(kernel)}: {error.Message}{log.Said}", error);
        }
    }

    /// <summary>What the driver's compiler says of a kernel that it refuses; ILGPU writes that to the trace and nowhere else.</summary>
    internal sealed class DriverLog : TraceListener
    {
        private readonly StringBuilder text = new();

        public DriverLog() => Trace.Listeners.Add(this);

        /// <summary>Its words behind a colon, or nothing.</summary>
        public string Said => text.ToString().Trim() is { Length: > 0 } said ? ": " + said : "";

        /// <inheritdoc/>
        public override void Write(string? message) => text.Append(message);

        /// <inheritdoc/>
        public override void WriteLine(string? message)
        {
            // ILGPU's own headline says nothing that its exception does not.
            if (message is not null && !message.StartsWith("PTX Kernel loading failed", StringComparison.Ordinal)) text.AppendLine(message);
        }

        /// <inheritdoc/>
        protected override void Dispose(bool disposing)
        {
            Trace.Listeners.Remove(this);
            base.Dispose(disposing);
        }
    }
}
