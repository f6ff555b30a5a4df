using Nola.Models;
using Nola.Tensors;

namespace Nola.Bench;

/// <summary>Where a LoRA step's time goes: its kernels at the step's own shapes, as often as the step runs them, beside the step.</summary>
internal static class PartsBench
{
    public static void Run(Bench bench)
    {
        Parts(bench, bench.Device, "float32");
        using CpuDevice rounding = new(bench.Device.Threads, bfloat16: true);
        if (rounding.RoundsProducts) Parts(bench, rounding, "bfloat16");
    }

    private static void Parts(Bench bench, CpuDevice device, string products)
    {
        TokenStream stream = TrainStep.E2E(bench.Tokens);
        using LanguageModel model = LanguageModel.Create(bench.Config, device, 1, trainable: false);
        using TrainStep step = new(model, StepBench.Lora(model));
        using Kernels kernels = new(device, bench.Config, stream);
        step.Run(stream);
        (string Name, double Times, double Flop, Action Run)[] parts = [.. kernels.All()];
        (Timing[] times, Peak peak) = bench.TimeWithPeak([() => step.Run(stream), .. parts.Select(part => part.Run)], 1);
        bench.Section(
            $"Where a LoRA step of {bench.Size} goes, {stream.Length:N0} tokens of E2E, products of {products}",
            "part", "time a step", "share of the step", "GFLOP/s", "share of the float32 peak");
        double rest = times[0].Median;
        for (int i = 0; i < parts.Length; i++)
        {
            (string name, double count, double flop, _) = parts[i];
            Timing time = times[i + 1];
            rest -= count * time.Median;
            string rate = flop == 0 ? "" : $"{flop / time.Median / 1e9:F0}";
            string share = flop == 0 ? "" : $"{100 * peak.Share(time, flop):F0} %";
            bench.Row(name, Milliseconds(count * time.Median), Share(count * time.Median), rate, share);
        }
        bench.Row("the rest", Milliseconds(rest), Share(rest), "", "");
        double work = TrainStep.FrozenFlop(bench.Config, stream, StepBench.Rank);
        string all = $"{work / times[0].Median / 1e9:F0}";
        bench.Row("the step", Milliseconds(times[0].Median), "", all, $"{100 * peak.Share(times[0], work):F0} %");
        bench.Line();
        bench.Line(
            "A part's time is the median of its kernel alone, times its calls in a step. Its operands lie in the caches as its last call "
            + "left them, so the rest, which is what the parts do not explain, also holds what the caches lose or keep between parts.");

        static string Milliseconds(double seconds) => $"{1e3 * seconds:F1} ms";

        string Share(double seconds) => $"{100 * seconds / times[0].Median:F1} %";
    }

    // One block's kernels, and those that a step has once.
    private sealed class Kernels : IDisposable
    {
        private const int R = StepBench.Rank;

        private readonly List<IDisposable> made = [];
        private readonly CpuDevice device;
        private readonly Gpt2Config config;
        private readonly TokenStream stream;

        public Kernels(CpuDevice device, Gpt2Config config, TokenStream stream) =>
            (this.device, this.config, this.stream) = (device, config, stream);

        public IEnumerable<(string Name, double Times, double Flop, Action Run)> All()
        {
            int n = stream.Length, c = config.Channels, inner = config.Inner, layers = config.Layers, p = stream.Targets.Length;
            Tensor x = New(n, c), h = New(n, c), dh = New(n, c), y = New(n, c), u = New(n, inner), g = New(n, inner), du = New(n, inner);
            Tensor qkv = New(n, 3 * c), dqkv = New(n, 3 * c), lse = New(config.Heads, n);
            Tensor norm = New(1, c), mean = New(1, n), rstd = New(1, n);
            Tensor wide = New(1, 3 * c), inners = New(1, inner);
            FrozenMatrix attn = Frozen(c, 3 * c), proj = Frozen(c, c), fc = Frozen(c, inner), down = Frozen(inner, c);
            Tensor starts = Keep(device.From(stream.Starts));
            AttentionLayout layout = AttentionLayout.Of(c, config.Heads);
            double maps = 2.0 * n * (4 * c * c + 2 * c * inner);
            double pairs = Enumerable.Range(0, stream.Sequences).Sum(s => Triangle(stream.Starts[s + 1] - stream.Starts[s]));
            yield return ("products x·W, with biases, residuals and GELU", layers, maps, Products);

            void Products()
            {
                device.MatMul(x, attn, wide, qkv);
                device.MatMul(h, proj, norm, y, 0, x);
                device.MatMul(h, fc, inners, u, activated: g);
                device.MatMul(g, down, norm, y, 0, x);
            }

            // Below the first block's c_attn nothing is trained.
            double gradients = maps - 2.0 * n * 3 * c * c / layers;
            yield return ("products dy·Wᵀ, with GELU's gradient", layers * gradients / maps, maps, Gradients);

            void Gradients()
            {
                device.MatMulTransposed(dh, down, du);
                device.MatMulTransposed(du, fc, y, 0, u);
                device.MatMulTransposed(dh, proj, y);
                device.MatMulTransposed(dqkv, attn, y);
            }

            Tensor a = New(c, R), b = New(R, c), low = New(n, R), dlow = New(n, R), da = New(c, R), db = New(R, c);
            double factors = 2 * 2.0 * 2 * n * c * R, backward = 2 * factors;
            yield return ("adapters, forward", layers, factors, Adapters);

            void Adapters()
            {
                foreach (int column in (int[])[0, 2 * c])
                {
                    device.MatMul(x, false, a, false, low);
                    device.MatMul(low, false, b, false, ((Matrix)qkv).SliceColumns(column, c), 1, 1);
                }
            }

            // Neither does the first block's input get a gradient of its adapters, one of four products, or of its norm.
            yield return ("adapters, backward", layers - 0.25, backward, AdapterGradients);

            void AdapterGradients()
            {
                foreach (int column in (int[])[0, 2 * c])
                {
                    Matrix dy = ((Matrix)dqkv).SliceColumns(column, c);
                    device.MatMul(low, true, dy, false, db, 1, 1);
                    device.MatMul(dy, false, b, true, dlow);
                    device.MatMul(x, true, dlow, false, da, 1, 1);
                    device.MatMul(dlow, false, a, true, y, 1, 1);
                }
            }

            yield return ("attention, forward", layers, 2 * 2.0 * c * pairs, () => device.Attention(qkv, starts, layout, h, lse));
            yield return ("attention, backward", layers, 5 * 2.0 * c * pairs, () =>
                device.AttentionGrad(qkv, starts, layout, h, lse, dh, dqkv));
            yield return ("layer norms, forward", 2 * layers + 1, 0, () => device.LayerNorm(x, norm, norm, 1e-5f, y, mean, rstd));
            yield return ("layer norms, backward", 2 * layers, 0, () => device.LayerNormGrad(x, norm, mean, rstd, dh, y, 1));
            Tensor rows = New(p, c), drows = New(p, c), losses = New(1, p), targets = Keep(device.From(stream.Targets));
            FrozenMatrix head = Frozen(c, config.Vocabulary);
            yield return ("head and loss, with its gradient", 1, 4.0 * p * c * config.Vocabulary, () =>
                device.HeadCrossEntropy(rows, head, targets, 0, losses, drows, null, 1f / p));
        }

        public void Dispose()
        {
            foreach (IDisposable one in made) one.Dispose();
        }

        private static double Triangle(double tokens) => tokens * (tokens + 1) / 2;

        private Tensor New(int rows, int columns) => Keep(device.From(Bench.Values(rows * columns, made.Count, 0.5f), [rows, columns]));

        private FrozenMatrix Frozen(int rows, int columns)
        {
            using Tensor weight = device.From(Bench.Values(rows * columns, made.Count, 0.05f), [rows, columns]);
            return Keep(device.Freeze(weight));
        }

        private T Keep<T>(T one) where T : IDisposable
        {
            made.Add(one);
            return one;
        }
    }
}
