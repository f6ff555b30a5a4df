using System.Diagnostics;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;

namespace Nola.Bench;

/// <summary>
/// LLaMA's kind with frozen weights in each format: a training step of about 160 million parameters, decoding one row at a time, and
/// the memory of a step of 1.2 billion.
/// </summary>
internal static class LlamaBench
{
    private const int Rank = 8, Bases = 512, Prompt = 32, Tokens = 32, LongStep = 1024;

    private static readonly LlamaConfig small = new("llama", 12, 12, 12, 64, 768, 3072, 32000, 2048);

    // Llama 3.2 1B.
    private static readonly LlamaConfig large = new("llama", 16, 32, 8, 64, 2048, 8192, 128256, 131072)
    {
        TiedHead = true,
        NormEpsilon = 1e-5f,
        Rotary = new(500000) { Type = "llama3", Factor = 32, Low = 1, High = 4, Original = 8192 },
    };

    private static readonly WeightFormat[] formats =
        [WeightFormat.Float32, WeightFormat.BFloat16, WeightFormat.Int8, WeightFormat.Nf4, WeightFormat.Nf4Double];

    private static string Millions => $"{small.ParameterCount / 1e6:F0}";

    public static void Run(Bench bench)
    {
        Step(bench);
        Decoding(bench);
        Memory(bench);
    }

    /// <summary>What decoding waits for: one row by a weight, and one token by a model.</summary>
    public static void Decoding(Bench bench)
    {
        OneRow(bench);
        Decode(bench);
    }

    /// <summary>In a process of its own: NOLA steps of 1.2 billion parameters; its bytes, and a step's seconds.</summary>
    public static (long Bytes, double Seconds) LargeStep(Bench bench, string format, bool rounds)
    {
        using CpuDevice device = new(bench.Device.Threads, rounds);
        using LanguageModel model = LanguageModel.Create(large, device, 1, trainable: false, WeightFormats.Find(format)!.Value);
        using TrainStep step = new(model, Nola(model)) { CheckpointBlocks = true };
        TokenStream stream = Stream(large, LongStep);
        // As the trainer does before its first step.
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive);
        step.Run(stream);
        Stopwatch watch = Stopwatch.StartNew();
        step.Run(stream);
        double seconds = watch.Elapsed.TotalSeconds;
        using Process self = Process.GetCurrentProcess();
        return (self.PeakWorkingSet64, seconds);
    }

    private static void Step(Bench bench)
    {
        TokenStream stream = Stream(small, bench.Tokens);
        using CpuDevice rounding = new(bench.Device.Threads, bfloat16: true);
        bench.Section(
            $"A training step of {Millions} million parameters of LLaMA's kind on {stream.Length:N0} tokens, NOLA on q and v",
            "storage", "time", "tokens/s", "share of peak", "weights", "with products of bfloat16, tokens/s", "times as fast");
        foreach (WeightFormat format in formats)
        {
            using LanguageModel model = LanguageModel.Create(small, bench.Device, 1, trainable: false, format);
            using TrainStep step = new(model, Nola(model));
            double flop = Flop(model, small, stream);
            (Timing[] times, Peak peak) = bench.TimeWithPeak([() => step.Run(stream)], 1);
            double share = 100 * peak.Share(times[0], flop);
            (string speed, string gain) = Rounded(step, format);
            bench.Row(
                format.Name(), $"{times[0].Median:F2} s ({times[0].Fastest:F2}–{times[0].Slowest:F2})",
                $"{stream.Length / times[0].Median:F0}", $"{share:F0} %",
                $"{model.Maps.Sum(map => map.Frozen!.Bytes) / 1e6:F0} MB", speed, gain);
            bench.AtLeast($"LLaMA training step, {format.Name()}", share, format.IsQuantized() ? 70 : 76, "% of peak");
        }

        // The same step in bfloat16, in turn with the one in float32.
        (string Speed, string Gain) Rounded(TrainStep whole, WeightFormat format)
        {
            if (!rounding.RoundsProducts) return ("not on this chip", "");
            using LanguageModel model = LanguageModel.Create(small, rounding, 1, trainable: false, format);
            using TrainStep step = new(model, Nola(model));
            Timing[] times = bench.Time([() => whole.Run(stream), () => step.Run(stream)], 1);
            return ($"{stream.Length / times[1].Median:F0}", $"{times[0].Over(times[1]):F2}");
        }
    }

    private static void OneRow(Bench bench)
    {
        const int In = 1024, Out = 4096;
        const double Megabytes = 128;
        bench.Section(
            $"One row by weights of ({In:N0}, {Out:N0}), {Megabytes:F0} MB of them", "storage", "weights", "time", "GB/s", "the loop, GB/s",
            "share");
        Device device = bench.Device;
        Random random = new(1);
        float[] values = [.. Enumerable.Range(0, In * Out).Select(_ => random.NextSingle() - 0.5f)];
        using Tensor weight = device.From(values, [Out, In]), x = device.From(values[..In], [1, In]), y = device.Empty([1, Out]);
        foreach (WeightFormat format in formats)
        {
            List<FrozenMatrix> weights = [device.Freeze(weight, transposed: true, format)];
            while (weights.Sum(w => w.Bytes) < Megabytes * 1e6) weights.Add(device.Freeze(weight, transposed: true, format));
            (Timing[] t, Timing read) = bench.TimeWithReading([All], 1, 3 * bench.Repeats);
            double bytes = weights.Sum(w => w.Bytes), seconds = t[0].Median, share = 100 * bytes * read.Median / seconds;
            bench.Row(
                format.Name(), $"{weights.Count}", $"{seconds * 1e3:F2} ms", $"{bytes / seconds / 1e9:F1}", $"{1 / read.Median / 1e9:F1}",
                $"{share:F0} %");
            bench.AtLeast($"one row by a weight, {format.Name()}", share, 88, "% of bandwidth", $"{bytes / seconds / 1e9:F1} GB/s");
            foreach (FrozenMatrix one in weights) one.Dispose();

            void All()
            {
                foreach (FrozenMatrix one in weights) device.MatMul(x, one, null, y);
            }
        }
    }

    private static void Decode(Bench bench)
    {
        bench.Section(
            $"Decoding with {Millions} million parameters of LLaMA's kind, one row at a time", "storage", "a token", "tokens/s",
            "weights read", "GB/s", "the loop, GB/s", "share");
        int[] prompt = [.. Enumerable.Range(0, Prompt).Select(i => 1000 + 37 * i)];
        foreach (WeightFormat format in formats)
        {
            using LanguageModel model = LanguageModel.Create(small, bench.Device, 1, trainable: false, format);
            (Timing[] t, Timing read) = bench.TimeWithReading(
                [() => model.Generate(prompt, null, Greedy(1)), () => model.Generate(prompt, null, Greedy(1 + Tokens))], 1,
                3 * bench.Repeats);
            // A quantized model's tables are in bfloat16, as published checkpoints have them.
            double head = (double)small.Vocabulary * small.Channels * (format == WeightFormat.Float32 ? 4 : 2);
            double bytes = model.Maps.Sum(map => map.Frozen!.Bytes) + head, token = (t[1].Median - t[0].Median) / Tokens;
            double share = 100 * bytes * read.Median / token;
            bench.Row(
                format.Name(), $"{token * 1e3:F2} ms", $"{1 / token:F0}", $"{bytes / 1e6:F0} MB", $"{bytes / token / 1e9:F1}",
                $"{1 / read.Median / 1e9:F1}", $"{share:F0} %");
            bench.AtLeast($"decoding one row, {format.Name()}", share, 80, "% of bandwidth", $"{1 / token:F0} tokens/s");
        }
    }

    private static void Memory(Bench bench)
    {
        using CpuDevice rounding = new(1, bfloat16: true);
        bool rounds = rounding.RoundsProducts;
        bench.Section(
            $"A NOLA step on Llama 3.2 1B's shape (random weights), {LongStep:N0} tokens, blocks computed again, in a process of its own",
            "storage", "peak resident", "the second step", "tokens/s", "with products of bfloat16, tokens/s");
        foreach ((WeightFormat format, double limit) in (ReadOnlySpan<(WeightFormat, double)>)
            [(WeightFormat.BFloat16, 5), (WeightFormat.Int8, 3.6), (WeightFormat.Nf4, 2.6), (WeightFormat.Nf4Double, 2.6)])
        {
            (double gigabytes, double seconds) = Measure(format);
            string rounded = rounds ? $"{LongStep / Measure(format, "--bfloat16").Seconds:F0}" : "not on this chip";
            bench.Row(format.Name(), $"{gigabytes:F2} GB", $"{seconds:F1} s", $"{LongStep / seconds:F0}", rounded);
            bench.AtMost($"peak memory of a NOLA step on Llama 3.2 1B's shape, {format.Name()}", gigabytes, limit, "GB");
        }

        (double Gigabytes, double Seconds) Measure(WeightFormat format, params string[] more)
        {
            string output = Child.Run(
                Environment.ProcessPath!,
                [.. Child.SelfArguments, "memory", format.Name(), "--threads", $"{bench.Device.Threads}", .. more]);
            string[] numbers = output.Trim().Split(' ');
            return (long.Parse(numbers[0]) / 1e9, double.Parse(numbers[1]));
        }
    }

    private static TrainableAdapter Nola(LanguageModel model) =>
        model.NewAdapter(new NolaOptions { Rank = Rank, Bases = Bases, Targets = ["q_proj", "v_proj"] });

    // Sequences of 256 tokens, the loss on the latter half of each.
    private static TokenStream Stream(LlamaConfig config, int tokens)
    {
        const int Length = 256;
        Random random = new(1);
        EncodedPair[] pairs = [.. Enumerable.Range(0, tokens / Length).Select(_ => new EncodedPair(Ids(Length / 2), Ids(Length / 2)))];
        return TokenStreams.FromPairs(pairs);

        int[] Ids(int count) => [.. Enumerable.Range(0, count).Select(_ => random.Next(config.Vocabulary))];
    }

    // As TrainStep.FrozenFlop: below the first block's q, k and v nothing is trained.
    private static double Flop(LanguageModel model, LlamaConfig config, TokenStream stream)
    {
        double n = stream.Length, values = model.Maps.Sum(Size), first = Size(model.Maps[0]);
        double wide = (double)config.Heads * config.HeadSize, narrow = (double)config.KeyValueHeads * config.HeadSize, attention = 0;
        for (int s = 0; s < stream.Sequences; s++)
        {
            double t = stream.Starts[s + 1] - stream.Starts[s];
            attention += config.Layers * 7 * 2 * wide * t * (t + 1) / 2;
        }
        double head = 2 * 2.0 * stream.Targets.Length * config.Channels * config.Vocabulary;
        double adapters = config.Layers * 6 * n * Rank * (2.0 * config.Channels + wide + narrow);
        return 2 * n * (2 * values - first) + head + attention + adapters;

        static double Size(LinearMap map) => (double)map.In * map.Out;
    }

    private static GenerateOptions Greedy(int tokens) => new() { MaxNewTokens = tokens, StopTokens = [] };
}
