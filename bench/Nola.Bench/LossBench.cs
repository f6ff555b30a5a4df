using Nola.Tensors;

namespace Nola.Bench;

/// <summary>Head and cross-entropy in one, with the gradient of its input.</summary>
internal static class LossBench
{
    public static void Run(Bench bench)
    {
        CpuDevice device = bench.Device;
        int c = bench.Config.Channels, v = bench.Config.Vocabulary;
        bench.Section(
            $"Head and cross-entropy, {c} → {v}, with the input's gradient",
            "rows", "time", "share of peak", "memory beside x, dx and the head");
        using Tensor table = device.From(Bench.Values(v * c, 1, 0.1f), [v, c]);
        using FrozenMatrix head = device.Freeze(table, transposed: true);
        foreach (int rows in (int[])[256, 960, 2048])
        {
            using Tensor x = device.From(Bench.Values(rows * c, 2, 2), [rows, c]);
            using Tensor targets = device.From(Enumerable.Range(0, rows).Select(i => i * 7 % v).ToArray());
            using Tensor losses = device.Empty([rows]), dx = device.Empty([rows, c]);
            device.Pool.ResetPeak();
            long before = device.Pool.LiveBytes;
            device.HeadCrossEntropy(x, head, targets, 0, losses, dx, null, 1f / rows);
            long extra = device.Pool.PeakBytes - before;
            Verify(x.ToArray(), table.ToArray(), losses.ToArray(), c, v);
            (Timing[] t, Peak peak) = bench.TimeWithPeak(
                [() => device.HeadCrossEntropy(x, head, targets, 0, losses, dx, null, 1f / rows)], 1);
            bench.Row(
                $"{rows:N0}", $"{t[0].Median * 1e3:F0} ms", $"{100 * peak.Share(t[0], 4.0 * rows * c * v):F0} %", $"{extra / 1e6:F0} MB");
        }
    }

    private static void Verify(float[] x, float[] table, float[] losses, int c, int v)
    {
        for (int row = 0; row < losses.Length; row += losses.Length / 3)
        {
            double[] logits = new double[v];
            for (int t = 0; t < v; t++)
                for (int j = 0; j < c; j++)
                    logits[t] += (double)x[row * c + j] * table[t * c + j];
            double max = logits.Max(), loss = max + Math.Log(logits.Sum(z => Math.Exp(z - max))) - logits[row * 7 % v];
            Bench.Require(Math.Abs(loss - losses[row]) < 1e-4, "the loss of a row");
        }
    }
}
