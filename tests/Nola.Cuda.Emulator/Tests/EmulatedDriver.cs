using System.Runtime.InteropServices;
using System.Text;

namespace Nola.Cuda.Emulator.Tests;

/// <summary>
/// The emulated driver, called as programs call one. Loaded by its path once, it is what any later search for libcuda.so.1 in
/// this process finds.
/// </summary>
internal static unsafe class EmulatedDriver
{
    private static readonly Lazy<nint> library = new(() => NativeLibrary.Load(Path.Combine(DriverBuild.Make(), "libcuda.so.1")));

    public static nint Library => library.Value;

    public static long Findings => ((delegate* unmanaged<long>)Export("emulator_findings"))();

    /// <summary>Changes a setting until the result is disposed.</summary>
    public static IDisposable With(string name, string value)
    {
        Set(name, value);
        return new Setting(name);
    }

    public static nint Export(string name) => NativeLibrary.GetExport(Library, name);

    private static void Set(string name, string value)
    {
        nint n = Marshal.StringToCoTaskMemUTF8("NOLA_EMULATOR_" + name), v = Marshal.StringToCoTaskMemUTF8(value);
        ((delegate* unmanaged<nint, nint, void>)Export("emulator_set"))(n, v);
        Marshal.FreeCoTaskMem(n);
        Marshal.FreeCoTaskMem(v);
    }

    private sealed class Setting(string name) : IDisposable
    {
        public void Dispose() => Set(name, "");
    }
}

/// <summary>A context with a stream. Calls return the driver's code.</summary>
internal sealed unsafe class EmulatedContext : IDisposable
{
    private readonly nint context, stream;

    public EmulatedContext()
    {
        nint made;
        ((delegate* unmanaged<nint*, uint, int, int>)EmulatedDriver.Export("cuCtxCreate_v2"))(&made, 0, 0);
        context = made;
        ((delegate* unmanaged<nint*, uint, int>)EmulatedDriver.Export("cuStreamCreate"))(&made, 1);
        stream = made;
    }

    public void Dispose() => ((delegate* unmanaged<nint, int>)EmulatedDriver.Export("cuCtxDestroy_v2"))(context);

    /// <summary>Device memory, unwritten unless something is put there.</summary>
    public ulong Memory(int bytes, Array? content = null)
    {
        ulong pointer;
        Check(((delegate* unmanaged<ulong*, nuint, int>)EmulatedDriver.Export("cuMemAlloc_v2"))(&pointer, (nuint)bytes));
        if (content is null) return pointer;
        GCHandle pin = GCHandle.Alloc(content, GCHandleType.Pinned);
        Check(Copy(pointer, (ulong)pin.AddrOfPinnedObject(), Buffer.ByteLength(content)));
        pin.Free();
        return pointer;
    }

    public T[] Read<T>(ulong from, int count) where T : unmanaged
    {
        T[] to = new T[count];
        fixed (T* pointer = to) Check(Copy((ulong)pointer, from, count * sizeof(T)));
        return to;
    }

    public int Copy(ulong to, ulong from, int bytes) =>
        ((delegate* unmanaged<ulong, ulong, nuint, nint, int>)EmulatedDriver.Export("cuMemcpyAsync"))(to, from, (nuint)bytes, stream);

    public int Wait() => ((delegate* unmanaged<nint, int>)EmulatedDriver.Export("cuStreamSynchronize"))(stream);

    public int BeginCapture() => ((delegate* unmanaged<nint, int, int>)EmulatedDriver.Export("cuStreamBeginCapture_v2"))(stream, 2);

    public int EndCapture()
    {
        nint graph;
        return ((delegate* unmanaged<nint, nint*, int>)EmulatedDriver.Export("cuStreamEndCapture"))(stream, &graph);
    }

    /// <summary>Loads a module; the code, and what the compiler said.</summary>
    public (int Code, string Log, nint Module) Load(string ptx)
    {
        byte[] text = [.. Encoding.UTF8.GetBytes(ptx), 0], log = new byte[1024];
        nint module;
        fixed (byte* source = text, said = log)
        {
            int* keys = stackalloc int[] { 5, 6 };
            nint* values = stackalloc nint[] { (nint)said, log.Length };
            int code = ((delegate* unmanaged<nint*, byte*, uint, int*, nint*, int>)EmulatedDriver.Export("cuModuleLoadDataEx"))(
                &module, source, 2, keys, values);
            return (code, Encoding.UTF8.GetString(log).TrimEnd('\0'), module);
        }
    }

    public (int Code, nint Function) Find(nint module, string name)
    {
        nint function, text = Marshal.StringToCoTaskMemUTF8(name);
        int code = ((delegate* unmanaged<nint*, nint, nint, int>)EmulatedDriver.Export("cuModuleGetFunction"))(&function, module, text);
        Marshal.FreeCoTaskMem(text);
        return (code, function);
    }

    public int Launch(nint function, (uint X, uint Y, uint Z) grid, uint threads, params ulong[] arguments)
    {
        fixed (ulong* buffer = arguments)
        {
            nuint bytes = (nuint)(8 * arguments.Length);
            nint* extra = stackalloc nint[] { 1, (nint)buffer, 2, (nint)(&bytes), 0 };
            return ((delegate* unmanaged<nint, uint, uint, uint, uint, uint, uint, uint, nint, nint, nint*, int>)EmulatedDriver.Export(
                "cuLaunchKernel"))(
                function, grid.X, grid.Y, grid.Z, threads, 1, 1, 0, stream, 0, extra);
        }
    }

    /// <summary>Loads, launches and waits for the only kernel of a program; null when all went well, else what the driver says.</summary>
    public string? Run(string ptx, uint blocks, uint threads, params ulong[] arguments)
    {
        (int code, string log, nint module) = Load(ptx);
        if (code != 0) return $"{code}: {log}";
        code = Launch(Find(module, PtxModule.Read(ptx).Kernels.Single().Name).Function, (blocks, 1, 1), threads, arguments);
        if (code == 0) code = Wait();
        return code == 0 ? null : $"{code}: {Explain(code)}";
    }

    private static string? Explain(int code)
    {
        byte* said;
        ((delegate* unmanaged<int, byte**, int>)EmulatedDriver.Export("cuGetErrorString"))(code, &said);
        return Marshal.PtrToStringUTF8((nint)said);
    }

    private static void Check(int code)
    {
        if (code != 0) throw new InvalidOperationException($"{code}: {Explain(code)}");
    }
}
