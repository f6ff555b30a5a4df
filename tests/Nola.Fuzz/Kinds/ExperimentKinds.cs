using System.Text;
using Nola.Train;

namespace Nola.Fuzz;

/// <summary>Experiment files: read, and all their runs planned.</summary>
internal sealed class ExperimentKind() : FilesKind("experiment")
{
    private const string Name0 = "e.json";

    /// <summary>A whole experiment.</summary>
    public const string Example = """
        {
          "name": "tiny",
          "settings": { "model": "nola-tiny", "data": "e2e", "max-steps": 4, "lr": 0.01, "schedule": "linear" },
          "test": "e2e:test", "test-subset": "all",
          "seeds": [1, 2],
          "scores": ["loss", "BLEU"],
          "decoding": { "beams": 2, "length-penalty": 0.9, "no-repeat-ngram": 4, "repetition-penalty": 1.5,
            "min-new": 1, "max-new": 20, "stop": [50256, 628] },
          "plot": "loss",
          "methods": [
            { "name": "base", "method": "base" },
            { "name": "lora-r1", "series": "LoRA", "method": "lora", "rank": 1 },
            { "name": "nola", "series": "NOLA", "bases": 8, "rank": 2, "targets": ["q", "v"] },
            { "name": "nola-4", "of": "nola", "bits": 4 }
          ]
        }
        """;

    public override void Prepare(Bench bench)
    {
        AddText(Name0, JsonMutator.Mutate, Example);
        AddText(Name0, JsonMutator.Mutate, """{"methods": [{"name": "a", "rank": 1}], "seeds": [1]}""");
    }

    public override void Run(Bench bench, string directory, Dice dice)
    {
        ExperimentFile file = ExperimentFile.Read(Path.Combine(directory, Name0));
        bench.Accepted = true;
        IReadOnlyList<ExperimentRun> runs = ExperimentRun.Plan(file, bench.Output, "cpu", 1);
        foreach (ExperimentRun run in runs)
            if (!Path.GetFullPath(run.Folder).StartsWith(bench.Output + Path.DirectorySeparatorChar, StringComparison.Ordinal))
                throw new FuzzException($"a run would be written to {run.Folder}");
    }
}

/// <summary>Results of an experiment's runs: read, summarized in a table and drawn.</summary>
internal sealed class ResultKind() : FilesKind("result")
{
    private const string Result = """
        {
          "run_info": { "created_at": "2026-11-25T18:09:28.15Z", "total_time": 0.81, "experiment_name": "tiny/lora-r1",
            "run_id": "a47f8876", "seed": 1, "bits": 0,
            "train_config": { "model": "nola-tiny", "rank": 1, "targets": ["q", "v"] }, "error_msg": "" },
          "train_info": { "status": "success", "train_time": 0.8, "memory_max": 9822272, "file_size": 3608,
            "num_trainable_params": 768, "num_total_params": 63216,
            "metrics": [ { "step": 0, "valid_loss": 4.63, "train_loss": null }, { "step": 4, "valid_loss": 4.61, "train_loss": 4.62 } ] },
          "scores": { "loss": { "settings": "s", "values": { "loss": 4.61, "perplexity": "Infinity" }, "time": 0.1 } },
          "meta_info": { "model": "nola-tiny", "model_identity": "0123", "nola_version": "0.1.0",
            "dotnet": ".NET 10", "system": "Linux X64", "device": "cpu" }
        }
        """;

    private ExperimentFile? experiment;

    public override void Prepare(Bench bench)
    {
        string path = bench.Saved("e.json");
        File.WriteAllText(path, """
            {"name": "tiny", "seeds": [1, 2], "scores": ["loss"],
             "methods": [{"name": "base", "method": "base"}, {"name": "lora-r1", "method": "lora", "rank": 1}]}
            """);
        experiment = ExperimentFile.Read(path);
        string[] results = [.. ExperimentRun.Plan(experiment, "", "cpu", 1).Select(run => run.ResultFile)];
        Add([.. results.Select(file => (file, (Mutation?)JsonMutator.Mutate, Encoding.UTF8.GetBytes(Result)))]);
    }

    public override void Run(Bench bench, string directory, Dice dice)
    {
        IReadOnlyList<ExperimentRun> runs = ExperimentRun.Plan(experiment!, directory, "cpu", 1);
        Dictionary<string, string> settings = new() { ["loss"] = "s" };
        IReadOnlyList<MethodSummary> methods = ExperimentReport.Summarize(experiment!, runs, settings);
        bench.Accepted = true;
        ExperimentReport.Write(experiment!, methods, bench.Output);
        RunRecord? record = RunRecord.Read(runs[0].ResultFile);
        if (record is null) return;
        string again = bench.Saved("result.json");
        record.Write(again);
        if (RunRecord.Read(again)!.RunInfo.RunId != record.RunInfo.RunId)
            throw new FuzzException("the run's id changed when its result was written again");
    }
}
