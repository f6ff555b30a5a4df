using System.Diagnostics;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;

namespace Nola.Cli;

/// <summary><c>nola train --tasks</c>: an adapter for each of many tasks, trained in one job.</summary>
internal static class TrainTasks
{
    /// <summary>Trains all tasks of a list with the same settings, each in a directory of its own below the one of the job.</summary>
    /// <param name="list">A directory or a manifest.</param>
    /// <param name="together">Most tasks that run at once.</param>
    /// <param name="given">The settings of all.</param>
    /// <param name="resume">Whether those that were begun go on.</param>
    /// <param name="json">Whether the results are printed as JSON, one line for each task and one for all.</param>
    /// <param name="ranks">Who the tasks are dealt to, in turn.</param>
    /// <param name="cancel">Stops after the current step.</param>
    public static int Run(
        string list, int together, Settings given, bool resume, bool json, ICollective ranks, CancellationToken cancel)
    {
        foreach (string key in (ReadOnlySpan<string>)["data", "valid", "text", "images"])
            if (given.Has(key))
                throw new NolaException($"--{key} is given beside --tasks, which names the data of every task; leave it out.");
        IReadOnlyList<TaskFiles> files = TaskList.Read(list);
        // What is embedded has defaults of its own.
        given.Set("data", files[0].Data, list);
        if (resume && !given.Has("out"))
            throw new NolaException("--resume needs --out, the directory of the tasks' runs.");
        TrainConfig config = TrainConfig.From(given);
        // Without --out the name is made of the time, which each rank has for itself.
        config = config with { Out = ranks.Share(config.Out) };
        AdapterOptions method = config.Adapter
            ?? throw new NolaException("--method full trains the model's own weights; --tasks needs a method that trains adapters.");
        if (config.Options.Shards > 1)
            throw new NolaException(
                $"--shards {config.Options.Shards} is given beside --tasks, each of which takes its steps in one piece; leave it out.");
        using Device device = Device.Open(Ranks.Device(ranks, config.Device), Ranks.Threads(ranks, config.Threads), Terminal.Say);
        using LanguageModel model = LanguageModel.Load(config.Model, device, trainable: false, config.Storage);
        Terminal.Say(
            $"{device.Description}; {config.Model}: {files.Count:N0} tasks, {config.Method}, {Math.Min(together, files.Count):N0} at once");
        using IDisposable held = Signals.Held(Signals.Checkpoint);
        TaskTrainer trainer = new(model, method, config.Options) { Together = together };
        long start = Stopwatch.GetTimestamp();
        int done = 0;
        TrainTask[] tasks = [.. files.Where((_, i) => i % ranks.Size == ranks.Rank).Select(file => Task(file, config, model, device))];
        if (ranks.Size > 1) Terminal.Say($"{ranks.Description}; this one has {tasks.Length:N0} of the tasks and tells of them alone");
        IReadOnlyList<TaskResult> results = trainer.Run(tasks, resume, (result, _) => Tell(result, ++done, tasks.Length, json), cancel);
        int failed = ranks.Sum(results.Count(result => result.Error is not null)), finished = ranks.Sum(results.Count(IsFinished));
        TellOthers(results, ranks);
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds, hourly = finished * 3600 / seconds;
        if (json)
            Terminal.Json(new
            {
                tasks = files.Count,
                finished,
                failed,
                seconds = Math.Round(seconds, 1),
                tasks_per_hour = Math.Round(hourly, 1),
            });
        Terminal.Say(
            $"{finished:N0} of {files.Count:N0} tasks in {seconds:N0} s, {hourly:N0} an hour; "
            + $"each has its adapter.safetensors in a directory below {config.Out}.");
        if (ranks.Any(cancel.IsCancellationRequested))
        {
            string again = $"{Invocation.Tool} train --tasks {Invocation.Quoted(list)} --out {Invocation.Quoted(config.Out)} --resume";
            Terminal.Say($"Interrupted; continue with the same settings: {again}");
            return Terminal.Interrupted;
        }
        return failed > 0 ? 1 : 0;
    }

    private static void TellOthers(IReadOnlyList<TaskResult> results, ICollective ranks)
    {
        IEnumerable<string> own = results
            .Where(result => result.Error is not null)
            .Select(result => $"{result.Task.Name}: {result.Error!.Message}");
        foreach (string sentence in ranks.Gather(string.Join('\n', own)).Skip(1).SelectMany(text => text.Split('\n')))
            if (sentence.Length > 0) Terminal.Say(sentence);
    }

    private static bool IsFinished(TaskResult result) => result.Result is { Outcome: not TrainOutcome.Interrupted };

    private static TrainTask Task(TaskFiles files, TrainConfig all, LanguageModel model, Device device)
    {
        TrainConfig own = all with { Data = files.Data, Valid = files.Valid, Out = Path.Combine(all.Out, files.Name) };
        return new(files.Name, Read)
        {
            Directory = own.Out,
            OnDirectory = run => run.WriteConfig(own, device, Terminal.Say),
            Source = own.Source,
        };

        (EncodedPair[], EncodedPair[]) Read()
        {
            (EncodedPair[] training, EncodedPair[] validation) = TrainData.Read(own, model);
            return (training, validation);
        }
    }

    private static void Tell(TaskResult result, int done, int all, bool json)
    {
        if (json)
            Terminal.Json(new
            {
                task = result.Task.Name,
                outcome = result.Result?.Outcome.ToString().ToLowerInvariant() ?? "failed",
                steps = result.Result?.Steps,
                first_loss = TrainCommand.Number(result.Result?.FirstLoss),
                last_loss = TrainCommand.Number(result.Result?.LastLoss),
                best_loss = TrainCommand.Number(result.Result?.BestLoss),
                best_step = result.Result?.BestStep,
                error = result.Error?.Message,
            });
        if (result.Error is { } error)
        {
            Terminal.Say($"{done}/{all} {result.Task.Name}: {error.Message}");
            return;
        }
        TrainResult run = result.Result!;
        string loss = double.IsNaN(run.BestLoss)
            ? ""
            : $", validation loss {run.FirstLoss:F3} → {run.LastLoss:F3} (best {run.BestLoss:F3} at step {run.BestStep})";
        Terminal.Say($"{done}/{all} {result.Task.Name}: {run.Steps:N0} steps{loss}");
    }
}
