using Nola.Models;
using Nola.Tensors;

namespace Nola.GpuBench;

/// <summary>
/// Times of training steps on a stream of E2E's tokens:
/// LoRA, and NOLA with shared bases and with a basis for each layer, in turn.
/// </summary>
internal static class StepSpeed
{
    /// <summary>Rows, and the bars of NOLA's cost.</summary>
    /// <exception cref="NolaException">The methods do not start at the same loss.</exception>
    public static void Run(Bench bench, LanguageModel model, E2EExamples e2e)
    {
        using TrainStep lora = TrainStep.Lora(model), shared = TrainStep.Nola(model, false), perLayer = TrainStep.Nola(model, true);
        (string Name, TrainStep Step)[] ways = [("LoRA", lora), ("NOLA, shared basis", shared), ("NOLA, basis per layer", perLayer)];
        TokenStream stream = e2e.Stream;
        bench.Report.Table(
            $"Training steps of {bench.Work.Size} with random weights, {stream.Length:N0} tokens of E2E ({stream.Sequences} examples, "
            + $"{stream.Targets.Length:N0} loss positions), adapters on q and v, r = {Workload.Rank}, k = {Workload.Bases}",
            "method", "time", "examples/s", "tokens/s", "memory", "queued and waited for");
        double[] losses = [.. ways.Select(w => First(w.Step))];
        double[][] times = Timing.InTurn(bench.Device, 9, 0.3, [.. ways.Select(w => (Action)(() => w.Step.Run(stream)))]);
        for (int i = 0; i < ways.Length; i++) Row(bench, ways[i].Name, ways[i].Step, stream, Timing.Median(times[i]));
        bench.Report.Line("");
        // Adapters start at zero, so every method sees the base model's loss.
        if (losses.Any(l => !(Math.Abs(l - losses[0]) < 1e-4)))
            throw new NolaException($"the methods start at losses {string.Join(", ", losses)}; expected the same.");
        string note = $"LoRA {1e3 * Timing.Median(times[0]):F1} ms";
        bench.Bars.Measure("nola-shared", Timing.Ratio(times[1], times[0]), note);
        bench.Bars.Measure("nola-per-layer", Timing.Ratio(times[2], times[0]), note);

        double First(TrainStep step)
        {
            step.Run(stream);
            return step.Loss;
        }
    }

    private static void Row(Bench bench, string name, TrainStep step, TokenStream stream, double seconds)
    {
        bench.Device.Pool.ResetPeak();
        (long launches, long waits) = bench.Count(() => step.Run(stream));
        long bytes = bench.Device.Pool.PeakBytes;
        double examples = stream.Sequences / seconds, tokens = stream.Length / seconds;
        bench.Report.Row(
            new
            {
                kind = "step",
                name,
                seconds,
                examples_per_second = examples,
                tokens_per_second = tokens,
                peak_bytes = bytes,
                launches,
                waits,
            },
            name, $"{1e3 * seconds:F2} ms", $"{examples:F1}", $"{tokens:F0}", $"{bytes / 1e9:F2} GB", $"{launches} kernels, {waits} waits");
    }
}
