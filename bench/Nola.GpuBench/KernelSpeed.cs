using Nola.Models;
using Nola.Tensors;

namespace Nola.GpuBench;

/// <summary>Times of all kernel families but the products, at a model's sizes, and the bandwidth of the device's memory.</summary>
internal static class KernelSpeed
{
    /// <summary>Rows of every family.</summary>
    public static void Rows(Bench bench)
    {
        Rowwise(bench);
        Attention(bench, "");
        if (bench.Device is GpuDevice)
        {
            using Device exact = Device.Open(bench.Device.Name + ",float32");
            Attention(bench with { Device = exact, Precision = Precision.Float32 }, " in float32");
        }
        Head(bench);
        Basis(bench);
    }

    /// <summary>Bytes a second of the larger of a copy (8 bytes an element) and a sum (12) of arrays of 256 MiB.</summary>
    public static double Bandwidth(Bench bench)
    {
        const int Length = 1 << 26;
        Device d = bench.Device;
        using Tensor a = d.Zeros([Length]), b = d.Zeros([Length]), y = d.Empty([Length]);
        return Math.Max(
            bench.Time("copy of 256 MiB", () => d.Axpby(1, a, 0, y), 8.0 * Length, 1e9, "GB/s"),
            bench.Time("sum of two arrays of 256 MiB", () => d.Add(a, b, y), 12.0 * Length, 1e9, "GB/s"));
    }

    /// <summary>Attention over sequences of the lengths of E2E's examples.</summary>
    public static void Attention(Bench bench, TokenStream stream)
    {
        double pairs = Enumerable.Range(0, stream.Sequences).Sum(s => Pairs(stream.Starts[s + 1] - stream.Starts[s]));
        Attention(bench, stream.Starts, pairs, ", E2E's lengths");
    }

    private static void Attention(Bench bench, string how) =>
        Attention(
            bench, [.. Enumerable.Range(0, Workload.Sequences + 1).Select(s => s * bench.Work.Length)],
            Workload.Sequences * Pairs(bench.Work.Length), how);

    // Queries with their keys in a causal sequence.
    private static double Pairs(int length) => length * (length + 1.0) / 2;

    private static void Attention(Bench bench, int[] offsets, double pairs, string how)
    {
        Device d = bench.Device;
        int c = bench.Work.Config.Channels, heads = bench.Work.Config.Heads, n = offsets[^1];
        using Tensor qkv = Bench.Noise(d, [n, 3 * c]), dy = Bench.Noise(d, [n, c], 2), dqkv = d.Empty([n, 3 * c]);
        using Tensor y = d.Empty([n, c]), lse = d.Empty([heads, n]), starts = d.From(offsets);
        AttentionLayout layout = AttentionLayout.Of(c, heads);
        using Replay replay = d.NewReplay();
        // Two products forward, five backward.
        double flop = 4 * pairs * c;
        Time("attention" + how, 1, Forward);
        Time("its gradient" + how, 2.5, Backward);
        Time("attention, both ways" + how, 3.5, Both);
        // Short kernels may run faster than a host queues them.
        Time("attention, both ways" + how + ", as a graph", 3.5, () => replay.Run(Both));

        void Forward() => d.Attention(qkv, starts, layout, y, lse);

        void Backward() => d.AttentionGrad(qkv, starts, layout, y, lse, dy, dqkv);

        void Both()
        {
            Forward();
            Backward();
        }

        void Time(string name, double times, Action run) => bench.Time(name, run, times * flop, 1e12, "TFLOP/s");
    }

    private static void Rowwise(Bench bench)
    {
        Device d = bench.Device;
        int c = bench.Work.Config.Channels, n = bench.Work.Tokens;
        using Tensor x = Bench.Noise(d, [n, c]), y = d.Empty([n, c]), w = Bench.Noise(d, [c], 2), mean = d.Empty([n]), rstd = d.Empty([n]);
        bench.Time("layer norm", () => d.LayerNorm(x, w, w, 1e-5f, y, mean, rstd), 8.0 * x.Length, 1e9, "GB/s");
        bench.Time("gelu", () => d.Gelu(x, y), 8.0 * x.Length, 1e9, "GB/s");
    }

    private static void Head(Bench bench)
    {
        Device d = bench.Device;
        Gpt2Config config = bench.Work.Config;
        int c = config.Channels, n = bench.Work.Tokens / 4;
        using Tensor table = Bench.Noise(d, [config.Vocabulary, c]);
        using Tensor rows = Bench.Noise(d, [n, c], 2), drows = d.Empty([n, c]), losses = d.Empty([n]);
        using Tensor targets = d.From([.. Enumerable.Range(0, n).Select(i => i * 17 % config.Vocabulary)]);
        using FrozenMatrix head = d.Freeze(table, transposed: true, WeightFormat.BFloat16);
        bench.Time(
            "head and loss, both ways", () => d.HeadCrossEntropy(rows, head, targets, 0.1f, losses, drows),
            4.0 * n * c * config.Vocabulary, 1e12, "TFLOP/s");
    }

    // As a step has it; then of matrices so large that the card is full, for one layer, where making the entries is most of
    // the work, and for all layers.
    private static void Basis(Bench bench)
    {
        const int Large = 32;
        int c = bench.Work.Config.Channels, layers = bench.Work.Config.Layers;
        Mix(bench, c, layers, $"mix 512 matrices ({c}, 8) for all layers");
        double one = Mix(bench, Large * c, 1, $"mix 512 matrices ({Large * c}, 8) for one layer");
        double all = Mix(bench, Large * c, layers, $"mix 512 matrices ({Large * c}, 8) for all layers");
        bench.Bars.Measure(
            "basis", 1e-12 * one, $"512 matrices ({Large * c}, 8), each mixed into one; into {layers} at once: {1e-12 * all:G3}");
    }

    private static double Mix(Bench bench, int rows, int layers, string name)
    {
        Device d = bench.Device;
        RandomBasis basis = new(1, 0, 0, Workload.Bases, rows, Workload.Rank, BasisEntries.Uniform);
        using Tensor c = Bench.Noise(d, [layers, Workload.Bases]);
        using Tensor w = d.Empty([layers, rows, Workload.Rank]), dc = d.Empty([layers, Workload.Bases]);
        double entries = (double)Workload.Bases * basis.Size;
        double rate = bench.Time(name, () => d.BasisMix(basis, c, w), entries, 1e9, "G entries/s");
        bench.Time(name + ", its gradient", () => d.BasisMixGrad(basis, w, dc), entries, 1e9, "G entries/s");
        return rate;
    }
}
