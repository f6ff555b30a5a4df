using System.Diagnostics;
using Nola.Autograd;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;

namespace Nola.Bench;

/// <summary>What a training step is: forward, backward, mixing and update, on real E2E tokens and random weights.</summary>
internal sealed class TrainStep : IDisposable
{
    private readonly AdamW optimizer;
    private readonly IModel model;
    private readonly TrainableAdapter? adapter;

    public TrainStep(IModel model, TrainableAdapter? adapter)
    {
        (this.model, this.adapter) = (model, adapter);
        // A rate of zero: every repetition computes the same step.
        optimizer = new(adapter?.Parameters ?? [.. model.Parameters], new TrainOptions { LearningRate = 0 });
    }

    public bool CheckpointBlocks { get; init; }

    public double Run(TokenStream stream)
    {
        using StreamTensors batch = new(model.Device, stream.With(adapter));
        double loss;
        using (Tape tape = new(model.Device, record: true, CheckpointBlocks))
        {
            Variable y = model.Loss(tape, batch, 0, 1f / stream.Targets.Length);
            loss = y.Value.Item();
            tape.Backward(y);
        }
        adapter?.CollectGradients();
        optimizer.Step(0, optimizer.GradientNorm());
        adapter?.Update();
        return loss;
    }

    public void Dispose()
    {
        optimizer.Dispose();
        adapter?.Dispose();
    }

    /// <summary>One batch of E2E's training set in the published form, as the trainer packs it.</summary>
    public static TokenStream E2E(int tokens)
    {
        EncodedPair[] pairs = [.. EmbeddedData.E2E("train")
            .Take(4096)
            .Select(new PairEncoder(Gpt2Tokenizer.Default, 1024, Gpt2Tokenizer.GptVocabulary).Encode)];
        Batches batches = new(pairs, tokens, 0, 1);
        return batches.Stream(batches.Epoch(0)[0]);
    }

    /// <summary>
    /// Useful floating-point operations of a step with a frozen base: each map x·W once and dy·Wᵀ once (not in the first
    /// block's c_attn, below which nothing is trained), the head twice where the loss counts, causal attention without
    /// its upper triangle (two products forward, five backward), the adapters' six skinny products.
    /// </summary>
    public static double FrozenFlop(Gpt2Config config, TokenStream stream, int rank)
    {
        double n = stream.Length, c = config.Channels, layers = config.Layers;
        double maps = 2 * n * (4 * c * c + 2 * c * config.Inner) * layers * 2 - 2 * n * 3 * c * c;
        double head = 2 * 2.0 * stream.Targets.Length * c * config.Vocabulary;
        double attention = 0;
        for (int s = 0; s < stream.Sequences; s++)
        {
            double t = stream.Starts[s + 1] - stream.Starts[s];
            attention += layers * 7 * 2 * c * t * (t + 1) / 2;
        }
        return maps + head + attention + layers * 2 * 6 * n * rank * 2 * c;
    }
}

/// <summary>Training steps by method.</summary>
internal static class StepBench
{
    public const int Rank = 8;

    private const int Bases = 512;

    public static void Run(Bench bench)
    {
        using LanguageModel model = LanguageModel.Create(bench.Config, bench.Device, 1, trainable: false);
        TokenStream stream = TrainStep.E2E(bench.Tokens);
        Dictionary<string, TrainStep> steps = new()
        {
            ["LoRA"] = new(model, Lora(model)),
            ["NOLA, shared basis"] = new(model, Nola(model, false)),
            ["NOLA, basis per layer"] = new(model, Nola(model, true)),
        };
        double[] losses = [.. steps.Values.Select(step => step.Run(stream))];
        // Adapters start at zero, so every method sees the base model's loss.
        Bench.Require(losses.All(l => Math.Abs(l - losses[0]) < 1e-4), "all methods start at the same loss");
        double flop = TrainStep.FrozenFlop(bench.Config, stream, Rank);
        bench.Section($"A training step of {bench.Size} on {stream.Length:N0} tokens of E2E ({stream.Sequences} examples, "
            + $"{stream.Targets.Length:N0} loss positions), adapters on q and v, r = {Rank}, k = {Bases}",
            "method", "time", "tokens/s", "share of peak");
        (Timing[] times, Peak peak) = bench.TimeWithPeak([.. steps.Values.Select(step => (Action)(() => step.Run(stream)))], 1);
        foreach ((string name, Timing t) in steps.Keys.Zip(times))
            bench.Row(name, Spread(t), $"{stream.Length / t.Median:F0}", $"{100 * peak.Share(t, flop):F0} %");
        foreach (TrainStep step in steps.Values) step.Dispose();
        bench.Line();
        bench.Line($"Useful work: {flop / 1e9:F0} GFLOP, {flop / stream.Length / 1e6:F0} MFLOP a token: "
            + "2·N·(4C² + 2·C·inner)·layers for x·W and as much for dy·Wᵀ (less the first c_attn's), "
            + $"4·P·C·V for the head, 14·C·Σ T(T+1)/2·layers for attention, 24·N·r·C·layers for the adapters; "
            + $"peak {peak.Rate / 1e9:F0} GFLOP/s.");
        bench.AtLeast(
            "training step, LoRA", 100 * peak.Share(times[0], flop), 76, "% of peak",
            $"{bench.Size}, {stream.Length:N0} tokens, {stream.Length / times[0].Median:F0} tokens/s");
        bench.AtLeast(
            "training step, NOLA", 100 * peak.Share(times[1], flop), 76, "% of peak", $"{stream.Length / times[1].Median:F0} tokens/s");
        bench.AtMost("NOLA step ÷ LoRA step", times[1].Over(times[0]), 1.01, "", $"shared basis, k = {Bases}, r = {Rank}");
        bench.AtMost("NOLA step ÷ LoRA step, basis per layer", times[2].Over(times[0]), 1.06, "");
        Memory(bench);
    }

    public static TrainableAdapter Nola(LanguageModel model, bool perLayer) =>
        model.NewAdapter(new NolaOptions { Rank = Rank, Bases = Bases, PerLayer = perLayer });

    public static TrainableAdapter Lora(LanguageModel model) => model.NewAdapter(new LoraOptions { Rank = Rank });

    /// <summary>In a process of its own: one NOLA step, and what the process needed for it.</summary>
    public static long PeakMemory(Bench bench, bool small)
    {
        using LanguageModel model = LanguageModel.Create(
            bench.Config, bench.Device, 1, trainable: false, small ? WeightFormat.BFloat16 : WeightFormat.Float32);
        using TrainStep step = new(model, Nola(model, false)) { CheckpointBlocks = small };
        TokenStream stream = TrainStep.E2E(bench.Tokens);
        // As the trainer does before its first step.
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive);
        for (int i = 0; i < 3; i++) step.Run(stream);
        using Process self = Process.GetCurrentProcess();
        return self.PeakWorkingSet64;
    }

    private static void Memory(Bench bench)
    {
        bench.Section("Memory of a NOLA step, whole process, in a process of its own", "form", "peak resident");
        (string, string, double)[] forms = [("float32", "plain", 2.0), ("bfloat16 storage, blocks computed again", "small", 1.2)];
        foreach ((string name, string option, double limit) in forms)
        {
            string output = Child.Run(
                Environment.ProcessPath!,
                [
                    .. Child.SelfArguments, "memory", option,
                    "--size", bench.Size, "--tokens", $"{bench.Tokens}", "--threads", $"{bench.Device.Threads}",
                ]);
            double gigabytes = long.Parse(output.Trim()) / 1e9;
            bench.Row(name, $"{gigabytes:F2} GB");
            bench.AtMost($"peak memory of a NOLA step, {name}", gigabytes, limit, "GB");
        }
    }

    /// <summary>Median, fastest and slowest.</summary>
    public static string Spread(Timing t) => $"{t.Median:F2} s ({t.Fastest:F2}–{t.Slowest:F2})";
}
