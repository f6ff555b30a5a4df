using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text;
using ILGPU;

namespace Nola.Tensors;

/// <summary>One card as the driver describes it.</summary>
/// <param name="Index">Its number, as in <c>cuda:0</c>.</param>
/// <param name="Name">For example <c>NVIDIA H100 80GB HBM3</c>.</param>
/// <param name="MemoryBytes">Its memory.</param>
/// <param name="Major">Compute capability before the point.</param>
/// <param name="Minor">Compute capability after the point.</param>
/// <param name="Multiprocessors">How many it has.</param>
internal sealed record CudaCard(int Index, string Name, long MemoryBytes, int Major, int Minor, int Multiprocessors)
{
    /// <summary>One line for people.</summary>
    public string Description =>
        $"{Name} ({MemoryBytes / 1073741824.0:F1} GiB, compute capability {Major}.{Minor}, {Multiprocessors} multiprocessors)";
}

/// <summary>What the driver said when it was asked for cards.</summary>
/// <param name="HasDriver">Whether there is a driver at all.</param>
/// <param name="Version">The CUDA version that it supports, for example 12.4; null when it did not say.</param>
/// <param name="Cards">What it listed.</param>
/// <param name="Problem">Why there is no card; null when there is one.</param>
internal sealed record CudaFindings(bool HasDriver, string? Version, IReadOnlyList<CudaCard> Cards, string? Problem);

/// <summary>
/// The NVIDIA driver, asked directly. ILGPU swallows every error while it lists devices, so that a missing library, a
/// driver older than its kernel module and a container without devices all look the same; the driver's own answers tell
/// them apart.
/// </summary>
internal static unsafe class CudaDriver
{
    private const int CapabilityMajor = 75, CapabilityMinor = 76, MultiprocessorCount = 16;

    // Containers may have only the first, which ILGPU does not look for; under WSL the loader may not know the last's directory.
    private static readonly string[] names = OperatingSystem.IsWindows()
        ? ["nvcuda.dll"]
        : ["libcuda.so.1", "libcuda.so", "/usr/lib/wsl/lib/libcuda.so.1"];

    private static readonly Lazy<bool> shared = new(GiveToIlgpu);

    /// <summary>The driver's library by the first of its names that is found.</summary>
    public static bool TryLoad(out nint library)
    {
        foreach (string name in names)
            if (NativeLibrary.TryLoad(name, out library)) return true;
        library = 0;
        return false;
    }

    /// <summary>
    /// Makes ILGPU use the same library. To be called before anything of ILGPU's that asks the driver: what it once failed to
    /// find, it does not look for again. An assembly has one resolver, so where the program that we are a part of has set
    /// one for ILGPU, that one stays.
    /// </summary>
    public static void Share() => _ = shared.Value;

    /// <summary>The file that a loaded library came from; null when the system does not say.</summary>
    public static string? FileOf(nint library)
    {
        nint address = NativeLibrary.GetExport(library, "cuInit");
        using Process process = Process.GetCurrentProcess();
        return process.Modules.Cast<ProcessModule>().FirstOrDefault(
            m => address >= m.BaseAddress && address < m.BaseAddress + m.ModuleMemorySize)?.FileName;
    }

    private static bool GiveToIlgpu()
    {
        try
        {
            NativeLibrary.SetDllImportResolver(
                typeof(Context).Assembly, (name, _, _) => name is "cuda" or "nvcuda" && TryLoad(out nint library) ? library : 0);
            return true;
        }
        catch (InvalidOperationException)
        {
            return false;
        }
    }

    /// <summary>Asks for the version and all cards.</summary>
    public static CudaFindings Look()
    {
        if (!TryLoad(out nint library))
            return new(
                false, null, [], $"there is no NVIDIA driver: {string.Join(", ", names)} {(names.Length == 1 ? "was" : "were")} not found");
        try
        {
            return Look(library);
        }
        catch (EntryPointNotFoundException error)
        {
            return new(true, null, [], $"the NVIDIA driver is too old: {error.Message}");
        }
    }

    private static CudaFindings Look(nint library)
    {
        int number = 0;
        string? version = ((delegate* unmanaged<int*, int>)NativeLibrary.GetExport(library, "cuDriverGetVersion"))(&number) == 0
            ? $"{number / 1000}.{number % 1000 / 10}"
            : null;
        int code = ((delegate* unmanaged<uint, int>)NativeLibrary.GetExport(library, "cuInit"))(0);
        if (code != 0) return new(true, version, [], $"the NVIDIA driver does not start: {Explain(library, code)}");
        int count = 0;
        code = ((delegate* unmanaged<int*, int>)NativeLibrary.GetExport(library, "cuDeviceGetCount"))(&count);
        if (code != 0) return new(true, version, [], $"the NVIDIA driver does not list its cards: {Explain(library, code)}");
        if (count == 0)
            return new(true, version, [], "the NVIDIA driver lists no card; CUDA_VISIBLE_DEVICES or the container may hide them");
        return new(true, version, [.. Enumerable.Range(0, count).Select(i => Describe(library, i))], null);
    }

    private static CudaCard Describe(nint library, int index)
    {
        byte* name = stackalloc byte[256];
        nuint bytes = 0;
        _ = ((delegate* unmanaged<byte*, int, int, int>)NativeLibrary.GetExport(library, "cuDeviceGetName"))(name, 255, index);
        _ = ((delegate* unmanaged<nuint*, int, int>)NativeLibrary.GetExport(library, "cuDeviceTotalMem_v2"))(&bytes, index);
        return new(
            index, Marshal.PtrToStringUTF8((nint)name) ?? "", (long)bytes,
            Attribute(CapabilityMajor), Attribute(CapabilityMinor), Attribute(MultiprocessorCount));

        int Attribute(int which)
        {
            int value = 0;
            _ = ((delegate* unmanaged<int*, int, int, int>)NativeLibrary.GetExport(library, "cuDeviceGetAttribute"))(&value, which, index);
            return value;
        }
    }

    /// <summary>The driver's own name and sentence for an error, with what a person can do where that is known.</summary>
    public static string Explain(nint library, int code)
    {
        StringBuilder text = new($"error {code}");
        foreach (string what in (string[])["cuGetErrorName", "cuGetErrorString"])
        {
            byte* said = null;
            if (((delegate* unmanaged<int, byte**, int>)NativeLibrary.GetExport(library, what))(code, &said) == 0 && said != null)
                text.Append(", ").Append(Marshal.PtrToStringUTF8((nint)said));
        }
        if (Advice(code) is { } advice) text.Append("; ").Append(advice);
        return text.ToString();
    }

    /// <summary>What a person can do about an error of the driver; null where that is not known.</summary>
    internal static string? Advice(int code) => code switch
    {
        100 => "CUDA_VISIBLE_DEVICES or the container may hide the cards",
        802 => "cards that are joined by NVSwitch wait for the service nvidia-fabricmanager: "
            + "start it (systemctl start nvidia-fabricmanager), in the driver's version",
        803 => "the driver was updated while its kernel module was loaded: restart the machine; "
            + "in a container, use the libraries of the host's driver",
        804 => "a newer CUDA's compatibility library is found before the driver's: "
            + "remove the package cuda-compat, or its directory from LD_LIBRARY_PATH",
        999 => "the kernel module is in a bad state, as it may be after sleep or an update: reload nvidia_uvm, or restart the machine",
        _ => null,
    };
}
