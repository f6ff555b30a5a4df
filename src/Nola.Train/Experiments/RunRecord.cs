using System.Runtime.InteropServices;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// <c>result.json</c> of one run, in the shape of the result files of Hugging Face PEFT's method_comparison: run_info,
/// train_info, meta_info; and scores.
/// </summary>
/// <param name="RunInfo">What was run.</param>
/// <param name="TrainInfo">What training took and gave.</param>
/// <param name="Scores">What was measured, by the score's name.</param>
/// <param name="MetaInfo">On what.</param>
internal sealed record RunRecord(RunInfo RunInfo, TrainInfo TrainInfo, IReadOnlyDictionary<string, ScoreRecord> Scores, MetaInfo MetaInfo)
{
    /// <summary>The form of every file that an experiment writes: snake_case, indented.</summary>
    internal static readonly JsonSerializerOptions Format = JsonForms.ByReflection(new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        WriteIndented = true,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
        // A file with a null, or without a value, in a place that has none is refused in place of failing somewhere else.
        RespectNullableAnnotations = true,
        RespectRequiredConstructorParameters = true,
    });

    /// <summary>Reads a result; null when there is none.</summary>
    /// <exception cref="NolaException">The file is not a result.</exception>
    public static RunRecord? Read(string path)
    {
        if (!File.Exists(path)) return null;
        try
        {
            using JsonDocument document = JsonInput.Read(path);
            return document.Deserialize<RunRecord>(Format) is { } record && record.IsWhole
                ? record
                : throw new NolaException($"{path}: not a result of an experiment; remove it to run again.");
        }
        catch (JsonException error)
        {
            throw new NolaException($"{path}: not a result of an experiment ({JsonInput.Reason(error)}); remove it to run again.", error);
        }
        catch (NolaException error) when (error.InnerException is JsonException or InvalidOperationException)
        {
            throw new NolaException($"{error.Message.TrimEnd('.')}; remove it to run again.", error);
        }
    }

    /// <summary>Whether a score is there, measured in this way.</summary>
    public bool Has(string score, string settings) => Scores.TryGetValue(score, out ScoreRecord? has) && has.Settings == settings;

    /// <summary>Whether all scores of these are there, each measured in its way.</summary>
    public bool HasAll(IReadOnlyDictionary<string, string> settings) => settings.All(score => Has(score.Key, score.Value));

    // What the serializer does not look at: entries of lists, and what the words and numbers mean.
    private bool IsWhole => Scores.Values.All(score => score is not null)
        && TrainInfo.Metrics.All(metric => metric is not null)
        && TrainInfo.Status is Train.TrainInfo.Success or Train.TrainInfo.Failed
        && TrainInfo is { NumTrainableParams: >= 0, NumTotalParams: >= 0 };

    /// <summary>Writes the result, whole or not at all.</summary>
    /// <exception cref="NolaException">It cannot be written.</exception>
    public void Write(string path) => AtomicFile.Write(path, stream =>
    {
        JsonSerializer.Serialize(stream, this, Format);
        stream.WriteByte((byte)'\n');
    });
}

/// <summary>What was run.</summary>
/// <param name="CreatedAt">When it ended, UTC.</param>
/// <param name="TotalTime">Seconds of training and scoring.</param>
/// <param name="ExperimentName">Experiment, a slash, and the method.</param>
/// <param name="RunId">Digest of the settings.</param>
/// <param name="Seed">Seed of shuffle and bases; null for the base model.</param>
/// <param name="Bits">Bits of a coefficient, when it was rounded after training; else 0.</param>
/// <param name="TrainConfig">The keys of <c>nola train</c>.</param>
/// <param name="ErrorMsg">Why it failed; empty when it did not.</param>
internal sealed record RunInfo(
    DateTime CreatedAt, double TotalTime, string ExperimentName, string RunId,
    ulong? Seed, int Bits, JsonElement TrainConfig, string ErrorMsg);

/// <summary>What training took and gave.</summary>
/// <param name="Status"><c>success</c> or <c>failed</c>.</param>
/// <param name="TrainTime">Seconds in optimizer steps.</param>
/// <param name="MemoryMax">Most bytes of device memory in tensors.</param>
/// <param name="FileSize">Bytes of the adapter's file, or of the model's.</param>
/// <param name="NumTrainableParams">Numbers that were trained.</param>
/// <param name="NumTotalParams">Parameters of the base model and the adapter.</param>
/// <param name="Metrics">Each evaluation during training.</param>
internal sealed record TrainInfo(
    string Status, double TrainTime, long MemoryMax, long FileSize,
    long NumTrainableParams, long NumTotalParams, IReadOnlyList<EvalMetric> Metrics)
{
    /// <summary>The status of a run that was trained, or needs no training; its scores are there when it was scored too.</summary>
    public const string Success = "success";

    /// <summary>The status of a run whose loss became infinite or no number.</summary>
    public const string Failed = "failed";
}

/// <summary>An evaluation during training.</summary>
/// <param name="Step">Optimizer steps before it.</param>
/// <param name="ValidLoss">Mean loss on the validation pairs.</param>
/// <param name="TrainLoss">Loss of the step before it; null before the first.</param>
internal sealed record EvalMetric(int Step, double ValidLoss, double? TrainLoss);

/// <summary>A measurement.</summary>
/// <param name="Settings">How, and on what.</param>
/// <param name="Values">What came out.</param>
/// <param name="Time">Seconds that it took.</param>
internal sealed record ScoreRecord(string Settings, IReadOnlyDictionary<string, double> Values, double Time);

/// <summary>On what a run was made.</summary>
/// <param name="Model">Name of the base model.</param>
/// <param name="ModelIdentity">Its digest, as in adapter files.</param>
/// <param name="NolaVersion">Version of this library, with its commit where known.</param>
/// <param name="Dotnet">Version of the runtime.</param>
/// <param name="System">Operating system and processor type.</param>
/// <param name="Device">What the device says of itself.</param>
internal sealed record MetaInfo(string Model, string ModelIdentity, string NolaVersion, string Dotnet, string System, string Device)
{
    /// <summary>What this process runs on.</summary>
    public static MetaInfo Of(string model, string identity, Device device) => new(
        model,
        identity,
        BuildVersion.Whole,
        RuntimeInformation.FrameworkDescription,
        $"{RuntimeInformation.OSDescription} {RuntimeInformation.ProcessArchitecture}",
        device.Description);
}
