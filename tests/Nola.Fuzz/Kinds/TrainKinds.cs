using System.Text;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;

namespace Nola.Fuzz;

/// <summary>A run's last checkpoint: read into an optimizer, and now and then a whole run is resumed from it.</summary>
internal sealed class StateKind() : FilesKind("state", 2)
{
    private const string Last = "last.safetensors";

    private static readonly TrainOptions options = new()
    {
        Epochs = 2,
        BatchTokens = 40,
        WarmupSteps = 2,
        EvalEvery = 3,
        CheckpointEvery = 2,
    };
    private static readonly EncodedPair[] pairs = [.. Enumerable.Range(0, 12).Select(i => new EncodedPair([i, 2 * i, 7], [3, i, 5, 60]))];

    public override void Prepare(Bench bench)
    {
        string folder = Path.Combine(bench.Root, "run");
        using (TrainableAdapter adapter = Attach(bench))
        using (RunDirectory run = new(folder))
        {
            new Trainer(bench.Model, adapter, options with { MaxSteps = 4 }, run).Run(pairs, pairs);
        }
        SafetensorsImage image = SafetensorsImage.Parse(File.ReadAllBytes(Path.Combine(folder, Last)));
        // The only thing in it that is not the same each time.
        int seconds = image.Metadata.FindIndex(m => m.Key == "seconds");
        image.Metadata[seconds] = ("seconds", "1.25");
        Add((Last, SafetensorsMutator.Mutate, image.ToBytes()));
        Directory.Delete(folder, recursive: true);
    }

    public override void Run(Bench bench, string directory, Dice dice)
    {
        using TrainableAdapter adapter = Attach(bench);
        using RunDirectory run = new(directory, resume: true);
        if (!dice.Once(20))
        {
            using AdamW optimizer = new(adapter.Parameters, options);
            string data = RunIdentity.Digest(pairs);
            RunIdentity identity = RunIdentity.Of(bench.Model, adapter, options, data, data, new RunSource());
            TrainState.Load(run.LastState, optimizer, identity, options, validated: true);
            bench.Accepted = true;
            return;
        }
        // Two steps more than it has.
        TrainResult result = new Trainer(bench.Model, adapter, options with { MaxSteps = 6 }, run).Run(pairs, pairs, resume: true);
        bench.Accepted = true;
        if (result.Outcome != TrainOutcome.Finished) throw new FuzzException($"the resumed run ended with {result.Outcome}");
    }

    private static TrainableAdapter Attach(Bench bench) => bench.Model.NewAdapter(new LoraOptions { Rank = 1, Targets = ["v"] });
}

/// <summary>A run's configuration: read, checked, its adapter put on a model, written and read again, and equal.</summary>
internal sealed class RunConfigKind() : FilesKind("run-config")
{
    private const string Name0 = "config.json";

    public override void Prepare(Bench bench)
    {
        Mutation mutation = JsonMutator.Mutate;
        AddText(Name0, mutation, """
            {"model": "nola-tiny", "data": "e2e", "method": "nola", "rank": 2, "alpha": 1.5, "bases": 8,
            "entries": "sign", "sharing": "per-layer", "variant": "paper", "targets": ["q", "v"], "basis-seed": 7, "lr": 0.01,
            "schedule": "cosine", "threads": 1}
            """);
        AddText(Name0, mutation, """
            {"method": "lora", "rank": 4, "epochs": 2.5, "max-steps": 40, "batch-tokens": 256, "warmup": 3, "weight-decay": 0.01,
            "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-7, "clip": 0, "label-smoothing": 0.1, "eval-every": 10, "patience": 2,
            "checkpoint-every": 5, "truncate": true}
            """);
        AddText(Name0, mutation, """
            {"method": "full", "text": ["a.txt", "b.txt"], "valid": "c.txt", "storage": "bfloat16", "checkpoint-blocks": false,
            "accumulation": 2, "batch-size": 8, "device": "cpu", "out": "runs/x"}
            """);
        AddText(Name0, mutation, """{"quantize-bits": 4, "bases-a": 6, "bases-b": 9, "read-every": 3}""");
    }

    public override void Run(Bench bench, string directory, Dice dice)
    {
        Settings settings = new(TrainConfig.Keys);
        settings.ReadJson(Path.Combine(directory, Name0));
        bench.Accepted = true;
        TrainConfig config = TrainConfig.From(settings);
        // Thousands of bases are no fault, only long to make.
        if (config.Adapter is not NolaOptions nola || nola is { BasesA: <= 64, BasesB: <= 64 }) config.NewAdapter(bench.Model)?.Dispose();
        string json = config.ToJson(), again = bench.Saved(Name0);
        AtomicFile.WriteText(again, json);
        Settings copy = new(TrainConfig.Keys);
        copy.ReadJson(again);
        if (TrainConfig.From(copy).ToJson() != json) throw new FuzzException("the configuration changed when it was written again");
    }
}

/// <summary>A run's log: summarized, drawn, and cut back to a checkpoint.</summary>
internal sealed class LogKind() : FilesKind("log")
{
    private const string Name0 = "log.jsonl";

    public override void Prepare(Bench bench)
    {
        StringBuilder log = new("""{"event":"eval","step":0,"loss":4.11,"tokens":120,"best":true}""" + "\n");
        for (int step = 1; step <= 6; step++)
        {
            log.Append($$"""{"event":"step","step":{{step}},"epoch":0.{{step}},"loss":{{step}}.25,"lr":0.001,"grad_norm":1.5,""");
            log.Append($$"""
                "tokens":{{100 * step}},"tokens_per_second":10.5,"elapsed":0.5,"peak_bytes":123456}
                """).Append('\n');
            if (step % 3 == 0) log.Append($$"""{"event":"eval","step":{{step}},"loss":3.5,"tokens":120,"best":false}""").Append('\n');
        }
        Add((Name0, JsonMutator.MutateLines, Encoding.UTF8.GetBytes(log.ToString())), ("last.safetensors", null, [0]));
    }

    public override void Run(Bench bench, string directory, Dice dice)
    {
        if (!File.Exists(Path.Combine(directory, Name0))) return;
        _ = RunLog.Summarize(directory);
        using RunDirectory run = new(directory, resume: true);
        run.DrawLossCurve();
        run.Log.Resume(3);
        bench.Accepted = true;
        run.Log.OnStep(new StepReport(4, 6, 0.5, 1.5, 0.1f, 1, 10, 10, TimeSpan.FromSeconds(1), 10));
        run.DrawLossCurve();
    }
}
