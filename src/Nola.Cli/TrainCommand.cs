using System.CommandLine;
using System.Text.Json;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;

namespace Nola.Cli;

/// <summary><c>nola train</c>: the main job.</summary>
internal static class TrainCommand
{
    public static Command Create()
    {
        Option<string> config = new("--config")
        {
            Description = "JSON file with any of the keys below (without dashes); the command line takes precedence",
        };
        Option<bool> resume = new("--resume")
        {
            Description = "Continue the run in --out with the settings in its config.json; --max-steps or --epochs replaces its end",
        };
        Option<bool> json = new("--json") { Description = "Print the result as one JSON object on standard output" };
        Option<string> tasks = new("--tasks")
        {
            Description = "Train an adapter for each of many tasks in one job: a directory with a data file for each (NAME.csv, and "
                + "NAME.valid.csv to evaluate on), or a manifest (jsonl: name, data, valid)",
        };
        WholeOption<int> together = new("--tasks-at-once") { Description = "Most tasks that run at once", DefaultValueFactory = _ => 64 };
        List<(Setting Setting, Option Option)> options = [.. TrainConfig.Keys.Select(s => (s, s.IsFlag
            ? (Option)new Option<bool>("--" + s.Name) { Description = s.Help }
            : new Option<string>("--" + s.Name) { Description = s.Help }))];
        Command command = new("train", "Fine-tune a model with NOLA (default), LoRA or another method, or all of its weights. "
            + "Without arguments: the embedded model on the embedded E2E data.")
        {
            config, resume, json, tasks, together,
        };
        foreach ((_, Option option) in options) command.Add(option);
        // As it was spelled in earlier versions.
        options.First(o => o.Setting.Name == "quantize-bits").Option.Aliases.Add("--quantise-bits");
        command.Does((result, cancel) =>
        {
            Settings given = new(TrainConfig.Keys);
            if (result.GetValue(config) is { } path) given.ReadJson(path);
            foreach ((Setting setting, Option option) in options)
                if (result.IsGiven(option))
                    given.Set(setting.Name, Text(result, option), "command line");
            bool asJson = result.GetValue(json);
            bool resumes = result.GetValue(resume);
            return Ranks.Run(ranks =>
                result.GetValue(tasks) is { } list
                    ? TrainTasks.Run(list, result.GetValue(together), given, resumes, asJson, ranks, cancel)
                    : resumes ? Resume(given, asJson, ranks, cancel) : Start(given, asJson, ranks, cancel));
        });
        return command;
    }

    private static string Text(ParseResult result, Option option) => option is Option<bool> flag
        ? result.GetValue(flag).ToString()
        : result.GetValue((Option<string>)option) ?? "";

    private static int Start(Settings given, bool json, ICollective ranks, CancellationToken cancel)
    {
        if (ranks.Size > 1 && !given.Has("shards"))
        {
            given.Set("shards", $"{ranks.Size}", "ranks");
            Terminal.Say($"Each step takes {ranks.Size} shards, one for each rank; --shards {ranks.Size} gives the same bits on fewer.");
        }
        TrainConfig config = TrainConfig.From(given);
        if (ranks.Rank > 0) return Run(config, () => null, json, ranks, cancel);
        RunDirectory.RefuseUsed(config.Out);
        return Run(config, () => new RunDirectory(config.Out), json, ranks, cancel);
    }

    // The directory is taken before anything in it is read, by rank 0 alone.
    private static int Resume(Settings given, bool json, ICollective ranks, CancellationToken cancel)
    {
        string path = given.Text("out", "");
        if (path.Length == 0) throw new NolaException("--resume needs --out, the directory of the run.");
        using RunDirectory? run = ranks.Rank == 0 ? new(path, resume: true) : null;
        string file = Path.Combine(path, "config.json");
        Settings settings = new(TrainConfig.Keys);
        if (run is not null) settings.ReadJson(file);
        string shared = ranks.Share(JsonSerializer.Serialize(settings.Given));
        if (run is null)
            foreach ((string key, string value) in JsonSerializer.Deserialize<Dictionary<string, string>>(shared)!)
                settings.Set(key, value, file);
        // One end that is given replaces both that the run had.
        foreach (string end in (ReadOnlySpan<string>)["epochs", "max-steps"])
            if (given.Has("epochs") || given.Has("max-steps")) settings.Remove(end);
        settings.Set(given);
        return Run(TrainConfig.From(settings), () => run, json, ranks, cancel);
    }

    private static int Run(TrainConfig config, Func<RunDirectory?> open, bool json, ICollective ranks, CancellationToken cancel)
    {
        using Device device = Device.Open(Ranks.Device(ranks, config.Device), Ranks.Threads(ranks, config.Threads), Terminal.Say);
        using TrainJob job = config.UsesImages ? new ImageJob(config, device) : new TextJob(config, device);
        TrainableAdapter? adapter = job.Adapter;
        long trained = adapter?.ParameterCount ?? job.ParameterCount;
        if (ranks.Size > 1) Terminal.Say($"{ranks.Description}, a step in {config.Options.Shards} shards");
        Terminal.Say($"{device.Description}; {config.Model}: {job.ParameterCount:N0} parameters, "
            + $"of which {config.Method} trains {trained:N0}{(adapter is null ? "" : " beside them")}; {job.Contents}");
        using IDisposable held = Signals.Held(Signals.Checkpoint);
        // Of rank 0 alone.
        using RunDirectory? run = open();
        run?.WriteConfig(config, device, Terminal.Say);
        bool resumes = ranks.Any(run?.Resumes == true);
        TrainView view = new();
        Trainer trainer = new(job.Model, adapter, config.Options, run, view)
        {
            ReadEvery = config.ReadEvery,
            Source = config.Source,
            Ranks = ranks,
        };
        TrainResult result = view.Show(() => Finished(trainer, () => job.Run(trainer, resumes, cancel)));
        if (run is null) return result.Outcome == TrainOutcome.Interrupted ? Terminal.Interrupted : 0;
        run.DrawLossCurve();
        string saved = adapter is null ? run.BestModel : run.BestAdapter;
        ImageResult? test = result.Outcome == TrainOutcome.Interrupted ? null : job.Test(saved, cancel);
        Report(config, run, result, saved, trained, test, json);
        if (result.Outcome == TrainOutcome.Interrupted)
        {
            string resume = $"{Invocation.Tool} train --resume --out {Invocation.Quoted(config.Out)}";
            Terminal.Say($"Interrupted after step {result.Steps}; continue with: {resume}");
            return Terminal.Interrupted;
        }
        return 0;
    }

    /// <summary>What a run came to, also when it was canceled.</summary>
    internal static TrainResult Finished(Trainer trainer, Func<TrainResult> run)
    {
        try
        {
            return run();
        }
        catch (OperationCanceledException) when (trainer.Result is not null)
        {
            return trainer.Result;
        }
    }

    private static void Report(
        TrainConfig config, RunDirectory run, TrainResult result, string saved, long trained, ImageResult? test, bool json)
    {
        long bytes = File.Exists(saved) ? new FileInfo(saved).Length : 0;
        if (json)
        {
            Terminal.Json(new
            {
                outcome = result.Outcome.ToString().ToLowerInvariant(),
                steps = result.Steps,
                tokens = result.Tokens,
                seconds = Math.Round(result.Elapsed.TotalSeconds, 1),
                first_loss = Number(result.FirstLoss),
                last_loss = Number(result.LastLoss),
                best_loss = Number(result.BestLoss),
                best_step = result.BestStep,
                trained_parameters = trained,
                saved,
                saved_bytes = bytes,
                run = run.Path,
                accuracy = test?.Accuracy,
                tested = test?.Count,
            });
            return;
        }
        string outcome = result.Outcome switch
        {
            TrainOutcome.StoppedEarly => "Stopped early",
            TrainOutcome.Interrupted => "Stopped",
            _ => "Done",
        };
        Terminal.Say($"{outcome}: {result.Steps:N0} steps, {result.Tokens:N0} tokens in {result.Elapsed.TotalSeconds:N0} s.");
        if (!double.IsNaN(result.BestLoss))
            Terminal.Say(
                $"Validation loss {result.FirstLoss:F3} → {result.LastLoss:F3} (best {result.BestLoss:F3} at step {result.BestStep}).");
        Terminal.Say($"Saved {saved}{(bytes > 0 ? $" ({bytes / 1024.0:F1} KB)" : "")}; log and loss curve in {run.Path}.");
        if (test is not null) Terminal.Say($"{test.Right:N0} of {test.Count:N0} test images are told right: {100 * test.Accuracy:F1} %.");
        if (config.UsesImages && config.Adapter is not null)
        {
            string chosen = config.Model == VisionModel.EmbeddedName ? "" : $"--model {Invocation.Quoted(config.Model)} ";
            Terminal.Say($"Ask it:  {Invocation.Tool} classify {chosen}--adapter {Invocation.Quoted(saved)} image.png");
        }
        if (config.UsesImages || config.Adapter is null || EmbeddedData.Prompt(config.Data) is not { } prompt) return;
        Terminal.Say($"Ask it:  {Invocation.Tool} {Ask(config.Model, saved, prompt)}");
    }

    /// <summary>The command that asks a trained adapter something, without the program before it.</summary>
    internal static string Ask(string model, string adapter, string prompt)
    {
        string chosen = model == LanguageModel.EmbeddedName ? "" : $"--model {Invocation.Quoted(model)} ";
        return $"generate {chosen}--adapter {Invocation.Quoted(adapter)} --prompt \"{prompt}\"";
    }

    /// <summary>A number as JSON has it; null where it is none.</summary>
    internal static double? Number(double? value) => value is { } given && double.IsFinite(given) ? given : null;
}
