using Nola.Tensors;

namespace Nola.Bench;

/// <summary>Operations whose limit is memory, on 2,048 rows of GPT-2 small.</summary>
internal static class ElementwiseBench
{
    public static void Run(Bench bench)
    {
        CpuDevice device = bench.Device;
        int n = 2048, c = 768, inner = 4 * c;
        using Tensor x = device.From(Bench.Values(n * inner, 1, 4), [n, inner]);
        using Tensor dy = device.From(Bench.Values(n * inner, 2), [n, inner]);
        using Tensor y = device.Empty([n, inner]), z = device.Zeros([n, inner]);
        using Tensor h = device.From(Bench.Values(n * c), [n, c]), g = device.From(Bench.Values(n * c), [n, c]), o = device.Empty([n, c]);
        using Tensor weight = device.From(Bench.Values(c), [c]), bias = device.From(Bench.Values(c), [c]);
        using Tensor mean = device.Empty([n]), rstd = device.Empty([n]);
        device.Gelu(x, y);
        float[] from = x.ToArray(), to = y.ToArray();
        for (int i = 0; i < from.Length; i += 1009)
        {
            double v = from[i], expected = v / 2 * (1 + Math.Tanh(Math.Sqrt(2 / Math.PI) * (v + 0.044715 * v * v * v)));
            Bench.Require(Math.Abs(expected - to[i]) < 1e-6, "GELU");
        }
        (string Name, double Bytes, Action Run)[] operations =
        [
            ("GELU", 8.0 * n * inner, () => device.Gelu(x, y)),
            ("GELU backward", 12.0 * n * inner, () => device.GeluGrad(x, dy, y)),
            ("LayerNorm", 8.0 * n * c, () => device.LayerNorm(h, weight, bias, 1e-5f, o, mean, rstd)),
            ("LayerNorm backward", 12.0 * n * c, () => device.LayerNormGrad(h, weight, mean, rstd, g, o)),
            ("add", 12.0 * n * c, () => device.Add(h, g, o)),
            ("AdamW", 28.0 * n * inner, () => device.AdamW(x, dy, y, z, new AdamWStep(0, 0.9f, 0.999f, 1e-8f, 0, 1, 1))),
        ];
        (Timing[] t, Timing read) = bench.TimeWithReading([.. operations.Select(op => op.Run)]);
        bench.Section($"Everything else; a loop that reads memory has {1 / read.Median / 1e9:F1} GB/s", "operation", "time", "GB/s");
        foreach (((string name, double bytes, _), Timing time) in operations.Zip(t))
            bench.Row(name, $"{time.Median * 1e3:F2} ms", $"{bytes / time.Median / 1e9:F1}");
    }
}
