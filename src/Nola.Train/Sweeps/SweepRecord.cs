using System.Text.Json;
using Nola.Tensors;

namespace Nola.Train;

/// <summary><c>result.json</c> of one run of a sweep.</summary>
/// <param name="Name">What it is called.</param>
/// <param name="Config">Digest of its settings.</param>
/// <param name="Status"><c>success</c> or <c>failed</c>.</param>
/// <param name="Steps">Optimizer steps.</param>
/// <param name="FirstLoss">Validation loss before the first step; NaN without validation data.</param>
/// <param name="LastLoss">Validation loss at the end.</param>
/// <param name="BestLoss">Lowest validation loss.</param>
/// <param name="BestStep">When it was.</param>
/// <param name="Tokens">Tokens trained on.</param>
/// <param name="Seconds">Seconds of training.</param>
/// <param name="Error">Why it failed; empty where it did not.</param>
internal sealed record SweepRecord(
    string Name, string Config, string Status, int Steps, double FirstLoss, double LastLoss, double BestLoss, int BestStep, long Tokens,
    double Seconds, string Error)
{
    /// <summary>Whether it failed.</summary>
    public bool Failed => Status == TrainInfo.Failed;

    /// <summary>The record of a run that ended by itself.</summary>
    public static SweepRecord Of(SweepRun run, TrainResult result) => new(
        run.Name, run.Digest, TrainInfo.Success, result.Steps, result.FirstLoss, result.LastLoss, result.BestLoss, result.BestStep,
        result.Tokens, result.Elapsed.TotalSeconds, "");

    /// <summary>The record of a run that failed.</summary>
    public static SweepRecord Of(SweepRun run, string error) =>
        new(run.Name, run.Digest, TrainInfo.Failed, 0, double.NaN, double.NaN, double.NaN, 0, 0, 0, error);

    /// <summary>Reads the record of a run; null where it has not ended.</summary>
    /// <exception cref="NolaException">It cannot be read, or is of other settings than the manifest now gives.</exception>
    public static SweepRecord? Read(SweepRun run)
    {
        if (!File.Exists(run.ResultFile)) return null;
        SweepRecord? record;
        try
        {
            using JsonDocument document = JsonInput.Read(run.ResultFile);
            record = document.Deserialize<SweepRecord>(RunRecord.Format);
        }
        catch (JsonException error)
        {
            throw new NolaException(
                $"{run.ResultFile}: not a result of a sweep ({JsonInput.Reason(error)}); remove it to run again.", error);
        }
        if (record is not { Status: TrainInfo.Success or TrainInfo.Failed })
            throw new NolaException($"{run.ResultFile}: not a result of a sweep; remove it to run again.");
        return record.Config == run.Digest ? record
            : throw new NolaException(
                $"{run.Place}: {Quoted.Of(run.Name)} was run with other settings than the manifest now gives; name it anew, or remove "
                + $"{run.Config.Out} to run it again.");
    }

    /// <summary>Writes the record, whole or not at all.</summary>
    /// <exception cref="NolaException">It cannot be written.</exception>
    public void Write(string path)
    {
        AtomicFile.EnsureDirectory(Path.GetDirectoryName(path)!);
        AtomicFile.Write(path, stream =>
        {
            JsonSerializer.Serialize(stream, this, RunRecord.Format);
            stream.WriteByte((byte)'\n');
        });
    }
}
