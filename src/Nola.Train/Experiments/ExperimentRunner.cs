using System.Diagnostics;
using System.Text.Json;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>Who wants to know how an experiment goes on.</summary>
internal interface IExperimentObserver : ITrainObserver
{
    /// <summary>Before a run is trained or scored.</summary>
    void OnRun(ExperimentRun run, int number, int count) { }

    /// <summary>Before a run is trained; what it gives is disposed when the run has ended and its checkpoint is written.</summary>
    IDisposable? OnTraining() => null;

    /// <summary>After a run that is complete, or that failed.</summary>
    void OnResult(ExperimentRun run, RunRecord record) { }

    /// <summary>After each text that is generated to be scored.</summary>
    void OnDecoded(int done, int count) { }
}

/// <summary>What an experiment came to.</summary>
/// <param name="Runs">All runs.</param>
/// <param name="Done">Runs that were trained or scored now.</param>
/// <param name="Skipped">Runs that were complete before.</param>
/// <param name="Failed">Runs whose loss became infinite or no number, now or before.</param>
/// <param name="Interrupted">Whether it was asked to stop.</param>
internal sealed record ExperimentSummary(int Runs, int Done, int Skipped, int Failed, bool Interrupted);

/// <summary>
/// Does the runs of an experiment one after the other, each in a directory of its own. What is complete is skipped, what was
/// interrupted goes on where it was, and the table and the plot are written after every run.
/// </summary>
internal sealed class ExperimentRunner : IDisposable
{
    private readonly ExperimentFile file;
    private readonly IExperimentScore[] scores;
    private readonly IExperimentObserver observer;
    private readonly string root;
    private readonly ICollective ranks;
    private readonly Device device;
    private readonly RunLock? mine;
    private readonly ExperimentModels models;

    /// <summary>Plans the runs and takes the directory for this process.</summary>
    /// <param name="file">The experiment.</param>
    /// <param name="root">Directory of all runs.</param>
    /// <param name="deviceName">Name of the device.</param>
    /// <param name="threads">Threads of the CPU; 0 for one per core.</param>
    /// <param name="known">What can be measured.</param>
    /// <param name="observer">Who is told.</param>
    /// <param name="ranks">Who shares the runs; null for this process alone.</param>
    /// <exception cref="NolaException">A setting or a score is not known, or another process is at it.</exception>
    public ExperimentRunner(
        ExperimentFile file, string root, string deviceName, int threads,
        IReadOnlyList<IExperimentScore> known, IExperimentObserver observer, ICollective? ranks = null)
    {
        (this.file, this.root, this.observer, this.ranks) = (file, root, observer, ranks ?? Alone.Instance);
        scores = [.. file.Scores.Select(name => known.FirstOrDefault(s => s.Name == name)
            ?? throw new NolaException($"The score '{name}' is not known; known are {string.Join(", ", known.Select(s => s.Name))}."))];
        string[] columns = [.. scores.SelectMany(score => score.Columns)];
        if (!columns.Contains(file.Plot))
            throw new NolaException(
                $"plot is '{file.Plot}', which no score of this experiment gives; expected {string.Join(", ", columns)}.");
        Runs = ExperimentRun.Plan(file, root, deviceName, threads);
        AtomicFile.EnsureDirectory(root);
        mine = this.ranks.Rank == 0 ? RunLock.Take(root, "is running this experiment") : null;
        try
        {
            device = Device.Open(deviceName, threads);
        }
        catch
        {
            mine?.Dispose();
            throw;
        }
        models = new ExperimentModels(device);
    }

    /// <summary>All runs, in their order.</summary>
    public IReadOnlyList<ExperimentRun> Runs { get; }

    /// <summary>Does what is not done yet; of several ranks each does its part, and all learn what it came to.</summary>
    /// <exception cref="NolaException">A file or a model cannot be read or written; what is complete stays.</exception>
    public ExperimentSummary Run(CancellationToken cancel = default)
    {
        // All ranks count what is there before any of them begins.
        RunRecord?[] before = [.. Runs.Select(Present)];
        List<int> open = [.. Enumerable.Range(0, Runs.Count).Where(i => !IsComplete(before[i]))];
        int skipped = Runs.Count - open.Count, failedBefore = before.Count(IsFailed);
        int done = 0, failed = 0;
        RunClaims claims = new(root, ranks);
        TextPairs? pairs = null;
        // What rounds the adapter of a run that another rank is at is left: that rank, or one before it, takes it afterwards.
        for (int next; (next = open.FindIndex(i => IsReady(Runs[i]))) >= 0;)
        {
            int number = open[next];
            ExperimentRun run = Runs[number];
            open.RemoveAt(next);
            if (!claims.Take(run)) continue;
            if (cancel.IsCancellationRequested) return Summary(true);
            if (!run.Config.UsesImages) pairs ??= Prepare();
            observer.OnRun(run, number + 1, Runs.Count);
            if (Complete(run, before[number], pairs, cancel) is not { } record) return Summary(true);
            done++;
            if (IsFailed(record)) failed++;
            observer.OnResult(run, record);
            if (ranks.Rank == 0) ExperimentReport.Write(file, Summarize(), root);
        }
        ExperimentSummary summary = Summary(false);
        if (ranks.Rank == 0)
        {
            ExperimentReport.Write(file, Summarize(), root);
            claims.Clear();
        }
        return summary;

        // What was rounded from an adapter that was made anew since, or is to be, is made anew too.
        static RunRecord? Present(ExperimentRun run) => RunRecord.Read(run.ResultFile) is { } record
            && (run.Source is null || RunRecord.Read(run.Source.ResultFile)?.RunInfo.CreatedAt <= record.RunInfo.CreatedAt)
                ? record
                : null;

        bool IsReady(ExperimentRun run) => run.Source is not { } source || IsComplete(RunRecord.Read(source.ResultFile));

        static bool IsFailed(RunRecord? record) => record?.TrainInfo.Status == TrainInfo.Failed;

        // All come here, and so the runs of all are done.
        ExperimentSummary Summary(bool interrupted) =>
            new(Runs.Count, ranks.Sum(done), skipped, failedBefore + ranks.Sum(failed), ranks.Any(interrupted));
    }

    /// <summary>The results of each method so far, in the order of the file.</summary>
    /// <exception cref="NolaException">A result cannot be read.</exception>
    public IReadOnlyList<MethodSummary> Summarize() => ExperimentReport.Summarize(file, Runs, ScoreSettings);

    /// <summary>How each score is measured, by its name.</summary>
    public IReadOnlyDictionary<string, string> ScoreSettings => scores.ToDictionary(score => score.Name, SettingsOf);

    /// <inheritdoc/>
    public void Dispose()
    {
        models.Dispose();
        device.Dispose();
        mine?.Dispose();
    }

    private bool IsComplete(RunRecord? record) => record is not null
        && (record.TrainInfo.Status == TrainInfo.Failed || record.HasAll(ScoreSettings));

    private string TestName => $"{file.Test}, {file.TestSubset.ToString().ToLowerInvariant()}";

    private string SettingsOf(IExperimentScore score) => $"{score.Settings}; on {TestName}";

    // What is missing for scoring is said before anything is trained.
    private TextPairs Prepare()
    {
        TextPairs test = TextPairs.Open(file.Test, file.TestSubset);
        foreach (IExperimentScore score in scores) score.Prepare(test);
        return test;
    }

    // Trains unless that is done, then measures what is missing. Null when it was interrupted.
    private RunRecord? Complete(ExperimentRun run, RunRecord? record, TextPairs? pairs, CancellationToken cancel)
    {
        try
        {
            if (record is null)
            {
                // Whatever stands there was said by a model that is made anew.
                DecodedOutputs.Forget(run.Folder);
                record = run.Method.Kind switch
                {
                    ExperimentKind.Train => run.Config.UsesImages ? TrainImages(run, cancel) : Train(run, pairs!, cancel),
                    ExperimentKind.Quantize => Quantize(run),
                    _ => Record(
                        run,
                        new TrainInfo(TrainInfo.Success, 0, 0, 0, 0, models.For(run.Config, trainable: false).Config.ParameterCount, [])),
                };
                if (record is null) return null;
                record.Write(run.ResultFile);
            }
            if (record.TrainInfo.Status == TrainInfo.Failed) return record;
            return run.Config.UsesImages ? MeasureImages(run, record, cancel) : Measure(run, record, pairs!, cancel);
        }
        catch (OperationCanceledException)
        {
            return null;
        }
        catch (NolaException error)
        {
            throw new NolaException(
                $"{run.Title}: {error.Message} What is complete is kept, and the same command goes on from there; "
                + $"to make this run anew, remove {run.Folder} first.",
                error);
        }
    }

    private RunRecord? Train(ExperimentRun run, TextPairs pairs, CancellationToken cancel)
    {
        bool full = run.Config.Adapter is null;
        LanguageModel model = models.For(run.Config, trainable: full);
        using TrainableAdapter? adapter = run.Config.NewAdapter(model);
        TrainData data = models.DataOf(run.Config);
        models.Check(pairs, run.Config);
        return Train(
            run, model, adapter, model.Config.ParameterCount,
            (trainer, resume) => trainer.Run(data.Training, data.Validation, resume, cancel));
    }

    private RunRecord TrainImages(ExperimentRun run, CancellationToken cancel)
    {
        using ImageJob job = new(run.Config, device);
        models.Note(run.Config, job.Model.Identity);
        if (!job.HasTest) throw NothingToTestOn(run);
        return Train(run, job.Model, job.Adapter, job.ParameterCount, (trainer, resume) => job.Run(trainer, resume, cancel));
    }

    private RunRecord Train(
        ExperimentRun run, IModel model, TrainableAdapter? adapter, long parameters, Func<Trainer, bool, TrainResult> train)
    {
        bool full = adapter is null, resume = File.Exists(Path.Combine(run.Folder, RunDirectory.LastStateName));
        using RunDirectory directory = new(run.Folder, resume);
        directory.WriteConfig(run.Config, device, observer.OnNotice);
        long trained = adapter?.ParameterCount ?? parameters;
        TrainInfo info = new(TrainInfo.Success, 0, 0, 0, trained, parameters + (full ? 0 : trained), []);
        Trainer trainer = new(model, adapter, run.Config.Options, directory, observer)
        {
            ReadEvery = run.Config.ReadEvery,
            Source = run.Config.Source,
        };
        try
        {
            using IDisposable? held = observer.OnTraining();
            TrainResult result = train(trainer, resume);
            directory.DrawLossCurve();
            string saved = full ? Path.Combine(directory.BestModel, "model.safetensors") : directory.BestAdapter;
            return Record(run, WithLog(run, info) with { TrainTime = result.Elapsed.TotalSeconds, FileSize = new FileInfo(saved).Length });
        }
        catch (NolaException error) when (trainer.Diverged)
        {
            return Record(run, WithLog(run, info), error.Message);
        }
    }

    private static TrainInfo WithLog(ExperimentRun run, TrainInfo info)
    {
        (IReadOnlyList<EvalMetric> metrics, long peak) = RunLog.Summarize(run.Folder);
        return info with { Metrics = metrics, MemoryMax = peak };
    }

    private RunRecord Quantize(ExperimentRun run)
    {
        RunRecord source = RunRecord.Read(run.Source!.ResultFile)!;
        if (source.TrainInfo.Status == TrainInfo.Failed)
        {
            string why = $"There is no adapter to round: {run.Source.Title} failed.";
            return Record(run, source.TrainInfo, why) with { MetaInfo = source.MetaInfo };
        }
        string output = Path.Combine(run.Folder, "adapter.safetensors");
        AtomicFile.EnsureDirectory(run.Folder);
        // Of a run that was killed before its result was written.
        AtomicFile.Delete(output);
        QuantizeReport report = AdapterQuantization.Quantize(
            Path.Combine(run.Source.Folder, "adapter.safetensors"), run.Method.Bits, output);
        return Record(run, source.TrainInfo with { FileSize = report.BytesAfter }) with { MetaInfo = source.MetaInfo };
    }

    private RunRecord Measure(ExperimentRun run, RunRecord record, TextPairs pairs, CancellationToken cancel)
    {
        bool isBase = run.Method.Kind == ExperimentKind.Base;
        bool full = run.Method.Kind == ExperimentKind.Train && run.Config.Adapter is null;
        LanguageModel model = full ? models.Open(Path.Combine(run.Folder, "model")) : models.For(run.Config, trainable: false);
        using LoadedAdapter? adapter = isBase || full ? null : AdapterFile.Load(Path.Combine(run.Folder, "adapter.safetensors"), model);
        foreach (IExperimentScore score in scores)
        {
            if (record.Has(score.Name, SettingsOf(score))) continue;
            Stopwatch clock = Stopwatch.StartNew();
            ScoreInput input = new(model, adapter, run.Config.Model, pairs, TestName, run.Config.Truncate, run.Folder, observer.OnDecoded)
            {
                Chat = run.Config.Chat,
            };
            IReadOnlyDictionary<string, double> values = score.Measure(input, cancel);
            ScoreRecord measured = new(SettingsOf(score), values, clock.Elapsed.TotalSeconds);
            record = record with { Scores = new Dictionary<string, ScoreRecord>(record.Scores) { [score.Name] = measured } };
            record = record with
            {
                RunInfo = record.RunInfo with { TotalTime = record.TrainInfo.TrainTime + record.Scores.Values.Sum(s => s.Time) },
            };
            record.Write(run.ResultFile);
        }
        // What resuming needed; three times the model, when the whole model was trained.
        AtomicFile.Delete(Path.Combine(run.Folder, RunDirectory.LastStateName));
        return record;
    }

    private RunRecord MeasureImages(ExperimentRun run, RunRecord record, CancellationToken cancel)
    {
        Stopwatch clock = Stopwatch.StartNew();
        using ImageJob job = new(run.Config, device);
        string saved = Path.Combine(run.Folder, run.Config.Adapter is null ? "model" : "adapter.safetensors");
        ImageResult result = job.Test(saved, cancel) ?? throw NothingToTestOn(run);
        double seconds = clock.Elapsed.TotalSeconds;
        record = record with
        {
            Scores = new Dictionary<string, ScoreRecord>
            {
                [scores[0].Name] = new(SettingsOf(scores[0]), AccuracyScore.Of(result), seconds),
            },
            RunInfo = record.RunInfo with { TotalTime = record.TrainInfo.TrainTime + seconds },
        };
        record.Write(run.ResultFile);
        AtomicFile.Delete(Path.Combine(run.Folder, RunDirectory.LastStateName));
        return record;
    }

    private static NolaException NothingToTestOn(ExperimentRun run) =>
        new($"{run.Config.Images}: has no images to test on; put them into a folder test beside train.");

    private RunRecord Record(ExperimentRun run, TrainInfo info, string error = "")
    {
        using JsonDocument config = JsonDocument.Parse(run.Config.ToJson());
        RunInfo about = new(
            DateTime.UtcNow, info.TrainTime, $"{file.Name}/{run.Method.Name}",
            run.Id, run.Seed, run.Method.Bits, config.RootElement.Clone(), error);
        return new RunRecord(
            about, error.Length > 0 ? info with { Status = TrainInfo.Failed } : info,
            new Dictionary<string, ScoreRecord>(), MetaInfo.Of(run.Config.Model, models.IdentityOf(run.Config), device));
    }
}
