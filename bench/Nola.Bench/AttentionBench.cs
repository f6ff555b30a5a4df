using Nola.Tensors;

namespace Nola.Bench;

/// <summary>Attention over streams of equal sequences, verified against sums in double.</summary>
internal static class AttentionBench
{
    public static void Run(Bench bench)
    {
        bench.Section(
            "Causal attention, 2,048 tokens, useful work as a share of peak", "sequences × length, heads × size", "forward", "backward");
        (int, int, int)[] sizes = [(54, 12, 64), (256, 12, 64), (1024, 12, 64), (1024, 24, 32), (1024, 6, 128)];
        foreach ((int length, int heads, int size) in sizes) Row(bench, Math.Max(1, 2048 / length), length, heads, size);
    }

    private static void Row(Bench bench, int sequences, int length, int heads, int size)
    {
        CpuDevice device = bench.Device;
        int n = sequences * length, c = heads * size;
        using Tensor qkv = device.From(Bench.Values(n * 3 * c, 1, 2), [n, 3 * c]), dy = device.From(Bench.Values(n * c, 2), [n, c]);
        using Tensor starts = device.From(Enumerable.Range(0, sequences + 1).Select(s => s * length).ToArray());
        using Tensor y = device.Empty([n, c]), lse = device.Empty([heads, n]), dqkv = device.Empty([n, 3 * c]);
        AttentionLayout layout = AttentionLayout.Of(c, heads);
        device.Attention(qkv, starts, layout, y, lse);
        Verify(qkv.ToArray(), y.ToArray(), length, heads, size, n);
        (Timing[] t, Peak peak) = bench.TimeWithPeak(
            [() => device.Attention(qkv, starts, layout, y, lse), () => device.AttentionGrad(qkv, starts, layout, y, lse, dy, dqkv)]);
        double product = 2.0 * c * sequences * length * (length + 1) / 2;
        bench.Row($"{sequences} × {length}, {heads} × {size}", Cell(t[0], 2 * product), Cell(t[1], 5 * product));

        string Cell(Timing time, double flop) => $"{time.Median * 1e3:F2} ms, {100 * peak.Share(time, flop):F0} %";
    }

    private static void Verify(float[] qkv, float[] y, int length, int heads, int size, int n)
    {
        int c = heads * size;
        Random random = new(3);
        for (int check = 0; check < 20; check++)
        {
            int row = random.Next(n), first = row / length * length, h = random.Next(heads) * size, column = h + random.Next(size);
            double sum = 0, weighted = 0;
            for (int j = first; j <= row; j++)
            {
                double score = 0;
                for (int d = 0; d < size; d++) score += (double)qkv[row * 3 * c + h + d] * qkv[j * 3 * c + c + h + d];
                double e = Math.Exp(score / Math.Sqrt(size));
                sum += e;
                weighted += e * qkv[j * 3 * c + 2 * c + column];
            }
            Bench.Require(Math.Abs(y[row * c + column] - weighted / sum) < 1e-5, "attention");
        }
    }
}
