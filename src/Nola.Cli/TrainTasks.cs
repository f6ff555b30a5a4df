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
    /// <param name="cancel">Stops after the current step.</param>
    public static int Run(string list, int together, Settings given, bool resume, bool json, CancellationToken cancel)
    {
        foreach (string key in (ReadOnlySpan<string>)["data", "valid", "text", "images"])
            if (given.Has(key))
                throw new NolaException($"--{key} is given beside --tasks, which names the data of every task; leave it out.");
        IReadOnlyList<TaskFiles> files = TaskList.Read(list);
        // What is embedded has defaults of its own.
        given.Set("data", files[0].Data, list);
        TrainConfig config = TrainConfig.From(given);
        AdapterOptions method = config.Adapter
            ?? throw new NolaException("--method full trains the model's own weights; --tasks needs a method that trains adapters.");
        using Device device = Device.Open(config.Device, config.Threads, Terminal.Say);
        using LanguageModel model = LanguageModel.Load(config.Model, device, trainable: false, config.Storage);
        Terminal.Say(
            $"{device.Description}; {config.Model}: {files.Count:N0} tasks, {config.Method}, {Math.Min(together, files.Count):N0} at once");
        using IDisposable held = Signals.Held(Signals.Checkpoint);
        TaskTrainer trainer = new(model, method, config.Options) { Together = together };
        long start = Stopwatch.GetTimestamp();
        int done = 0;
        TrainTask[] tasks = [.. files.Select(file => Task(file, config, model))];
        IReadOnlyList<TaskResult> results = trainer.Run(tasks, resume, (result, _) => Tell(result, ++done, tasks.Length, json), cancel);
        int failed = results.Count(result => result.Error is not null), finished = results.Count(IsFinished);
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
        if (cancel.IsCancellationRequested)
        {
            string again = $"{Invocation.Tool} train --tasks {Invocation.Quoted(list)} --out {Invocation.Quoted(config.Out)} --resume";
            Terminal.Say($"Interrupted; continue with the same settings: {again}");
            return Terminal.Interrupted;
        }
        return failed > 0 ? 1 : 0;
    }

    private static bool IsFinished(TaskResult result) => result.Result is { Outcome: not TrainOutcome.Interrupted };

    private static TrainTask Task(TaskFiles files, TrainConfig all, LanguageModel model)
    {
        TrainConfig own = all with { Data = files.Data, Valid = files.Valid, Out = Path.Combine(all.Out, files.Name) };
        return new(files.Name, Read) { Directory = own.Out, Config = own.ToJson(), Source = own.Source };

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
