using System.Diagnostics;
using Nola.Tensors;

using CpuDevice device = new(args.Length > 0 ? int.Parse(args[0]) : 0);
Console.WriteLine(device.Description);
Random random = new(1);
foreach ((int m, int n, int k) in new[] { (1024, 768, 768), (1024, 2304, 768), (1024, 3072, 768), (1024, 768, 3072), (2048, 384, 128), (2048, 512, 128), (2048, 128, 512), (320, 50257, 128), (320, 50257, 768), (1, 2304, 768) })
{
    using Tensor x = device.From(Values(m * k), [m, k]), w = device.From(Values(k * n), [k, n]), y = device.Empty([m, n]), d = device.Empty([m, k]), z = device.Empty([m, n]), dw = device.Empty([k, n]);
    using FrozenMatrix f = device.Freeze(w);
    double flop = 2.0 * m * n * k;
    Console.WriteLine($"{m}x{n}x{k}: forward {Rate(() => device.MatMul(x, f, null, y), flop):F0}  backward {Rate(() => device.MatMulTransposed(y, f, d), flop):F0}  unpacked {Rate(() => device.MatMul(x, false, w, false, z), flop):F0}  dw {Rate(() => device.MatMul(x, true, y, false, dw), flop):F0} GFLOP/s");
    double err = 0;
    float[] xa = x.ToArray(), wa = w.ToArray(), ya = y.ToArray(), za = z.ToArray(), da = d.ToArray(), dwa = dw.ToArray();
    for (int t = 0; t < 50; t++)
    {
        int i = random.Next(m), j = random.Next(n), p = random.Next(k);
        double s = 0, sd = 0, sw = 0;
        for (int q = 0; q < k; q++) s += (double)xa[i * k + q] * wa[q * n + j];
        for (int q = 0; q < n; q++) sd += (double)ya[i * n + q] * wa[p * n + q];
        for (int q = 0; q < m; q++) sw += (double)xa[q * k + p] * ya[q * n + j];
        err = Math.Max(err, Math.Max(Math.Abs(s - ya[i * n + j]), Math.Abs(s - za[i * n + j])));
        err = Math.Max(err, Math.Max(Math.Abs(sd - da[i * k + p]) / 100, Math.Abs(sw - dwa[p * n + j]) / 100));
    }
    Console.WriteLine($"   error {err:E1}");
}
float[] Values(int count) { float[] v = new float[count]; for (int i = 0; i < count; i++) v[i] = random.NextSingle() - 0.5f; return v; }
static double Rate(Action action, double flop)
{
    action(); action();
    double best = double.MaxValue;
    for (int r = 0; r < 7; r++) { long t = Stopwatch.GetTimestamp(); action(); best = Math.Min(best, Stopwatch.GetElapsedTime(t).TotalSeconds); }
    return flop / best / 1e9;
}
