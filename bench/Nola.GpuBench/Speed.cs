using System.Diagnostics;
using Nola.Autograd;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;

namespace Nola.GpuBench;

/// <summary>Times of kernels at GPT-2's sizes, and of whole training steps and decoding, on 8,192 tokens.</summary>
internal static class Speed
{
    private const int Sequences = 16, Length = 512;

    internal const int Tokens = Sequences * Length;

    /// <summary>Runs everything on one device.</summary>
    public static void Run(Device device, string size, Report report)
    {
        Gpt2Config config = ProductSpeed.Config(size);
        report.Table($"Kernels at the sizes of {size}, {Tokens:N0} tokens", "kernel", "time", "rate");
        ProductSpeed.Run(device, config, report);
        Rows(device, config, report);
        Attention(device, config, report, "");
        if (device.Name != "cpu")
        {
            using Device exact = Device.Open(device.Name + ",float32");
            Attention(exact, config, report, " in float32");
        }
        Head(device, config, report);
        Basis(device, config, report);
        report.Line("");
        LaunchCost.Run(device, report);
        report.Line("");
        report.Table($"{size} with random weights", "work", "time", "tokens/s", "queued and waited for");
        using Gpt2 model = Gpt2.Create(config, device, 1, trainable: false, DType.BFloat16);
        Step(model, report);
        Decode(model, report);
        report.Line("");
    }

    private static void Rows(Device d, Gpt2Config config, Report report)
    {
        int c = config.Channels;
        using Tensor x = d.Zeros([Tokens, c]), y = d.Empty([Tokens, c]), w = d.Zeros([c]), mean = d.Empty([Tokens]), rstd = d.Empty([Tokens]);
        Time(d, report, "layer norm", () => d.LayerNorm(x, w, w, 1e-5f, y, mean, rstd), 8.0 * x.Length, 1e9, "GB/s");
        Time(d, report, "gelu", () => d.Gelu(x, y), 8.0 * x.Length, 1e9, "GB/s");
    }

    // With what rounding the operands costs, where they are rounded.
    private static void Attention(Device d, Gpt2Config config, Report report, string how)
    {
        int c = config.Channels, heads = config.Heads;
        using Tensor qkv = d.Zeros([Tokens, 3 * c]), dqkv = d.Empty([Tokens, 3 * c]), y = d.Empty([Tokens, c]), lse = d.Empty([heads, Tokens]);
        using Tensor starts = d.From([.. Enumerable.Range(0, Sequences + 1).Select(s => s * Length)]);
        double flop = 2.0 * Sequences * Length * (Length + 1.0) * c;
        Time(d, report, "attention" + how, () => d.Attention(qkv, starts, heads, y, lse), flop, 1e12, "TFLOP/s");
        Time(d, report, "its gradient" + how, () => d.AttentionGrad(qkv, starts, heads, y, lse, y, dqkv), 2.5 * flop, 1e12, "TFLOP/s");
    }

    private static void Head(Device d, Gpt2Config config, Report report)
    {
        int c = config.Channels;
        using Tensor table = d.Zeros([config.Vocabulary, c]), rows = d.Zeros([Tokens / 4, c]), drows = d.Empty([Tokens / 4, c]), losses = d.Empty([Tokens / 4]), targets = d.From(new int[Tokens / 4]);
        using FrozenMatrix head = d.Freeze(table, transposed: true, DType.BFloat16);
        Time(d, report, "head and loss, both ways", () => d.HeadCrossEntropy(rows, head, targets, 0.1f, losses, drows), 4.0 * Tokens / 4 * c * config.Vocabulary, 1e12, "TFLOP/s");
    }

    private static void Basis(Device d, Gpt2Config config, Report report)
    {
        RandomBasis basis = new(1, 0, 0, 512, config.Channels, 8, BasisEntries.Uniform);
        using Tensor c = d.Zeros([config.Layers, 512]), w = d.Empty([config.Layers, config.Channels, 8]);
        double entries = 512.0 * basis.Size;
        Time(d, report, "mix 512 matrices for all layers", () => d.BasisMix(basis, c, w), entries, 1e9, "G entries/s");
        Time(d, report, "its gradient", () => d.BasisMixGrad(basis, w, c), entries, 1e9, "G entries/s");
    }

    private static void Step(Gpt2 model, Report report)
    {
        using NolaAdapter adapter = NolaAdapter.Attach(model, new NolaOptions { Rank = 8, Bases = 512 });
        using AdamW optimizer = new(adapter.Parameters, new TrainOptions { LearningRate = 0 });
        Random r = new(1);
        int[] ids = [.. Enumerable.Range(0, Tokens).Select(_ => r.Next(model.Config.Vocabulary))];
        int[] starts = [.. Enumerable.Range(0, Sequences + 1).Select(s => s * Length)];
        int[] places = [.. Enumerable.Range(0, Tokens).Where(i => i % Length >= Length / 2)];
        TokenStream stream = new(ids, starts, places, [.. places.Select(i => ids[i])]);
        using Tensor record = model.Device.Empty([1, 2], DType.Float64);
        Measure(model.Device, report, "step", "NOLA step, r = 8, k = 512, loss on half", Tokens, "step", 1, () =>
        {
            using StreamTensors batch = new(model.Device, stream);
            adapter.BeginStep();
            using (Tape tape = new(model.Device))
            {
                Variable loss = model.Loss(tape, batch, 0, 1f / places.Length);
                model.Device.AddLoss(loss.Value, record, 0, 0);
                tape.Backward(loss);
            }
            adapter.EndStep();
            optimizer.Step(0, record, 0);
        });
    }

    private static void Decode(Gpt2 model, Report report)
    {
        const int New = 64;
        int[] prompt = [.. Enumerable.Range(1, 64)];
        Measure(model.Device, report, "decode", $"greedy decoding, {New} tokens after {prompt.Length}", New, "token", New,
            () => model.Generate(prompt, new GenerateOptions { MaxNewTokens = New, StopTokens = [] }));
        Measure(model.Device, report, "decode", $"10 beams, {New} tokens after {prompt.Length}", New, "token", New,
            () => model.Generate(prompt, new GenerateOptions { MaxNewTokens = New, StopTokens = [], Beams = 10 }));
    }

    // Time, tokens a second, and on a GPU how many kernels were queued one by one and how often the host waited, for each unit of work.
    private static void Measure(Device device, Report report, string kind, string name, int tokens, string unit, int units, Action run)
    {
        double seconds = Seconds(device, run);
        GpuDevice? gpu = device as GpuDevice;
        (long launches, long waits) = (gpu?.Launches ?? 0, gpu?.Waits ?? 0);
        run();
        double queued = ((gpu?.Launches ?? 0) - launches) / (double)units, waited = ((gpu?.Waits ?? 0) - waits) / (double)units;
        report.Row(new { kind, name, seconds, tokens_per_second = tokens / seconds, launches = queued, waits = waited },
            name, $"{1e3 * seconds:F1} ms", $"{tokens / seconds:F0}", gpu is null ? "" : $"{queued:F1} kernels, {waited:F1} waits a {unit}");
    }

    internal static void Time(Device device, Report report, string name, Action run, double work, double unit, string rate)
    {
        double seconds = Seconds(device, run);
        report.Row(new { kind = "kernel", name, device = device.Description, seconds, rate = work / seconds / unit, unit = rate }, name, $"{1e6 * seconds:F0} µs", $"{work / seconds / unit:F1} {rate}");
    }

    // Median of five timings of enough repetitions for a tenth of a second; a download of one number waits for the device.
    internal static double Seconds(Device device, Action run)
    {
        using Tensor flag = device.Zeros([1]);
        run();
        double once = Timed(1);
        int count = (int)Math.Clamp(0.1 / once, 1, 1000);
        double[] times = [.. Enumerable.Range(0, 5).Select(_ => Timed(count))];
        Array.Sort(times);
        return times[2];

        double Timed(int repeats)
        {
            _ = flag.Item();
            long start = Stopwatch.GetTimestamp();
            for (int i = 0; i < repeats; i++) run();
            _ = flag.Item();
            return Stopwatch.GetElapsedTime(start).TotalSeconds / repeats;
        }
    }
}
