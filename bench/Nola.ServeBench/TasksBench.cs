using System.Diagnostics;
using Nola.Bench;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;

namespace Nola.ServeBench;

/// <summary>
/// Small tasks trained beside the embedded model: together in one job, one after another in one process, and in a process each. Every
/// task has 200 pairs of E2E of its own and is read once, eight pairs a step, without validation, with the default adapter.
/// </summary>
internal sealed class TasksBench(int tasks, int threads, Action<string> line)
{
    private const int Pairs = 200, BatchSize = 8;

    // Of those that are done alone: each takes as long as the others.
    private const int InTurn = 8, Processes = 4;

    // What nola train takes by itself beside the embedded model.
    private static readonly AdapterOptions adapter = AdapterMethods.Find("nola")!.DefaultsForEmbedded;
    private static readonly TrainOptions options = new()
    {
        BatchSize = BatchSize,
        BatchTokens = 0,
        MaxSteps = Pairs / BatchSize,
        LearningRate = 0.02f,
        EvalEvery = 0,
    };

    /// <summary>Measures all three in turn, and prints a table.</summary>
    public void Run()
    {
        string directory = Directory.CreateTempSubdirectory("nola-tasks-bench").FullName;
        try
        {
            TextPairs all = EmbeddedData.E2E("train");
            string[] files = [.. Enumerable.Range(0, tasks).Select(i => Write(i, all))];
            double together = Hourly(tasks, Together(files)), inTurn = Hourly(InTurn, OneByOne(files[..InTurn]));
            double processes = Hourly(Processes, Each(files[..Processes]));
            line("");
            line($"## {tasks} tasks of {Pairs} pairs, {BatchSize} pairs of a task a step, {options.MaxSteps} steps each");
            line("");
            line("| how | tasks measured | tasks an hour | together against it | bar | |");
            line("|---|---|---|---|---|---|");
            line($"| together in one job | {tasks} | {together:N0} | | | |");
            Row("one after another in one process", InTurn, inTurn, 1.5);
            Row("a process each", Processes, processes, 3);

            void Row(string how, int count, double hourly, double bar) => line(
                $"| {how} | {count} | {hourly:N0} | {together / hourly:0.00} | ≥ {bar:0.0} | "
                + $"{(together / hourly >= bar ? "pass" : "**fail**")} |");

            string Write(int i, TextPairs from)
            {
                string path = Path.Combine(directory, $"task{i:00}.jsonl");
                new TextPairs(from.Skip(i * Pairs).Take(Pairs), path).SaveLines(path);
                return path;
            }

            double Together(string[] paths) => InOneProcess(model => new TaskTrainer(model, adapter, options).Run(
                [.. paths.Select(path => new TrainTask(path, () => (Read(model, path), [])) { Directory = path + ".together" })]));

            double OneByOne(string[] paths) => InOneProcess(model =>
            {
                foreach (string path in paths)
                {
                    using TrainableAdapter trained = model.NewAdapter(adapter);
                    using RunDirectory run = new(path + ".alone", resume: false);
                    new Trainer(model, trained, options, run).Run(Read(model, path), []);
                }
            });
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    private static EncodedPair[] Read(LanguageModel model, string path) => PairEncoder.EncodeFor(model, TextPairs.Read(path));

    private static double Hourly(int count, double seconds) => count * 3600 / seconds;

    private double InOneProcess(Action<LanguageModel> work)
    {
        long start = Stopwatch.GetTimestamp();
        using CpuDevice device = new(threads);
        using LanguageModel model = LanguageModel.Load(LanguageModel.EmbeddedName, device);
        work(model);
        return Stopwatch.GetElapsedTime(start).TotalSeconds;
    }

    private double Each(string[] paths)
    {
        long start = Stopwatch.GetTimestamp();
        foreach (string path in paths)
        {
            string[] command =
            [
                Path.Combine(AppContext.BaseDirectory, "nola.dll"), "train", "--data", path, "--out", path + ".process",
                "--batch-tokens", "0", "--batch-size", $"{BatchSize}", "--max-steps", $"{options.MaxSteps}",
                "--device", "cpu", "--threads", $"{threads}", "--json",
            ];
            Child.Run("dotnet", command);
        }
        return Stopwatch.GetElapsedTime(start).TotalSeconds;
    }
}
