using Nola.Models;
using Nola.Tensors;

namespace Nola.GpuBench;

/// <summary>Times of decoding one prompt, beside what the memory's bandwidth allows.</summary>
internal static class DecodeSpeed
{
    private const int Prompt = 64;

    /// <summary>Rows, and the bar against the bandwidth.</summary>
    public static void Run(Bench bench, LanguageModel model)
    {
        bench.Report.Table(
            $"Decoding with {bench.Work.Size}, weights in bfloat16, after a prompt of {Prompt}",
            "work", "a token", "tokens/s", "queued and waited for");
        double token = Row(bench, model, "greedy", 1);
        Row(bench, model, "10 beams", 10);
        bench.Report.Line("");
        bench.Report.Table("Memory", "kernel", "time", "rate");
        double bandwidth = KernelSpeed.Bandwidth(bench), bytes = BytesOfToken(model), bound = bytes / bandwidth;
        bench.Report.Line("");
        bench.Report.Line(
            $"Bound of a token: {bytes / 1e6:F1} MB of weights as they are stored, "
            + "2 · (Σ in · out of the maps + V · C) + 4 · (biases and norms), once each, without the cache of keys and values, "
            + $"over {bandwidth / 1e9:F1} GB/s, is {1e3 * bound:F3} ms.");
        bench.Bars.Measure("decode", 100 * bound / token, $"{1e3 * token:F3} ms a token, bound {1e3 * bound:F3} ms");
    }

    /// <summary>Bytes of weights that one more token of one sequence reads: all but the other rows of the table of positions.</summary>
    internal static double BytesOfToken(LanguageModel model)
    {
        double maps = model.Maps.Sum(m => (double)m.In * m.Out * m.Frozen!.Format.ElementType().Size());
        double head = (double)model.Shape.Vocabulary * model.Shape.Channels * DType.BFloat16.Size();
        double vectors = model.Parameters.Where(p => p.Name != "wpe.weight").Sum(p => (double)p.Value.Bytes);
        return maps + head + vectors;
    }

    // The first token comes with the prompt, so the difference is that of further tokens.
    private static double Row(Bench bench, LanguageModel model, string name, int beams)
    {
        int further = Math.Clamp(bench.Work.Tokens / 64, 16, 128);
        double[][] times = Timing.InTurn(bench.Device, 5, 0.1, () => Generate(1), () => Generate(1 + further));
        double token = Timing.Median([.. times[1].Zip(times[0], (all, first) => (all - first) / further)]);
        (long firstLaunches, long firstWaits) = bench.Count(() => Generate(1));
        (long launches, long waits) = bench.Count(() => Generate(1 + further));
        double queued = (launches - firstLaunches) / (double)further, waited = (waits - firstWaits) / (double)further;
        bench.Report.Row(
            new { kind = "decode", name, seconds = token, tokens_per_second = 1 / token, launches = queued, waits = waited },
            name, $"{1e3 * token:F3} ms", $"{1 / token:F1}", $"{queued:F1} kernels, {waited:F1} waits");
        return token;

        int[] Generate(int tokens) =>
            model.Generate([.. Enumerable.Range(1, Prompt)], null, new GenerateOptions
            {
                MaxNewTokens = tokens,
                StopTokens = [],
                Beams = beams,
            });
    }
}
