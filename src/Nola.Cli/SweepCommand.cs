using System.CommandLine;
using System.Diagnostics;
using Nola.Tensors;
using Nola.Train;

namespace Nola.Cli;

/// <summary><c>nola sweep</c>: many independent runs, over ranks or the tasks of a job array.</summary>
internal static class SweepCommand
{
    public static Command Create()
    {
        CommonOptions common = new();
        Argument<string> path = new("manifest")
        {
            Description = "JSON lines, one for each run: {\"name\": …} and keys of nola train; see docs/clusters.md",
        };
        Option<string> config = new("--config") { Description = "JSON file with settings of all runs; lines take precedence" };
        Option<string> output = new("--out") { Description = "Directory of all runs [runs/<name of the manifest>]" };
        Option<string> shard = new("--shard")
        {
            Description = "i/n: only every n-th run, from run i on, 0 to n - 1; for the tasks of a job array",
        };
        Option<bool> again = new("--retry-failed") { Description = "Do runs again that failed before" };
        Command command = new("sweep", "Do many independent training runs, each once. Run it again to continue where it stopped; "
            + "started by mpirun or srun, the ranks share the runs.")
        {
            path, config, output, shard, again, common.DeviceName, common.Threads, common.Json,
        };
        command.Does((r, cancel) =>
        {
            Settings settings = new(TrainConfig.Keys);
            if (r.GetValue(config) is { } file) settings.ReadJson(file);
            Sweep sweep = new(r.GetValue(path)!, settings, r.GetValue(output), r.GetValue(again), r.GetValue(common.Json));
            string deviceName = r.GetValue(common.DeviceName)!;
            int threads = r.GetValue(common.Threads);
            if (!r.IsGiven(common.DeviceName)) deviceName = settings.Text("device", deviceName);
            if (!r.IsGiven(common.Threads)) threads = settings.Whole("threads", threads);
            // Parts that are named need nobody to deal them.
            (int Part, int Parts)? own = r.GetValue(shard) is { } text ? Part(text) : null;
            return own is { } given
                ? sweep.Run(Alone.Instance, given, deviceName, threads, cancel)
                : Ranks.Run(ranks => sweep.Run(
                    ranks, (ranks.Rank, ranks.Size), Ranks.Device(ranks, deviceName), Ranks.Threads(ranks, threads), cancel));
        });
        return command;
    }

    private static (int, int) Part(string text) =>
        text.Split('/') is [var first, var second] && StrictNumber.TryWhole(first, out int i) && StrictNumber.TryWhole(second, out int n)
        && i >= 0 && i < n
            ? (i, n)
            : throw new NolaException($"--shard is {Quoted.Of(text)}; expected i/n with i from 0 to n - 1, for example 0/8.");

    private sealed record Sweep(string Path, Settings Settings, string? Output, bool Again, bool Json)
    {
        public int Run(ICollective ranks, (int Part, int Parts) own, string deviceName, int threads, CancellationToken cancel)
        {
            string root = Output ?? System.IO.Path.Combine("runs", System.IO.Path.GetFileNameWithoutExtension(Path));
            IReadOnlyList<SweepRun> runs = SweepFile.Read(Path, Settings, root, deviceName, threads);
            using Device device = Device.Open(deviceName, threads, Terminal.Say);
            string share = own.Parts > 1 ? $", of which this process does every {own.Parts}th from {own.Part} on" : "";
            Terminal.Say($"{device.Description}; {runs.Count:N0} runs{share}");
            using SweepRunner runner = new(runs, root, own.Part, own.Parts, device, new View());
            SweepSummary summary = Whole(runner.Run(Again, cancel), ranks);
            // All are here, and so the results of all are there.
            int ended = ranks.Rank == 0 ? runner.WriteTable() : 0;
            Report(summary, ended, runner.Table);
            return summary.Interrupted ? Terminal.Interrupted : summary.Failed > 0 || summary.Left > 0 ? 1 : 0;
        }

        private static SweepSummary Whole(SweepSummary own, ICollective ranks) => new(
            own.Runs, ranks.Sum(own.Done), ranks.Sum(own.Skipped), ranks.Sum(own.Failed), ranks.Sum(own.Left), ranks.Any(own.Interrupted));

        private void Report(SweepSummary summary, int ended, string table)
        {
            if (Json)
                Terminal.Json(new
                {
                    runs = summary.Runs,
                    done = summary.Done,
                    skipped = summary.Skipped,
                    failed = summary.Failed,
                    ended,
                    interrupted = summary.Interrupted,
                    table,
                });
            string failed = summary.Failed > 0 ? $", {summary.Failed:N0} failed (see the table; --retry-failed does them again)" : "";
            string left = summary.Left > 0 && !summary.Interrupted ? $", {summary.Left:N0} left to other processes" : "";
            string again = summary.Interrupted ? " Interrupted; run the same command again to continue." : "";
            Terminal.Say(
                $"{summary.Done:N0} done now, {summary.Skipped:N0} before{failed}{left}; {ended:N0} of {summary.Runs:N0} runs have ended, "
                + $"see {table}.{again}");
        }
    }

    /// <summary>A line for each run, and one now and then while it trains.</summary>
    private sealed class View : ISweepObserver
    {
        private readonly Stopwatch clock = Stopwatch.StartNew();
        private readonly TrainView lines = new();

        public void OnRun(SweepRun run, int number, int count)
        {
            clock.Restart();
            Terminal.Say($"[{number}/{count}] {run.Name}");
        }

        public void OnResult(SweepRecord record) => Terminal.Say(
            record.Failed
                ? $"{record.Name} failed: {record.Error}"
                : FormattableString.Invariant(
                    $"{record.Name}: validation loss {record.FirstLoss:F3} → {record.BestLoss:F3}; {clock.Elapsed.TotalSeconds:N0} s"));

        public void OnStep(StepReport report) => lines.OnStep(report);

        public void OnNotice(string sentence) => lines.OnNotice(sentence);

        public IDisposable? OnTraining() => Signals.Held(Signals.Checkpoint);
    }
}
