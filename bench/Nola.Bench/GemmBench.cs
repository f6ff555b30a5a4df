using Nola.Models;
using Nola.Tensors;

namespace Nola.Bench;

/// <summary>All products that training needs, on the shapes of a GPT-2's maps.</summary>
internal static class GemmBench
{
    public static void Run(Bench bench)
    {
        (int Rows, int Outputs, int Inputs)[] gpt2 =
            [.. ((string[])["gpt2", "gpt2-medium"]).Select(size => Gpt2Config.ByName(size)!.Channels).SelectMany(Maps)];
        (int Rows, int Outputs, int Inputs)[] shapes = [.. gpt2, (512, 50257, 768), (2048, 512, 128), (2048, 128, 512)];
        // What else a machine does comes and goes in seconds: a shape's repetitions are spread over the whole measurement.
        (Timing[] Times, Peak Peak)[] measured = [.. shapes.Select(shape => Measure(bench, shape, verify: true))];
        for (int round = 1; round < bench.Repeats; round++)
        {
            for (int i = 0; i < shapes.Length; i++)
            {
                (Timing[] times, Peak peak) = Measure(bench, shapes[i], verify: false);
                measured[i] = (
                    [.. measured[i].Times.Zip(times, (a, b) => a.And(b))], new Peak(measured[i].Peak.Operation.And(peak.Operation)));
            }
        }

        bench.Section(
            $"Matrix products, share of the multiply-add peak: median of {bench.Repeats} rounds ± half the distance between the quartiles",
            "rows × out × in", "peak, GFLOP/s", "x·W frozen", "dy·Wᵀ frozen", "x·W", "dy·Wᵀ", "xᵀ·dy");
        List<double> frozen = [], unpacked = [];
        foreach (((int m, int n, int k), (Timing[] times, Peak peak)) in shapes.Zip(measured))
        {
            double flop = 2.0 * m * n * k;
            double[] shares = [.. times.Select(t => peak.Share(t, flop))];
            bench.Row(
                [
                    $"{m} × {n} × {k}",
                    $"{peak.Rate / 1e9:F0}",
                    .. times.Select((t, i) => $"{100 * shares[i]:F0} ± {100 * peak.Spread(t, flop):F0} %"),
                ]);
            if (!gpt2.Contains((m, n, k))) continue;
            frozen.AddRange(shares[..2]);
            unpacked.AddRange(shares[2..]);
        }
        bench.AtLeast(
            "product with a frozen weight, average", 100 * frozen.Average(), 92,
            "% of peak", "GPT-2 small and medium, 512–2,048 rows, x·W and dy·Wᵀ");
        bench.AtLeast("product with a frozen weight, least", 100 * frozen.Min(), 88, "% of peak");
        bench.AtLeast(
            "product with nothing packed, average", 100 * unpacked.Average(), 75, "% of peak", "the same shapes, x·W, dy·Wᵀ and xᵀ·dy");
        Skinny(bench);
        OneRow(bench);
    }

    // The four maps of a block.
    private static IEnumerable<(int Rows, int Outputs, int Inputs)> Maps(int c) =>
        ((int[])[512, 1024, 2048]).SelectMany(
            rows => ((int, int, int)[])[(rows, 3 * c, c), (rows, c, c), (rows, 4 * c, c), (rows, c, 4 * c)]);

    private static (Timing[] Times, Peak Peak) Measure(Bench bench, (int Rows, int Outputs, int Inputs) shape, bool verify)
    {
        CpuDevice device = bench.Device;
        (int m, int n, int k) = shape;
        using Tensor x = device.From(Bench.Values(m * k), [m, k]), w = device.From(Bench.Values(k * n, 2), [k, n]);
        using Tensor dy = device.From(Bench.Values(m * n, 3), [m, n]);
        using Tensor y = device.Empty([m, n]), z = device.Empty([m, n]), dx = device.Empty([m, k]);
        using Tensor dx2 = device.Empty([m, k]), dw = device.Empty([k, n]);
        using FrozenMatrix frozen = device.Freeze(w);
        Action[] products =
        [
            () => device.MatMul(x, frozen, null, y), () => device.MatMulTransposed(dy, frozen, dx),
            () => device.MatMul(x, false, w, false, z),
            () => device.MatMul(dy, false, w, true, dx2), () => device.MatMul(x, true, dy, false, dw),
        ];
        if (verify)
        {
            foreach (Action product in products) product();
            Verify(
                x.ToArray(), w.ToArray(), dy.ToArray(), [y.ToArray(), z.ToArray()], [dx.ToArray(), dx2.ToArray()], dw.ToArray(), m, n, k);
        }
        return bench.TimeWithPeak(products, 0, 1);
    }

    // Random elements against sums in double; a float32 sum of k products errs by about √k · 6e-8 of its size.
    private static void Verify(float[] x, float[] w, float[] dy, float[][] ys, float[][] dxs, float[] dw, int m, int n, int k)
    {
        Random random = new(7);
        for (int check = 0; check < 100; check++)
        {
            int i = random.Next(m), j = random.Next(n), p = random.Next(k);
            double y = 0, dx = 0, weight = 0;
            for (int q = 0; q < k; q++) y += (double)x[i * k + q] * w[q * n + j];
            for (int q = 0; q < n; q++) dx += (double)dy[i * n + q] * w[p * n + q];
            for (int q = 0; q < m; q++) weight += (double)x[q * k + p] * dy[q * n + j];
            foreach (float[] got in ys) Bench.Require(Math.Abs(got[i * n + j] - y) < 2e-6 * Math.Sqrt(k) + 1e-6, $"x·W of {m} × {n} × {k}");
            foreach (float[] got in dxs)
                Bench.Require(Math.Abs(got[i * k + p] - dx) < 2e-6 * Math.Sqrt(n) + 1e-6, $"dy·Wᵀ of {m} × {n} × {k}");
            Bench.Require(Math.Abs(dw[p * n + j] - weight) < 2e-6 * Math.Sqrt(m) + 1e-6, $"xᵀ·dy of {m} × {n} × {k}");
        }
    }

    // The adapter's products: they read x and y once, so memory is their limit, not arithmetic.
    private static void Skinny(Bench bench)
    {
        CpuDevice device = bench.Device;
        int m = 2048, c = 768;
        bench.Section("Products of an adapter's factors, 2,048 rows of 768", "rank", "x·A", "u·B + y", "uᵀ·dy", "xᵀ·du", "dy·Bᵀ");
        using Tensor x = device.From(Bench.Values(m * c), [m, c]), y = device.Zeros([m, c]);
        foreach (int rank in (int[])[4, 8, 16, 64])
        {
            using Tensor a = device.From(Bench.Values(c * rank), [c, rank]);
            using Tensor b = device.From(Bench.Values(c * rank), [rank, c]), u = device.From(Bench.Values(m * rank), [m, rank]);
            using Tensor v = device.Empty([m, rank]), da = device.Empty([c, rank]), db = device.Empty([rank, c]);
            Timing[] t = bench.Time(
            [
                () => device.MatMul(x, false, a, false, v), () => device.MatMul(u, false, b, false, y, 1, 1),
                () => device.MatMul(u, true, x, false, db),
                () => device.MatMul(x, true, u, false, da), () => device.MatMul(x, false, b, true, v),
            ]);
            bench.Row([$"{rank}", .. t.Select(time => $"{time.Median * 1e6:F0} µs, {2.0 * m * c * rank / time.Median / 1e9:F0} GFLOP/s")]);
        }
    }

    // Decoding: GPT-2's head and a large map, each larger than the last-level cache, in turn with reading as much.
    private static void OneRow(Bench bench)
    {
        CpuDevice device = bench.Device;
        bench.Section(
            "One row (decoding), share of the bandwidth of a loop that reads memory",
            "in × out", "time", "GB/s", "the loop, GB/s", "share");
        List<double> shares = [];
        foreach ((int inputs, int outputs) in (ReadOnlySpan<(int, int)>)[(768, 50257), (4096, 16384)])
        {
            using Tensor w = device.From(Bench.Values(inputs * outputs), [inputs, outputs]);
            using Tensor x = device.From(Bench.Values(inputs), [1, inputs]), y = device.Empty([1, outputs]);
            using FrozenMatrix frozen = device.Freeze(w);
            (Timing[] t, Timing read) = bench.TimeWithReading([() => device.MatMul(x, frozen, null, y)], repeats: 5 * bench.Repeats);
            double bytes = 4.0 * inputs * outputs;
            shares.Add(bytes / t[0].Over(read));
            bench.Row(
                $"{inputs} × {outputs}", $"{t[0].Median * 1e3:F2} ms", $"{bytes / t[0].Median / 1e9:F1}",
                $"{1 / read.Median / 1e9:F1}", $"{100 * shares[^1]:F0} %");
        }
        bench.AtLeast("one-row product, weights larger than the last-level cache", 100 * shares.Min(), 85, "% of bandwidth");
    }
}
