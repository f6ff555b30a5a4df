using Nola.Models;
using Nola.Train;

namespace Nola.Bench;

/// <summary>Beam search as published (10 beams, no 4-gram twice), for one prompt and for many at once: E2E's test inputs.</summary>
internal static class BeamBench
{
    // Distinct inputs and rows of E2E's test set, and how many inputs are timed at once.
    private const int Inputs = 630, Rows = 4693, Sample = 48, Tokens = 24;

    // Seconds of a token of one prompt with 10 beams, at most.
    private const double AloneBar = 0.06;

    public static void Run(Bench bench, LanguageModel model)
    {
        using TrainableAdapter adapter = StepBench.Nola(model, false);
        int[][] prompts = E2EContexts();
        Bench.Require(prompts.Length == Inputs, "E2E's test set has 630 distinct inputs");
        int[][] sample = [.. Enumerable.Range(0, Sample).Select(i => prompts[i * prompts.Length / Sample])];
        int[][] batched = model.GenerateAll(sample[..3], adapter, Beams(6));
        for (int i = 0; i < batched.Length; i++)
            Bench.Require(
                model.Generate(sample[i], adapter, Beams(6)).SequenceEqual(batched[i]), "prompts decoded together say what they say alone");
        int[] one = sample.OrderBy(prompt => prompt.Length).ElementAt(Sample / 2);
        // The prompt is read in the first step, so the difference is that of further tokens. Random weights never stop, so
        // every prompt takes all its tokens.
        (Timing[] t, Peak peak) = bench.TimeWithPeak(
            [() => model.Generate(one, adapter, Beams(1)), () => model.Generate(one, adapter, Beams(1 + Tokens)),
            () => model.GenerateAll(sample, adapter, Beams(1)), () => model.GenerateAll(sample, adapter, Beams(1 + Tokens))], 1);
        double first = t[0].Median, token = (t[1].Median - first) / Tokens, alone = first + (Tokens - 1) * token;
        double firstOfMany = t[2].Median / Sample, tokenOfMany = (t[3].Median - t[2].Median) / Sample / Tokens;
        double together = firstOfMany + (Tokens - 1) * tokenOfMany;
        bench.Section(
            $"Beam search with {bench.Size}, float32, NOLA on q and v mixed once: 10 beams, length penalty 0.8, no 4-gram twice",
            "", "one prompt", $"{Sample} prompts in batches", "ratio");
        double published = Rows * alone, ours = Inputs * together;
        bench.Row("reading a prompt, its first token", $"{first * 1e3:F1} ms", $"{firstOfMany * 1e3:F1} ms", $"{first / firstOfMany:F1}");
        bench.Row(
            "a further token of all 10 beams of a prompt", $"{token * 1e3:F1} ms",
            $"{tokenOfMany * 1e3:F1} ms", $"{token / tokenOfMany:F1}");
        bench.Row($"prompts/s, {Tokens} new tokens each", $"{1 / alone:F2}", $"{1 / together:F2}", $"{alone / together:F1}");
        bench.Row(
            $"E2E's {Inputs} distinct test inputs, {Tokens} new tokens each",
            $"{Inputs * alone / 60:F1} min", $"{ours / 60:F1} min", $"{alone / together:F1}");
        bench.Row(
            $"E2E's {Rows:N0} test rows: each by itself, as the published code does it, or each distinct input once",
            $"{published / 60:F1} min", $"{ours / 60:F1} min", $"{published / ours:F1}");
        double work = Work(bench.Config, sample);
        bench.Line();
        bench.Line($"Decoded together, the {Sample} prompts are {work / 1e9:F0} GFLOP of matrix products (2·N a token of a "
            + $"beam with the head, 24·C²·layers a token of a prompt) and run at {100 * peak.Share(t[3], work):F0} % of peak: "
            + $"at the peak, a further token of 10 beams would take {1e3 * OfToken(bench.Config) / peak.Rate:F1} ms.");
        bench.AtMost("a token of one prompt with 10 beams", token * 1e3, AloneBar * 1e3, "ms");
        // Against one prompt at its bar, not as it is: alone, a token waits for memory, and every gain there would lower the ratio.
        bench.AtLeast("beam search with prompts batched, throughput against one prompt at its bar", AloneBar / tokenOfMany, 5, "times");
    }

    // The first token's probabilities come from the prompt's last position; for each further one, every beam reads all weights.
    private static double Work(Gpt2Config model, int[][] prompts) =>
        prompts.Sum(p => p.Length * OfBlocks(model) + OfHead(model) + Tokens * OfToken(model));

    private static double OfToken(Gpt2Config model) => 10 * (OfBlocks(model) + OfHead(model));

    private static double OfBlocks(Gpt2Config model) => 2.0 * 12 * model.Channels * model.Channels * model.Layers;

    private static double OfHead(Gpt2Config model) => 2.0 * model.Channels * model.Vocabulary;

    private static GenerateOptions Beams(int tokens) => GenerateOptions.Published with { MaxNewTokens = tokens, StopTokens = [] };

    private static int[][] E2EContexts() =>
        [.. Prompts.Distinct(EmbeddedData.E2E("test"))
            .Select(pair => (int[])[.. Gpt2Tokenizer.Default.Encode(pair.Context), Gpt2Tokenizer.Default.EndOfText])];
}
