using System.Globalization;
using System.Runtime.InteropServices;

namespace Nola.Tests;

/// <summary>Puts the threads that this process has on one core, the last of those that it may use; on Linux alone.</summary>
internal static class OneCore
{
    public static void ForAllThreads()
    {
        if (!OperatingSystem.IsLinux()) return;
        // Of 1,024 cores, as the C library's cpu_set_t.
        byte[] cores = new byte[128];
        if (GetAffinity(0, cores.Length, cores) < 0) return;
        int last = Array.FindLastIndex(cores, eight => eight != 0);
        byte[] one = new byte[cores.Length];
        one[last] = (byte)(1 << int.Log2(cores[last]));
        foreach (string thread in Directory.EnumerateDirectories("/proc/self/task"))
            SetAffinity(int.Parse(Path.GetFileName(thread), CultureInfo.InvariantCulture), one.Length, one);
    }

    [DllImport("libc", EntryPoint = "sched_getaffinity")]
    private static extern int GetAffinity(int thread, nint size, [Out] byte[] cores);

    [DllImport("libc", EntryPoint = "sched_setaffinity")]
    private static extern int SetAffinity(int thread, nint size, byte[] cores);
}
