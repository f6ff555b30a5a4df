using Nola.Models;
using Nola.Train;

namespace Nola.Bench;

/// <summary>
/// The published way of NOLA's code (sequences padded to 512, logits everywhere, a basis of its own in each layer),
/// made into this library's one change at a time.
/// </summary>
internal static class PublishedBench
{
    private const int Padded = 512;

    public static void Run(Bench bench)
    {
        using LanguageModel model = LanguageModel.Create(bench.Config, bench.Device, 1, trainable: false);
        TokenStream stream = TrainStep.E2E(bench.Tokens);
        TokenStream few = Take(stream, 4), several = Take(stream, Math.Min(8, stream.Sequences));
        using TrainStep perLayer = new(model, StepBench.Nola(model, true)), shared = new(model, StepBench.Nola(model, false));
        (string Name, TrainStep Step, TokenStream Batch)[] ways =
        [
            ("published: padded to 512, logits everywhere, basis per layer", perLayer, Everywhere(Pad(few, Padded))),
            ("+ padded only to the longest of the batch", perLayer, Everywhere(Pad(several, several.Longest))),
            ("+ a token stream without padding", perLayer, Everywhere(stream)),
            ("+ logits only where the loss counts", perLayer, stream),
            ("+ one basis shared by all layers", shared, stream),
        ];
        bench.Section(
            $"E2E examples a second, {bench.Size}, NOLA on q and v, k = 512, r = 8",
            "way", "batch", "a step", "examples/s", "times the first");
        Timing[] times = bench.Time([.. ways.Select(w => (Action)(() => w.Step.Run(w.Batch)))], 1);
        double[] rates = [.. ways.Zip(times, (w, t) => w.Batch.Sequences / t.Median)];
        for (int i = 0; i < ways.Length; i++)
            bench.Row(
                ways[i].Name, $"{ways[i].Batch.Sequences} examples, {ways[i].Batch.Length:N0} tokens",
                $"{times[i].Median:F2} s", $"{rates[i]:F2}", $"{rates[i] / rates[0]:F1}");
        bench.AtLeast("E2E examples/s against the published way in this code", rates[^1] / rates[0], 10, "times");
        bench.AtLeast(
            "E2E examples/s against the published PyTorch code (0.33/s on a machine of this kind)", rates[^1] / 0.33, 20, "times");
    }

    private static TokenStream Take(TokenStream s, int sequences)
    {
        int end = s.Starts[sequences], losses = s.LossPositions.Count(p => p < end);
        return new(s.Ids[..end], s.Starts[..(sequences + 1)], s.LossPositions[..losses], s.Targets[..losses]);
    }

    private static TokenStream Pad(TokenStream s, int length)
    {
        int[] ids = new int[s.Sequences * length];
        for (int i = 0; i < s.Sequences; i++) s.Ids.AsSpan(s.Starts[i], s.Starts[i + 1] - s.Starts[i]).CopyTo(ids.AsSpan(i * length));
        return new(ids, [.. Enumerable.Range(0, s.Sequences + 1).Select(i => i * length)], [], []);
    }

    private static TokenStream Everywhere(TokenStream s) =>
        s with { LossPositions = [.. Enumerable.Range(0, s.Length)], Targets = [.. s.Ids[1..], Gpt2Tokenizer.Default.EndOfText] };
}
