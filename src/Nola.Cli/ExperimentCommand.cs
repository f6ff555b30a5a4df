using System.CommandLine;
using System.Diagnostics;
using Nola.Tensors;
using Nola.Train;

namespace Nola.Cli;

/// <summary><c>nola experiment</c>: methods compared over seeds.</summary>
internal static class ExperimentCommand
{
    public static Command Create()
    {
        CommonOptions common = new();
        Argument<string> path = new("file") { Description = "JSON file with settings, methods and seeds; see docs/experiments.md" };
        Option<string> output = new("--out") { Description = "Directory of all runs [runs/<name of the experiment>]" };
        Option<string> wordNet = ScoreCommand.WordNetOption(), paraphrases = ScoreCommand.ParaphrasesOption();
        Option<string> comparison = new("--method-comparison")
        {
            Description = "Also write each trained run's result into this directory, in the shape of Hugging Face PEFT's method_comparison",
        };
        Command command = new("experiment", "Train and score several methods over several seeds, "
            + "and compare them in a table and a plot. Run it again to continue where it stopped.")
        {
            path, output, wordNet, paraphrases, comparison, common.DeviceName, common.Threads, common.Json,
        };
        command.Does((r, cancel) => Ranks.Run(ranks =>
        {
            ExperimentFile file = ExperimentFile.Read(r.GetValue(path)!);
            string root = r.GetValue(output) ?? Path.Combine("runs", file.Name);
            using ExperimentRunner runner = new(
                file, root, Ranks.Device(ranks, r.GetValue(common.DeviceName)!), Ranks.Threads(ranks, r.GetValue(common.Threads)),
                TextScore.All(file, ScoreCommand.Meteor(r.GetValue(wordNet), r.GetValue(paraphrases))), new View(), ranks);
            string? results = r.GetValue(comparison);
            if (results is not null) MethodComparison.Check(file, runner.Runs);
            ExperimentSummary summary = runner.Run(cancel);
            if (results is not null && ranks.Rank == 0)
                foreach (string written in MethodComparison.Write(file, runner.Runs, runner.ScoreSettings, results))
                    Terminal.Say($"Wrote {written}.");
            if (ranks.Rank == 0) return Report(summary, runner, root, r.GetValue(common.Json));
            return summary.Interrupted ? Terminal.Interrupted : summary.Failed > 0 ? 1 : 0;
        }));
        return command;
    }

    private static int Report(ExperimentSummary summary, ExperimentRunner runner, string root, bool json)
    {
        string table = Path.Combine(root, "table.md"), plot = Path.Combine(root, "plot.svg");
        if (json)
        {
            Terminal.Json(new
            {
                runs = summary.Runs,
                done = summary.Done,
                skipped = summary.Skipped,
                failed = summary.Failed,
                interrupted = summary.Interrupted,
                table,
                plot = File.Exists(plot) ? plot : null,
                methods = runner.Summarize().Select(m => new
                {
                    name = m.Method.Name,
                    trained = m.Trained,
                    scores = m.Scores.ToDictionary(
                        s => s.Key, s => new { mean = s.Value.Mean, deviation = s.Value.Deviation, count = s.Value.Count }),
                }),
            });
        }
        else if (File.Exists(table)) Console.Out.Write(File.ReadAllText(table));
        string counts = $"{summary.Runs} runs: {summary.Done} done now, {summary.Skipped} before";
        if (summary.Interrupted)
        {
            Terminal.Say($"Interrupted. {counts}. Run the same command again to continue.");
            return Terminal.Interrupted;
        }
        Terminal.Say($"{counts}{(summary.Failed > 0 ? $", {summary.Failed} failed: see error_msg in their result.json" : "")}. "
            + $"{table}{(File.Exists(plot) ? $", {plot}" : "")}.");
        return summary.Failed > 0 ? 1 : 0;
    }

    /// <summary>A line for each run, and one now and then while it trains.</summary>
    private sealed class View : IExperimentObserver
    {
        private readonly Stopwatch clock = Stopwatch.StartNew();
        private readonly TrainView lines = new();
        private CountView? decoded;

        public void OnRun(ExperimentRun run, int number, int count)
        {
            clock.Restart();
            Terminal.Say($"[{number}/{count}] {run.Title}");
        }

        public void OnResult(ExperimentRun run, RunRecord record)
        {
            IEnumerable<string> scores = record.Scores.Values
                .SelectMany(s => s.Values)
                .Select(v => FormattableString.Invariant($"{v.Key} {v.Value:G5}"));
            Terminal.Say(record.TrainInfo.Status == TrainInfo.Failed
                ? $"failed: {record.RunInfo.ErrorMsg}"
                : $"{string.Join(", ", scores)}; {clock.Elapsed.TotalSeconds:N0} s");
        }

        public void OnDecoded(int done, int count)
        {
            if (done == 1) decoded = new CountView(count, "inputs");
            decoded!.Add();
        }

        public void OnStep(StepReport report) => lines.OnStep(report);

        public void OnNotice(string sentence) => lines.OnNotice(sentence);

        public IDisposable? OnTraining() => Signals.Held(Signals.Checkpoint);
    }
}
