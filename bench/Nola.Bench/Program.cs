using System.Diagnostics;
using Nola.Tensors;

namespace Nola.Bench;

/// <summary>
/// Matrix products of GPT-2's shapes: verified against double precision first, then timed, as a ratio to the machine's
/// own multiply-add peak, measured in the same run. <c>dotnet run -c Release --project bench/Nola.Bench -- [threads]</c>
/// </summary>
internal static class Program
{
    private const int Repeats = 9;

    // Rows, outputs, inputs: GPT-2 small at 1,024 tokens, the embedded model at 2,048, both heads, one row of decoding.
    private static readonly (int M, int N, int K)[] shapes =
    [
        (1024, 768, 768), (1024, 2304, 768), (1024, 3072, 768), (1024, 768, 3072),
        (2048, 384, 128), (2048, 512, 128), (2048, 128, 512), (320, 50257, 128), (320, 50257, 768), (1, 2304, 768),
    ];

    private static void Main(string[] args)
    {
        using CpuDevice device = new(args.Length > 0 ? int.Parse(args[0]) : 0);
        double peak = Peak(device.Threads);
        Console.WriteLine($"{device.Description}; multiply-add peak {peak:F0} GFLOP/s. Medians of {Repeats}.");
        Console.WriteLine();
        Console.WriteLine("| rows × out × in | x·W frozen | dy·Wᵀ frozen | x·W unpacked | xᵀ·dy |");
        Console.WriteLine("|---|---|---|---|---|");
        foreach ((int m, int n, int k) in shapes) Console.WriteLine(Row(device, m, n, k, peak));
    }

    private static string Row(CpuDevice device, int m, int n, int k, double peak)
    {
        Random random = new(1);
        using Tensor x = device.From(Values(random, m * k), [m, k]), w = device.From(Values(random, k * n), [k, n]);
        using Tensor y = device.Empty([m, n]), z = device.Empty([m, n]), dx = device.Empty([m, k]), dw = device.Empty([k, n]);
        using FrozenMatrix frozen = device.Freeze(w);
        double flop = 2.0 * m * n * k;
        double[] rates =
        [
            Rate(() => device.MatMul(x, frozen, null, y), flop), Rate(() => device.MatMulTransposed(y, frozen, dx), flop),
            Rate(() => device.MatMul(x, false, w, false, z), flop), Rate(() => device.MatMul(x, true, y, false, dw), flop),
        ];
        Verify(random, x.ToArray(), w.ToArray(), y.ToArray(), z.ToArray(), dx.ToArray(), dw.ToArray(), m, n, k);
        return $"| {m} × {n} × {k} | " + string.Join(" | ", rates.Select(r => $"{r:F0} GFLOP/s, {100 * r / peak:F0} %")) + " |";
    }

    // Random elements against sums in double; float32 sums of k products of magnitude ¼ err by about √k · 1e-8.
    private static void Verify(Random random, float[] x, float[] w, float[] y, float[] z, float[] dx, float[] dw, int m, int n, int k)
    {
        for (int check = 0; check < 100; check++)
        {
            int i = random.Next(m), j = random.Next(n), p = random.Next(k);
            double forward = 0, input = 0, weight = 0, inputScale = 0, weightScale = 0;
            for (int q = 0; q < k; q++) forward += (double)x[i * k + q] * w[q * n + j];
            for (int q = 0; q < n; q++) (input, inputScale) = (input + (double)y[i * n + q] * w[p * n + q], inputScale + Math.Abs((double)y[i * n + q]));
            for (int q = 0; q < m; q++) (weight, weightScale) = (weight + (double)x[q * k + p] * y[q * n + j], weightScale + Math.Abs((double)y[q * n + j]));
            if (Math.Abs(forward - y[i * n + j]) > 1e-6 * k || Math.Abs(forward - z[i * n + j]) > 1e-6 * k
                || Math.Abs(input - dx[i * k + p]) > 1e-6 * inputScale || Math.Abs(weight - dw[p * n + j]) > 1e-6 * weightScale)
                throw new InvalidOperationException($"{m} × {n} × {k}: a product is wrong.");
        }
    }

    // The micro-kernel on panels that stay in the first-level cache, on every thread.
    private static double Peak(int threads)
    {
        using ThreadTeam team = new(threads);
        const int K = 96, Calls = 20000;
        double flop = 2.0 * 14 * Gemm.PanelWidth * K * Calls * threads;
        return Rate(() => team.For(threads, 1, (_, _) => Burn(K, Calls)), flop);
    }

    private static unsafe void Burn(int k, int calls)
    {
        float* a = stackalloc float[14 * k], b = stackalloc float[Gemm.PanelWidth * k + 16], c = stackalloc float[14 * Gemm.PanelWidth];
        new Span<float>(a, 14 * k).Clear();
        b = (float*)(((nint)b + 63) & ~63);
        new Span<float>(b, Gemm.PanelWidth * k).Clear();
        for (int i = 0; i < calls; i++) Gemm.Block(14, Gemm.PanelWidth, k, new Operand(a, k, 1), b, 0, c, Gemm.PanelWidth);
    }

    private static double Rate(Action action, double flop)
    {
        action();
        action();
        double[] seconds = new double[Repeats];
        for (int r = 0; r < Repeats; r++)
        {
            long start = Stopwatch.GetTimestamp();
            action();
            seconds[r] = Stopwatch.GetElapsedTime(start).TotalSeconds;
        }
        Array.Sort(seconds);
        return flop / seconds[Repeats / 2] / 1e9;
    }

    private static float[] Values(Random random, int count)
    {
        float[] values = new float[count];
        for (int i = 0; i < count; i++) values[i] = random.NextSingle() - 0.5f;
        return values;
    }
}
