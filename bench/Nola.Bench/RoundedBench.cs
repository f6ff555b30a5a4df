using System.Runtime.InteropServices;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Bench;

/// <summary>Products of bfloat16 on the chip's own instruction, beside float32 in the same run.</summary>
internal static class RoundedBench
{
    private static readonly (int Rows, int Outputs, int Inputs)[] shapes =
        [(2048, 768, 768), (2048, 2304, 768), (2048, 3072, 768), (2048, 768, 3072), (512, 768, 768), (512, 50257, 768)];

    public static void Run(Bench bench)
    {
        using CpuDevice rounding = new(bench.Device.Threads, bfloat16: true);
        if (!rounding.RoundsProducts)
        {
            bench.Section("Products of bfloat16");
            bench.Line("Not measured: this chip has no AVX512_BF16, or the system does not let code be made.");
            return;
        }
        Products(bench, rounding);
        Steps(bench, rounding);
    }

    private static void Products(Bench bench, CpuDevice rounding)
    {
        bench.Section(
            "Products with a frozen weight, operands rounded to bfloat16, share of a loop of the same instruction in the first-level cache",
            "rows × out × in", "the loop, GFLOP/s", "x·W", "dy·Wᵀ", "float32, GFLOP/s of x·W", "times as fast");
        List<double> shares = [];
        foreach ((int m, int n, int k) in shapes)
        {
            double flop = 2.0 * m * n * k;
            float[] x = Bench.Values(m * k), w = Bench.Values(k * n, 2), dy = Bench.Values(m * n, 3);
            using Operands rounded = new(rounding, x, w, dy, m, n, k), whole = new(bench.Device, x, w, dy, m, n, k);
            rounded.Verify(whole);
            Timing[] times = bench.Time(
                [rounded.Forward, rounded.Backward, whole.Forward, () => _ = MultiplyAdds(rounding.Team)], 2);
            Timing loop = times[3].Per(MultiplyAdds(rounding.Team));
            double forward = flop / times[0].Over(loop), backward = flop / times[1].Over(loop);
            shares.AddRange([forward, backward]);
            bench.Row(
                $"{m} × {n} × {k}", $"{1e-9 / loop.Median:F0}", $"{100 * forward:F0} %", $"{100 * backward:F0} %",
                $"{flop / times[2].Median / 1e9:F0}", $"{times[2].Over(times[0]):F2}");
        }
        bench.AtLeast("product of bfloat16, average", 100 * shares.Average(), 80, "% of the loop");
    }

    private static void Steps(Bench bench, CpuDevice rounding)
    {
        TokenStream stream = TrainStep.E2E(bench.Tokens);
        using LanguageModel whole = LanguageModel.Create(bench.Config, bench.Device, 1, trainable: false);
        using LanguageModel rounded = LanguageModel.Create(bench.Config, rounding, 1, trainable: false);
        using TrainStep lora = new(whole, StepBench.Lora(whole)), nola = new(whole, StepBench.Nola(whole, perLayer: false));
        using TrainStep loraRounded = new(rounded, StepBench.Lora(rounded));
        using TrainStep nolaRounded = new(rounded, StepBench.Nola(rounded, perLayer: false));
        double difference = Math.Abs(lora.Run(stream) - loraRounded.Run(stream));
        Bench.Require(difference < 0.02, $"the loss of bfloat16 is that of float32 (difference {difference})");
        Timing[] times = bench.Time(
            [() => lora.Run(stream), () => loraRounded.Run(stream), () => nola.Run(stream), () => nolaRounded.Run(stream)], 1);
        bench.Section(
            $"A training step of {bench.Size} on {stream.Length:N0} tokens of E2E, float32 and bfloat16 in turn",
            "method", "float32, tokens/s", "bfloat16, tokens/s", "times as fast");
        foreach ((string name, int i) in new[] { ("LoRA", 0), ("NOLA, shared basis", 2) })
        {
            double gain = times[i].Over(times[i + 1]);
            bench.Row(name, $"{stream.Length / times[i].Median:F0}", $"{stream.Length / times[i + 1].Median:F0}", $"{gain:F2}");
            bench.AtLeast(
                $"{name} step, bfloat16 against float32", gain, 1.6, "times", $"{stream.Length / times[i + 1].Median:F0} tokens/s");
        }
    }

    // The largest kernel again and again on operands that stay in the first-level cache; how many operations that is.
    private static unsafe double MultiplyAdds(ThreadTeam team)
    {
        const int Pairs = 64, Loops = 20_000;
        team.For(team.Threads, 1, (_, _) =>
        {
            uint* a = (uint*)NativeMemory.AlignedAlloc(Pairs * 64, 64), b = (uint*)NativeMemory.AlignedAlloc(Pairs * 128, 64);
            float* sums = (float*)NativeMemory.AlignedAlloc(PairKernels.MostRows * 128, 64);
            new Span<uint>(a, Pairs * 16).Fill(0x3F803F80);
            new Span<uint>(b, Pairs * 32).Fill(0x3F803F80);
            for (int i = 0; i < Loops; i++) PairKernels.Run(PairKernels.MostRows, Pairs, a, b, sums);
            NativeMemory.AlignedFree(a);
            NativeMemory.AlignedFree(b);
            NativeMemory.AlignedFree(sums);
        });
        return 2.0 * PairKernels.MostRows * 32 * 2 * Pairs * Loops * team.Threads;
    }

    private sealed class Operands : IDisposable
    {
        private readonly CpuDevice device;
        private readonly Tensor x, dy, y, dx;
        private readonly FrozenMatrix frozen;

        public Operands(CpuDevice device, float[] left, float[] weight, float[] gradient, int m, int n, int k)
        {
            this.device = device;
            using Tensor w = device.From(weight, [k, n]);
            (x, dy, frozen) = (device.From(left, [m, k]), device.From(gradient, [m, n]), device.Freeze(w));
            (y, dx) = (device.Empty([m, n]), device.Empty([m, k]));
        }

        public void Forward() => device.MatMul(x, frozen, null, y);

        public void Backward() => device.MatMulTransposed(dy, frozen, dx);

        // Each operand is off by at most 2⁻⁹ of itself, and errors of many terms partly cancel: far less than a hundredth of the sums.
        public void Verify(Operands exact)
        {
            Forward();
            Backward();
            exact.Forward();
            exact.Backward();
            Bench.Require(Off(y, exact.y) < 0.01 && Off(dx, exact.dx) < 0.01, "products of bfloat16 are those of float32 but for rounding");
        }

        public void Dispose()
        {
            foreach (IDisposable one in (IDisposable[])[x, dy, y, dx, frozen]) one.Dispose();
        }

        private static double Off(Tensor got, Tensor expected)
        {
            float[] a = got.ToArray(), b = expected.ToArray();
            double difference = 0, size = 0;
            for (int i = 0; i < a.Length; i++) (difference, size) = (difference + Math.Pow(a[i] - b[i], 2), size + Math.Pow(b[i], 2));
            return Math.Sqrt(difference / size);
        }
    }
}
