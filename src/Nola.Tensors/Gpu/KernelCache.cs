using System.Reflection;
using ILGPU;
using ILGPU.Runtime;

namespace Nola.Tensors;

/// <summary>The kernels of one accelerator, each compiled when it is first launched.</summary>
internal sealed class KernelCache(Accelerator accelerator)
{
    private readonly bool simulated = accelerator.AcceleratorType == AcceleratorType.CPU;
    private readonly Dictionary<MethodInfo, (Delegate Launcher, int Threads)> loaded = [];

    /// <summary>What launches <paramref name="kernel"/>, and how many threads its blocks have.</summary>
    public (TLauncher Launcher, int Threads) Get<TLauncher>(MethodInfo kernel) where TLauncher : Delegate
    {
        if (!loaded.TryGetValue(kernel, out (Delegate Launcher, int Threads) found))
        {
            KernelAttribute shape = ShapeOf(kernel);
            found = (accelerator.LoadKernel<TLauncher>(kernel, new KernelSpecialization(shape.Threads, shape.Blocks)), shape.AnyWarps && simulated ? GpuMath.WarpSize : shape.Threads);
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
        kernel.GetCustomAttribute<KernelAttribute>() ?? throw new ArgumentException($"{kernel.Name} is launched as a kernel and has no [Kernel].");
}
