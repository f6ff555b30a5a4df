using System.Diagnostics;
using Nola.Tensors;

namespace Nola.GpuBench;

/// <summary>How long calls take on a device that may only queue them; reading one number waits for all of them.</summary>
internal static class Timing
{
    /// <summary>Seconds of one call: median of five timings of as many calls as take a tenth of a second.</summary>
    public static double Seconds(Device device, Action run) => Median(InTurn(device, 5, 0.1, run)[0]);

    /// <summary>
    /// Seconds of one call of each action, repetition by repetition. The actions take turns, so that what the machine does
    /// meanwhile meets all of them alike. When a call takes more than a second there are three repetitions.
    /// </summary>
    /// <param name="device">What they queue their work on.</param>
    /// <param name="repeats">Repetitions.</param>
    /// <param name="least">Seconds that an action is repeated for without a wait, in each repetition.</param>
    /// <param name="actions">What is timed; each is called once before, for what happens only then.</param>
    public static double[][] InTurn(Device device, int repeats, double least, params Action[] actions)
    {
        using Tensor flag = device.Zeros([1]);
        int[] counts = new int[actions.Length];
        for (int a = 0; a < actions.Length; a++)
        {
            actions[a]();
            double once = Timed(actions[a], 1);
            counts[a] = (int)Math.Clamp(least / once, 1, 1000);
            if (once > 1) repeats = Math.Min(repeats, 3);
        }
        double[][] seconds = [.. actions.Select(_ => new double[repeats])];
        for (int r = 0; r < repeats; r++)
            for (int a = 0; a < actions.Length; a++)
                seconds[a][r] = Timed(actions[a], counts[a]);
        return seconds;

        double Timed(Action run, int count)
        {
            _ = flag.Item();
            long start = Stopwatch.GetTimestamp();
            for (int i = 0; i < count; i++) run();
            _ = flag.Item();
            return Stopwatch.GetElapsedTime(start).TotalSeconds / count;
        }
    }

    /// <summary>How much longer one took than the other, repetition by repetition, the median.</summary>
    public static double Ratio(double[] seconds, double[] others) => Median([.. seconds.Zip(others, (s, o) => s / o)]);

    /// <summary>The middle one; the larger of two.</summary>
    public static double Median(double[] values) => values.Order().ElementAt(values.Length / 2);
}
