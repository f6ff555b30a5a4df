using System.Diagnostics;
using Nola.Tensors;

namespace Nola.GpuBench;

/// <summary>What it costs to queue a kernel, and what a graph saves: kernels that do next to nothing, each after the one before.</summary>
internal static class LaunchCost
{
    // Fewer than a driver holds in its queue, so that queueing is not held up by running.
    private const int Count = 200;

    /// <summary>Measures on one device.</summary>
    public static void Run(Device device, Report report)
    {
        report.Table($"Small kernels, {Count} in a row{(device is GpuDevice gpu ? $"; {gpu.Graphs}" : "")}", "kernels", "time of each");
        using Tensor nothing = device.Empty([0]), x = device.Zeros([1]), y = device.Zeros([1]);
        Row(report, "empty, until it is queued", Queueing(device, () => device.Fill(nothing, 0)));
        Row(report, "empty, until it has run", Timing.Seconds(device, Empty) / Count);
        Row(report, "dependent, one by one", Timing.Seconds(device, Chain) / Count);
        using Replay replay = device.NewReplay();
        // Once as they are, once recorded; then replayed.
        for (int i = 0; i < 2; i++) replay.Run(Chain);
        Row(report, "dependent, repeated as one", Timing.Seconds(device, () => replay.Run(Chain)) / Count);

        void Empty()
        {
            for (int i = 0; i < Count; i++) device.Fill(nothing, 0);
        }

        void Chain()
        {
            for (int i = 0; i < Count / 2; i++)
            {
                device.Axpby(0.5f, x, 1, y);
                device.Axpby(0.5f, y, 1, x);
            }
        }
    }

    // The host's time alone: median of nine, each begun on a device that has nothing to do.
    private static double Queueing(Device device, Action kernel)
    {
        using Tensor flag = device.Zeros([1]);
        double[] times = new double[9];
        for (int t = 0; t < times.Length; t++)
        {
            _ = flag.Item();
            long start = Stopwatch.GetTimestamp();
            for (int i = 0; i < Count; i++) kernel();
            times[t] = Stopwatch.GetElapsedTime(start).TotalSeconds / Count;
        }
        return Timing.Median(times);
    }

    private static void Row(Report report, string name, double seconds) =>
        report.Row(new { kind = "launch", name, seconds }, name, $"{1e6 * seconds:F2} µs");
}
