using System.Reflection;
using ILGPU;
using ILGPU.Runtime;

namespace Nola.Tensors;

public sealed partial class GpuDevice
{
    /// <summary>Blocks of a launch along each axis.</summary>
    private readonly record struct Blocks(int X, int Y = 1, int Z = 1)
    {
        /// <summary>Enough blocks of <paramref name="each"/> for <paramref name="count"/>, at least one.</summary>
        public static int For(int count, int each) => Math.Max(1, (count + each - 1) / each);
    }

    /// <summary>The environment variable that makes the host wait for each kernel, to learn which one fails.</summary>
    internal const string SyncVariable = "NOLA_GPU_SYNC";

    private readonly bool waitsForEach = Environment.GetEnvironmentVariable(SyncVariable) == "1";

    /// <summary>A kernel with its arguments, about to be queued.</summary>
    /// <param name="Kernel">What runs.</param>
    /// <param name="Config">In which blocks.</param>
    /// <param name="Launcher">What queues it.</param>
    /// <param name="Stream">On this stream.</param>
    /// <param name="Arguments">Values, and views of memory.</param>
    internal sealed record QueuedKernel(
        MethodInfo Kernel, KernelConfig Config, Delegate Launcher, AcceleratorStream Stream, object[] Arguments)
    {
        /// <summary>Queues it, now or once more.</summary>
        public void Queue() => Launcher.DynamicInvoke([Stream, Config, .. Arguments]);
    }

    /// <summary>Told of every kernel before it is queued; with true it takes the kernel over. For tests of what is queued.</summary>
    internal Func<QueuedKernel, bool>? Tap { get; set; }

    /// <summary>Kernels queued so far, one by one.</summary>
    public long Launches { get; private set; }

    private static KernelConfig Config(Blocks blocks, int threads) =>
        new(new Index3D(blocks.X, blocks.Y, blocks.Z), new Index3D(threads, 1, 1));

    private void Launch<T1, T2>(Action<T1, T2> kernel, Blocks blocks, T1 a1, T2 a2)
        where T1 : struct where T2 : struct
    {
        (Action<AcceleratorStream, KernelConfig, T1, T2> launch, int threads) =
            kernels.Get<Action<AcceleratorStream, KernelConfig, T1, T2>>(kernel.Method);
        KernelConfig config = Config(blocks, threads);
        using DriverTurn.Held held = turn.Take();
        if (Tap is { } tap && tap(new(kernel.Method, config, launch, stream, [a1, a2]))) return;
        Launches++;
        try { launch(stream, config, a1, a2); }
        catch (AcceleratorException error) { throw Failed(kernel.Method, error); }
        if (waitsForEach) WaitFor(kernel.Method);
    }

    private void Launch<T1, T2, T3>(Action<T1, T2, T3> kernel, Blocks blocks, T1 a1, T2 a2, T3 a3)
        where T1 : struct where T2 : struct where T3 : struct
    {
        (Action<AcceleratorStream, KernelConfig, T1, T2, T3> launch, int threads) =
            kernels.Get<Action<AcceleratorStream, KernelConfig, T1, T2, T3>>(kernel.Method);
        KernelConfig config = Config(blocks, threads);
        using DriverTurn.Held held = turn.Take();
        if (Tap is { } tap && tap(new(kernel.Method, config, launch, stream, [a1, a2, a3]))) return;
        Launches++;
        try { launch(stream, config, a1, a2, a3); }
        catch (AcceleratorException error) { throw Failed(kernel.Method, error); }
        if (waitsForEach) WaitFor(kernel.Method);
    }

    private void Launch<T1, T2, T3, T4>(Action<T1, T2, T3, T4> kernel, Blocks blocks, T1 a1, T2 a2, T3 a3, T4 a4)
        where T1 : struct where T2 : struct where T3 : struct where T4 : struct
    {
        (Action<AcceleratorStream, KernelConfig, T1, T2, T3, T4> launch, int threads) =
            kernels.Get<Action<AcceleratorStream, KernelConfig, T1, T2, T3, T4>>(kernel.Method);
        KernelConfig config = Config(blocks, threads);
        using DriverTurn.Held held = turn.Take();
        if (Tap is { } tap && tap(new(kernel.Method, config, launch, stream, [a1, a2, a3, a4]))) return;
        Launches++;
        try { launch(stream, config, a1, a2, a3, a4); }
        catch (AcceleratorException error) { throw Failed(kernel.Method, error); }
        if (waitsForEach) WaitFor(kernel.Method);
    }

    private void Launch<T1, T2, T3, T4, T5>(Action<T1, T2, T3, T4, T5> kernel, Blocks blocks, T1 a1, T2 a2, T3 a3, T4 a4, T5 a5)
        where T1 : struct where T2 : struct where T3 : struct where T4 : struct where T5 : struct
    {
        (Action<AcceleratorStream, KernelConfig, T1, T2, T3, T4, T5> launch, int threads) =
            kernels.Get<Action<AcceleratorStream, KernelConfig, T1, T2, T3, T4, T5>>(kernel.Method);
        KernelConfig config = Config(blocks, threads);
        using DriverTurn.Held held = turn.Take();
        if (Tap is { } tap && tap(new(kernel.Method, config, launch, stream, [a1, a2, a3, a4, a5]))) return;
        Launches++;
        try { launch(stream, config, a1, a2, a3, a4, a5); }
        catch (AcceleratorException error) { throw Failed(kernel.Method, error); }
        if (waitsForEach) WaitFor(kernel.Method);
    }

    private void Launch<T1, T2, T3, T4, T5, T6>(
        Action<T1, T2, T3, T4, T5, T6> kernel, Blocks blocks, T1 a1, T2 a2, T3 a3, T4 a4, T5 a5, T6 a6)
        where T1 : struct where T2 : struct where T3 : struct where T4 : struct where T5 : struct where T6 : struct
    {
        (Action<AcceleratorStream, KernelConfig, T1, T2, T3, T4, T5, T6> launch, int threads) =
            kernels.Get<Action<AcceleratorStream, KernelConfig, T1, T2, T3, T4, T5, T6>>(kernel.Method);
        KernelConfig config = Config(blocks, threads);
        using DriverTurn.Held held = turn.Take();
        if (Tap is { } tap && tap(new(kernel.Method, config, launch, stream, [a1, a2, a3, a4, a5, a6]))) return;
        Launches++;
        try { launch(stream, config, a1, a2, a3, a4, a5, a6); }
        catch (AcceleratorException error) { throw Failed(kernel.Method, error); }
        if (waitsForEach) WaitFor(kernel.Method);
    }

    private void Launch<T1, T2, T3, T4, T5, T6, T7>(
        Action<T1, T2, T3, T4, T5, T6, T7> kernel, Blocks blocks, T1 a1, T2 a2, T3 a3, T4 a4, T5 a5, T6 a6, T7 a7)
        where T1 : struct where T2 : struct where T3 : struct where T4 : struct where T5 : struct where T6 : struct where T7 : struct
    {
        (Action<AcceleratorStream, KernelConfig, T1, T2, T3, T4, T5, T6, T7> launch, int threads) =
            kernels.Get<Action<AcceleratorStream, KernelConfig, T1, T2, T3, T4, T5, T6, T7>>(kernel.Method);
        KernelConfig config = Config(blocks, threads);
        using DriverTurn.Held held = turn.Take();
        if (Tap is { } tap && tap(new(kernel.Method, config, launch, stream, [a1, a2, a3, a4, a5, a6, a7]))) return;
        Launches++;
        try { launch(stream, config, a1, a2, a3, a4, a5, a6, a7); }
        catch (AcceleratorException error) { throw Failed(kernel.Method, error); }
        if (waitsForEach) WaitFor(kernel.Method);
    }

    private void Launch<T1, T2, T3, T4, T5, T6, T7, T8>(
        Action<T1, T2, T3, T4, T5, T6, T7, T8> kernel, Blocks blocks, T1 a1, T2 a2, T3 a3, T4 a4, T5 a5, T6 a6, T7 a7, T8 a8)
        where T1 : struct where T2 : struct where T3 : struct where T4 : struct
        where T5 : struct where T6 : struct where T7 : struct where T8 : struct
    {
        (Action<AcceleratorStream, KernelConfig, T1, T2, T3, T4, T5, T6, T7, T8> launch, int threads) =
            kernels.Get<Action<AcceleratorStream, KernelConfig, T1, T2, T3, T4, T5, T6, T7, T8>>(kernel.Method);
        KernelConfig config = Config(blocks, threads);
        using DriverTurn.Held held = turn.Take();
        if (Tap is { } tap && tap(new(kernel.Method, config, launch, stream, [a1, a2, a3, a4, a5, a6, a7, a8]))) return;
        Launches++;
        try { launch(stream, config, a1, a2, a3, a4, a5, a6, a7, a8); }
        catch (AcceleratorException error) { throw Failed(kernel.Method, error); }
        if (waitsForEach) WaitFor(kernel.Method);
    }

    private void Launch<T1, T2, T3, T4, T5, T6, T7, T8, T9>(
        Action<T1, T2, T3, T4, T5, T6, T7, T8, T9> kernel, Blocks blocks, T1 a1, T2 a2, T3 a3, T4 a4, T5 a5, T6 a6, T7 a7, T8 a8, T9 a9)
        where T1 : struct where T2 : struct where T3 : struct where T4 : struct
        where T5 : struct where T6 : struct where T7 : struct where T8 : struct where T9 : struct
    {
        (Action<AcceleratorStream, KernelConfig, T1, T2, T3, T4, T5, T6, T7, T8, T9> launch, int threads) =
            kernels.Get<Action<AcceleratorStream, KernelConfig, T1, T2, T3, T4, T5, T6, T7, T8, T9>>(kernel.Method);
        KernelConfig config = Config(blocks, threads);
        using DriverTurn.Held held = turn.Take();
        if (Tap is { } tap && tap(new(kernel.Method, config, launch, stream, [a1, a2, a3, a4, a5, a6, a7, a8, a9]))) return;
        Launches++;
        try { launch(stream, config, a1, a2, a3, a4, a5, a6, a7, a8, a9); }
        catch (AcceleratorException error) { throw Failed(kernel.Method, error); }
        if (waitsForEach) WaitFor(kernel.Method);
    }

    // Not in Waits, which counts what a program cannot do without.
    private void WaitFor(MethodInfo kernel)
    {
        if (recording) return;
        try
        {
            stream.Synchronize();
        }
        catch (AcceleratorException error)
        {
            throw Failed(kernel, error);
        }
    }

    // A kernel that is not waited for may meet the failure of one before it.
    private NolaException Failed(MethodInfo kernel, AcceleratorException error) =>
        waitsForEach
            ? new($"Kernel {KernelCache.NameOf(kernel)} failed on {Name}: {error.Message}", error)
            : new($"Device {Name} failed before or at kernel {KernelCache.NameOf(kernel)}: {error.Message}. "
                + $"Set {SyncVariable}=1 to wait for each kernel and learn which.", error);
}
