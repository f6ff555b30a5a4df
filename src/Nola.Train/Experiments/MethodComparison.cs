using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Encodings.Web;
using System.Text.Json;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// Results in the exact shape of the files of Hugging Face PEFT's <c>method_comparison/MetaMathQA/results</c>, so that its tools put a
/// run beside PEFT's own. The keys that its <c>processing.py</c> reads all have values; what has none in .NET, such as the version of
/// torch, is null.
/// </summary>
internal static class MethodComparison
{
    private static readonly string[] needed = [AnswerScore.Called, ForgettingScore.Called];

    private static readonly JsonSerializerOptions format =
        JsonForms.ByReflection(new() { WriteIndented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping });

    /// <summary>Refuses, before anything runs, an experiment that has not what a result consists of.</summary>
    /// <exception cref="NolaException">A score is missing, or batches are not counted in examples.</exception>
    public static void Check(ExperimentFile file, IEnumerable<ExperimentRun> runs)
    {
        if (needed.Except(file.Scores).FirstOrDefault() is { } missing)
            throw new NolaException($"A result of PEFT's method_comparison has the scores {string.Join(" and ", needed)}; "
                + $"add \"{missing}\" to \"scores\".");
        if (runs.FirstOrDefault(run => IsTrained(run) && Samples(run.Config.Options, 1) is null) is { } uncounted)
            throw new NolaException($"{uncounted.Title}: a result of PEFT's method_comparison says how many examples were seen; "
                + "set batch-size to the examples of a batch, and batch-tokens to 0.");
    }

    /// <summary>Writes a file for each trained run that is complete, and measured as the others are.</summary>
    /// <param name="file">The experiment.</param>
    /// <param name="runs">All its runs.</param>
    /// <param name="settings">How each score is measured, by its name.</param>
    /// <param name="directory">Where the files go.</param>
    /// <returns>The files.</returns>
    /// <exception cref="NolaException">A result cannot be read, or a file cannot be written.</exception>
    public static IReadOnlyList<string> Write(
        ExperimentFile file, IEnumerable<ExperimentRun> runs, IReadOnlyDictionary<string, string> settings, string directory)
    {
        List<string> written = [];
        foreach (ExperimentRun run in runs.Where(IsTrained))
        {
            if (RunRecord.Read(run.ResultFile) is not { TrainInfo.Status: TrainInfo.Success } record) continue;
            if (!needed.All(name => record.Has(name, settings[name]))) continue;
            string seed = file.Seeds.Count > 1 ? string.Create(CultureInfo.InvariantCulture, $"-seed{run.Seed}") : "";
            string method = run.Config.Adapter?.Method.Name ?? "full-finetuning", name = run.Method.Name + seed;
            AtomicFile.EnsureDirectory(directory);
            string path = Path.Combine(directory, $"{method}--{name}.json");
            AtomicFile.WriteText(path, JsonSerializer.Serialize(Result(file, run, record, $"{method}/{name}"), format) + "\n");
            written.Add(path);
        }
        return written;
    }

    private static bool IsTrained(ExperimentRun run) => run.Method.Kind == ExperimentKind.Train && !run.Config.UsesImages;

    private static long? Samples(TrainOptions options, long steps) =>
        options.BatchTokens == 0 && options.BatchSize > 0 ? steps * options.BatchSize * options.Accumulation : null;

    private static object Result(ExperimentFile file, ExperimentRun run, RunRecord record, string name)
    {
        IReadOnlyList<(double Loss, long Tokens, long PeakBytes)> steps = RunLog.Steps(run.Folder);
        TrainOptions options = run.Config.Options;
        long[] memory = [.. steps.Select(step => step.PeakBytes).Order()];
        int every = Math.Clamp(options.EvalEvery, 1, Math.Max(1, steps.Count));
        Dictionary<string, object?> last = new()
        {
            ["step"] = steps.Count,
            ["test accuracy"] = record.Scores[AnswerScore.Called].Values[AnswerScore.Called] / 100,
            ["train loss"] = steps.TakeLast(every).Select(step => step.Loss).DefaultIfEmpty(0).Average(),
            ["train samples"] = Samples(options, steps.Count),
            ["train total tokens"] = steps.Count > 0 ? steps[^1].Tokens : 0,
            ["forgetting"] = record.Scores[ForgettingScore.Called].Values[ForgettingScore.Called],
        };
        return new
        {
            run_info = new
            {
                created_at = record.RunInfo.CreatedAt.ToString("yyyy-MM-ddTHH:mm:sszzz", CultureInfo.InvariantCulture),
                total_time = record.RunInfo.TotalTime,
                experiment_name = name,
                peft_branch = "nola",
                peft_worktree_is_dirty = false,
                train_config = TrainConfigOf(file, run, record, steps.Count),
                peft_config = PeftConfigOf(run.Config),
                error_msg = record.RunInfo.ErrorMsg,
            },
            train_info = new
            {
                accelerator_memory_reserved_avg = memory.Length > 0 ? (long)memory.Average() : 0,
                accelerator_memory_max = record.TrainInfo.MemoryMax,
                accelerator_memory_reserved_99th = memory.Length > 0 ? memory[(int)(0.99 * (memory.Length - 1))] : 0,
                train_time = record.TrainInfo.TrainTime,
                file_size = record.TrainInfo.FileSize,
                num_trainable_params = record.TrainInfo.NumTrainableParams,
                num_total_params = record.TrainInfo.NumTotalParams,
                status = record.TrainInfo.Status,
                metrics = (object[])[.. record.TrainInfo.Metrics.Select(Evaluated), last],
            },
            meta_info = new
            {
                model_info = Unknown(),
                dataset_info = new Dictionary<string, object> { ["train"] = Unknown(), ["test"] = Unknown() },
                package_info = Packages(record.MetaInfo),
                system_info = new
                {
                    system = OperatingSystem.IsLinux() ? "Linux" : OperatingSystem.IsMacOS() ? "Darwin" : "Windows",
                    release = Environment.OSVersion.Version.ToString(),
                    version = record.MetaInfo.System,
                    machine = RuntimeInformation.OSArchitecture.ToString(),
                    processor = RuntimeInformation.ProcessArchitecture.ToString(),
                    accelerator = record.MetaInfo.Device,
                },
                pytorch_info = $"none: Nola {record.MetaInfo.NolaVersion} on {record.MetaInfo.Dotnet}",
            },
        };
    }

    private static Dictionary<string, object?> Evaluated(EvalMetric metric) => new()
    {
        ["step"] = metric.Step,
        ["valid loss"] = metric.ValidLoss,
        ["train loss"] = metric.TrainLoss,
    };

    // PEFT's own settings by their names, those that this has; and all that it was run with, under a key of its own.
    private static object TrainConfigOf(ExperimentFile file, ExperimentRun run, RunRecord record, int steps)
    {
        TrainOptions o = run.Config.Options;
        return new
        {
            model_id = run.Config.Model,
            dtype = run.Config.Storage switch
            {
                WeightFormat.Nf4 or WeightFormat.Nf4Double => "int4",
                WeightFormat format => format.Name(),
            },
            max_seq_length = (int?)null,
            batch_size = o.BatchSize,
            batch_size_eval = (int?)null,
            max_steps = steps,
            eval_steps = o.EvalEvery,
            compile = false,
            use_gc = o.CheckpointBlocks,
            query_template = (string?)null,
            seed = run.Seed,
            grad_norm_clip = StrictNumber.Shortest(o.ClipNorm),
            optimizer_type = "AdamW",
            optimizer_kwargs = new
            {
                lr = StrictNumber.Shortest(o.LearningRate),
                betas = (double[])[StrictNumber.Shortest(o.Beta1), StrictNumber.Shortest(o.Beta2)],
                eps = StrictNumber.Shortest(o.Epsilon),
                weight_decay = StrictNumber.Shortest(o.WeightDecay),
            },
            lr_scheduler = o.Schedule.ToString().ToLowerInvariant(),
            use_amp = false,
            autocast_adapter_dtype = true,
            generation_kwargs = new { max_new_tokens = file.Decoding.MaxNewTokens, num_beams = file.Decoding.Beams },
            attn_implementation = (string?)null,
            init_kv_cache_prefix = (string?)null,
            nola = record.RunInfo.TrainConfig,
        };
    }

    // As an adapter's file has them, after the two names that PEFT's have; null for full fine-tuning, as there.
    private static Dictionary<string, object?>? PeftConfigOf(TrainConfig config)
    {
        if (config.Adapter is not { } options) return null;
        Dictionary<string, object?> all = new()
        {
            ["peft_type"] = options.Method.Peft?.PeftType ?? options.Method.Name.ToUpperInvariant(),
            ["base_model_name_or_path"] = config.Model,
        };
        foreach (AdapterOption option in options.Method.Options)
            if (option.Get(options) is { } value) all[option.Key] = value;
        return all;
    }

    private static Dictionary<string, string?> Packages(MetaInfo meta)
    {
        Dictionary<string, string?> packages = [];
        foreach (string name in (string[])["transformers", "peft", "datasets", "bitsandbytes", "torch"])
            (packages[name + "-version"], packages[name + "-commit-hash"]) = (null, null);
        (packages["nola-version"], packages["dotnet-version"]) = (meta.NolaVersion, meta.Dotnet);
        return packages;
    }

    private static object Unknown() => new { sha = (string?)null, created_at = (string?)null };
}
