using System.Globalization;
using System.Text;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>Who wants to know how a sweep goes on.</summary>
internal interface ISweepObserver : ITrainObserver
{
    /// <summary>Before a run begins.</summary>
    void OnRun(SweepRun run, int number, int count) { }

    /// <summary>Before a run is trained; what it gives is disposed when its checkpoint is written.</summary>
    IDisposable? OnTraining() => null;

    /// <summary>After a run that has ended, or failed.</summary>
    void OnResult(SweepRecord record) { }
}

/// <summary>What a sweep came to.</summary>
/// <param name="Runs">Runs of the manifest.</param>
/// <param name="Done">Runs that ended now.</param>
/// <param name="Skipped">Runs that had ended before.</param>
/// <param name="Failed">Runs that failed, now or before; they are among the two above.</param>
/// <param name="Left">Runs that other processes, or a later call, have still to end.</param>
/// <param name="Interrupted">Whether it was asked to stop.</param>
internal sealed record SweepSummary(int Runs, int Done, int Skipped, int Failed, int Left, bool Interrupted);

/// <summary>
/// Does the runs of a manifest that are this process's part. A run that has a result is done, also where it failed; one that was
/// interrupted goes on from its checkpoint; one that another process is at is left to it.
/// </summary>
/// <param name="runs">All runs.</param>
/// <param name="root">Their directory.</param>
/// <param name="part">Which part is done here, from 0.</param>
/// <param name="parts">How many parts there are: run i is of part i modulo their number.</param>
/// <param name="device">Where.</param>
/// <param name="observer">Who is told.</param>
internal sealed class SweepRunner(
    IReadOnlyList<SweepRun> runs, string root, int part, int parts, Device device, ISweepObserver observer) : IDisposable
{
    private readonly ExperimentModels models = new(device);

    /// <summary>The table of all runs that have ended.</summary>
    public string Table => Path.Combine(root, "results.csv");

    /// <summary>Does what is not done yet.</summary>
    /// <param name="again">Whether runs that failed before are done again.</param>
    /// <param name="cancel">Stops after the current step, with a checkpoint.</param>
    /// <exception cref="NolaException">A result cannot be read or written.</exception>
    public SweepSummary Run(bool again, CancellationToken cancel)
    {
        int done = 0, skipped = 0, failed = 0, left = 0;
        for (int i = part; i < runs.Count && !cancel.IsCancellationRequested; i += parts)
        {
            SweepRecord? record = SweepRecord.Read(runs[i]);
            if (record is not null && !(again && record.Failed)) skipped++;
            else
            {
                observer.OnRun(runs[i], i + 1, runs.Count);
                record = Complete(runs[i], cancel);
                if (record is null) left++;
                else
                {
                    record.Write(runs[i].ResultFile);
                    observer.OnResult(record);
                    done++;
                }
            }
            if (record?.Failed == true) failed++;
        }
        return new(runs.Count, done, skipped, failed, left, cancel.IsCancellationRequested);
    }

    /// <summary>Writes the table of all runs of the manifest that have ended, whoever did them.</summary>
    /// <returns>How many there are.</returns>
    /// <exception cref="NolaException">A result cannot be read, or the table not be written.</exception>
    public int WriteTable()
    {
        string[] keys = [.. runs.SelectMany(run => run.Own.Keys).Distinct()];
        StringBuilder table = new();
        string[] head =
            ["name", "status", .. keys, "steps", "first_loss", "last_loss", "best_loss", "best_step", "tokens", "seconds", "error"];
        table.Append(string.Join(',', head.Select(Cell))).Append('\n');
        int ended = 0;
        foreach (SweepRun run in runs)
        {
            if (SweepRecord.Read(run) is not { } record) continue;
            string[] row =
            [
                run.Name, record.Status, .. keys.Select(key => run.Own.GetValueOrDefault(key, "")), Text(record.Steps),
                Text(record.FirstLoss), Text(record.LastLoss), Text(record.BestLoss), Text(record.BestStep), Text(record.Tokens),
                record.Seconds.ToString("F1", CultureInfo.InvariantCulture), record.Error,
            ];
            table.Append(string.Join(',', row.Select(Cell))).Append('\n');
            ended++;
        }
        AtomicFile.EnsureDirectory(root);
        AtomicFile.WriteText(Table, table.ToString());
        return ended;
    }

    /// <inheritdoc/>
    public void Dispose() => models.Dispose();

    private static string Text<T>(T value) where T : IFormattable =>
        value is double and double.NaN ? "" : value.ToString(null, CultureInfo.InvariantCulture);

    private static string Cell(string text) =>
        text.AsSpan().IndexOfAny(",\"\n\r") < 0 ? text : $"\"{text.Replace("\"", "\"\"", StringComparison.Ordinal)}\"";

    // Null where it was interrupted, or another process has it.
    private SweepRecord? Complete(SweepRun run, CancellationToken cancel)
    {
        AtomicFile.EnsureDirectory(run.Config.Out);
        RunDirectory directory;
        bool resume = File.Exists(Path.Combine(run.Config.Out, RunDirectory.LastStateName));
        try
        {
            directory = new(run.Config.Out, resume);
        }
        catch (NolaException error) when (error.InnerException is IOException)
        {
            observer.OnNotice($"{run.Name}: {error.Message}");
            return null;
        }
        using (directory)
            try
            {
                directory.WriteConfig(run.Config, device, observer.OnNotice);
                using IDisposable? held = observer.OnTraining();
                TrainResult result = run.Config.UsesImages ? TrainImages(run, directory, cancel) : Train(run, directory, cancel);
                directory.DrawLossCurve();
                return SweepRecord.Of(run, result);
            }
            catch (OperationCanceledException)
            {
                return null;
            }
            catch (NolaException error)
            {
                return SweepRecord.Of(run, error.Message);
            }
            catch (OutOfMemoryException)
            {
                return SweepRecord.Of(run, "Out of memory.");
            }
    }

    private TrainResult Train(SweepRun run, RunDirectory directory, CancellationToken cancel)
    {
        LanguageModel model = models.For(run.Config, trainable: run.Config.Adapter is null);
        using TrainableAdapter? adapter = run.Config.NewAdapter(model);
        TrainData data = models.DataOf(run.Config);
        return NewTrainer(run, model, adapter, directory).Run(data.Training, data.Validation, directory.Resumes, cancel);
    }

    private TrainResult TrainImages(SweepRun run, RunDirectory directory, CancellationToken cancel)
    {
        using ImageJob job = new(run.Config, device);
        return job.Run(NewTrainer(run, job.Model, job.Adapter, directory), directory.Resumes, cancel);
    }

    private Trainer NewTrainer(SweepRun run, IModel model, TrainableAdapter? adapter, RunDirectory directory) =>
        new(model, adapter, run.Config.Options, directory, observer) { ReadEvery = run.Config.ReadEvery, Source = run.Config.Source };
}
