using System.Diagnostics;
using Nola.Train;

namespace Nola.Bench;

/// <summary>What the ranks of a training exchange in each step, timed between the ranks that mpirun started.</summary>
internal static class ExchangeBench
{
    // Bytes of a rank: a signal; NOLA's and LoRA's gradients, from the embedded model to a large one.
    private static readonly int[] sizes = [1, 1 << 10, 1 << 13, 1 << 16, 1 << 19, 1 << 22];

    public static int Run(int repeats)
    {
        using ICollective ranks = MpiCollective.Open(_ => Environment.Exit(1), Console.Error.WriteLine);
        Print(ranks, $"{ranks.Description}, {repeats} exchanges of each size");
        Print(ranks, "| bytes of a rank | all-gather, median | 95th percentile |");
        Print(ranks, "|---:|---:|---:|");
        foreach (int size in sizes)
        {
            byte[] mine = [.. Enumerable.Range(0, size).Select(i => (byte)(i * 7 + ranks.Rank))], all = new byte[size * ranks.Size];
            double[] seconds = new double[repeats];
            for (int i = 0; i < repeats; i++)
            {
                ranks.Barrier();
                long start = Stopwatch.GetTimestamp();
                ranks.AllGather(mine, all);
                seconds[i] = Stopwatch.GetElapsedTime(start).TotalSeconds;
            }
            for (int r = 0; r < ranks.Size; r++) Bench.Require(all[r * size + size - 1] == (byte)((size - 1) * 7 + r), "an exchange");
            Array.Sort(seconds);
            Print(ranks, $"| {size:N0} | {1e6 * seconds[repeats / 2]:F1} µs | {1e6 * seconds[repeats * 95 / 100]:F1} µs |");
        }
        ranks.Complete();
        return 0;
    }

    private static void Print(ICollective ranks, string line)
    {
        if (ranks.Rank == 0) Console.WriteLine(line);
    }
}
