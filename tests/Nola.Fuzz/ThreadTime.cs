using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Nola.Fuzz;

/// <summary>
/// Time that this thread was on a core, where the system tells it: what other programs take of the machine makes no input slow.
/// Elsewhere the time on the clock.
/// </summary>
internal static class ThreadTime
{
    private const int ThreadClock = 3;

    /// <summary>Now, counted from some point of the thread's.</summary>
    public static TimeSpan Now => OperatingSystem.IsLinux() && GetTime(ThreadClock, out Time time) == 0
        ? TimeSpan.FromTicks(time.Seconds * TimeSpan.TicksPerSecond + time.Nanoseconds / 100)
        : Stopwatch.GetElapsedTime(0);

    [DllImport("libc", EntryPoint = "clock_gettime")]
    private static extern int GetTime(int clock, out Time time);

    [StructLayout(LayoutKind.Sequential)]
    private struct Time
    {
        public nint Seconds, Nanoseconds;
    }
}
