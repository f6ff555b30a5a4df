using Nola.Models;

namespace Nola.Bench;

/// <summary>Decoding one token after the other, and the time from nothing to the first.</summary>
internal static class GenerateBench
{
    private const int Prompt = 32, Tokens = 32;

    public static void Run(Bench bench)
    {
        using (LanguageModel model = LanguageModel.Create(bench.Config, bench.Device, 1, trainable: false))
        {
            int[] prompt = [.. Enumerable.Range(0, Prompt).Select(i => 1000 + 37 * i)];
            // The cache must not change what is said.
            int[] cached = model.Generate(prompt, null, Greedy(6)), ids = prompt;
            for (int i = 0; i < 6; i++)
            {
                float[] last = model.Logits(ids)[^bench.Config.Vocabulary..];
                ids = [.. ids, Array.IndexOf(last, last.Max())];
            }
            Bench.Require(ids[Prompt..].SequenceEqual(cached), "decoding with the cache says what decoding without it says");
            (Timing[] t, Timing read) = bench.TimeWithReading(
                [() => model.Generate(prompt, null, Greedy(1)), () => model.Generate(prompt, null, Greedy(1 + Tokens))], 1);
            double token = (t[1].Median - t[0].Median) / Tokens;
            double bytes = 4.0 * (bench.Config.ParameterCount - bench.Config.Positions * bench.Config.Channels);
            bench.Section($"Decoding with {bench.Size}, float32", $"prompt of {Prompt}", "a token", "tokens/s", "weights read, GB/s");
            bench.Row(
                $"{t[0].Median * 1e3:F0} ms", $"{token * 1e3:F1} ms", $"{1 / token:F0}",
                $"{bytes / token / 1e9:F1} of {1 / read.Median / 1e9:F1}");
            BeamBench.Run(bench, model);
        }
        FirstToken(bench);
    }

    private static GenerateOptions Greedy(int tokens) => new() { MaxNewTokens = tokens, StopTokens = [] };

    private static void FirstToken(Bench bench)
    {
        string directory = Directory.CreateTempSubdirectory("nola-bench").FullName;
        try
        {
            using (LanguageModel model = LanguageModel.Create(bench.Config, bench.Device, 1, trainable: false)) model.Save(directory);
            double embedded = Start(bench, LanguageModel.EmbeddedName), small = Start(bench, directory);
            bench.Section("From the start of the process to the first token (nola generate)", "model", "time");
            bench.Row(LanguageModel.EmbeddedName, $"{embedded:F2} s");
            bench.Row($"{bench.Size}, float32, warm file cache", $"{small:F2} s");
            bench.AtMost($"{bench.Size}, loading to first token", small, 1.0, "s", "start of the process included");
            bench.AtMost("embedded model, start of the process to first token", embedded, 0.4, "s");
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    private static double Start(Bench bench, string model)
    {
        string cli = Path.Combine(AppContext.BaseDirectory, "nola.dll");
        string[] arguments = [cli, "generate", "--model", model, "--prompt", "name : Blue "
            + "Spice | Type : pub", "--max-new", "1", "--threads", $"{bench.Device.Threads}"];
        return bench.Time(() => Child.Run("dotnet", arguments), 1).Median;
    }
}
