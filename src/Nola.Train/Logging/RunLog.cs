using System.Text.Json;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// <c>log.jsonl</c>: one JSON object a line, <c>{"event":"step",…}</c> or <c>{"event":"eval",…}</c>, written as it happens;
/// and the same numbers for TensorBoard.
/// </summary>
public sealed class RunLog : ITrainObserver, IDisposable
{
    private readonly string path;
    private readonly TensorBoardWriter board;
    private StreamWriter? writer;

    internal RunLog(string directory)
    {
        path = Path.Combine(directory, "log.jsonl");
        board = new TensorBoardWriter(directory);
    }

    /// <inheritdoc/>
    public void OnStep(StepReport report)
    {
        Write(json =>
        {
            json.WriteString("event", "step");
            json.WriteNumber("step", report.Step);
            json.WriteNumber("epoch", Math.Round(report.Epoch, 4));
            json.WriteNumber("loss", report.Loss);
            json.WriteNumber("lr", report.LearningRate);
            json.WriteNumber("grad_norm", report.GradientNorm);
            json.WriteNumber("tokens", report.Tokens);
            json.WriteNumber("tokens_per_second", Math.Round(report.TokensPerSecond, 1));
            json.WriteNumber("elapsed", Math.Round(report.Elapsed.TotalSeconds, 3));
            json.WriteNumber("peak_bytes", report.PeakBytes);
        });
        board.Scalar("train/loss", report.Step, report.Loss);
        board.Scalar("train/learning_rate", report.Step, report.LearningRate);
        board.Scalar("train/gradient_norm", report.Step, report.GradientNorm);
    }

    /// <inheritdoc/>
    public void OnEvaluation(EvalReport report)
    {
        Write(json =>
        {
            json.WriteString("event", "eval");
            json.WriteNumber("step", report.Step);
            json.WriteNumber("loss", report.Loss);
            json.WriteNumber("tokens", report.Tokens);
            json.WriteBoolean("best", report.Best);
        });
        board.Scalar("valid/loss", report.Step, report.Loss);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        writer?.Dispose();
        board.Dispose();
    }

    /// <summary>Drops what a run wrote after the checkpoint that it is resumed from.</summary>
    internal void Resume(int step)
    {
        if (!File.Exists(path)) return;
        // A process that was killed may have left half a line at the end.
        string[] kept = [.. File.ReadLines(path).Where(line => Step(line) is int s && s <= step)];
        AtomicFile.WriteText(path, string.Concat(kept.Select(line => line + "\n")));
    }

    /// <summary>(step, loss) of training and of validation.</summary>
    internal (List<(int, double)> Training, List<(int, double)> Validation) Read()
    {
        writer?.Flush();
        List<(int, double)> training = [], validation = [];
        if (!File.Exists(path)) return (training, validation);
        using FileStream stream = new(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        using StreamReader reader = new(stream);
        while (reader.ReadLine() is { } line)
        {
            if (Step(line) is not int step) continue;
            using JsonDocument document = JsonDocument.Parse(line);
            List<(int, double)> list = document.RootElement.GetProperty("event").GetString() == "eval" ? validation : training;
            list.Add((step, document.RootElement.GetProperty("loss").GetDouble()));
        }
        return (training, validation);
    }

    /// <summary>The evaluations of a run's log, and the most memory that a step has seen.</summary>
    internal static (IReadOnlyList<EvalMetric> Evaluations, long PeakBytes) Summarise(string directory)
    {
        List<EvalMetric> evaluations = [];
        double? training = null;
        long peak = 0;
        foreach (string line in File.ReadLines(Path.Combine(directory, "log.jsonl")))
        {
            if (Step(line) is not int step) continue;
            using JsonDocument document = JsonDocument.Parse(line);
            double loss = document.RootElement.GetProperty("loss").GetDouble();
            if (document.RootElement.GetProperty("event").GetString() == "eval") evaluations.Add(new(step, loss, training));
            else (training, peak) = (loss, Math.Max(peak, document.RootElement.GetProperty("peak_bytes").GetInt64()));
        }
        return (evaluations, peak);
    }

    private static int? Step(string line)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(line);
            return document.RootElement.GetProperty("step").GetInt32();
        }
        catch (Exception error) when (error is JsonException or KeyNotFoundException or InvalidOperationException)
        {
            return null;
        }
    }

    private void Write(Action<Utf8JsonWriter> fields)
    {
        try
        {
            writer ??= new StreamWriter(path, append: true) { AutoFlush = true };
            using MemoryStream memory = new();
            using (Utf8JsonWriter json = new(memory))
            {
                json.WriteStartObject();
                fields(json);
                json.WriteEndObject();
            }
            writer.WriteLine(System.Text.Encoding.UTF8.GetString(memory.ToArray()));
        }
        catch (IOException error)
        {
            throw new NolaException(AtomicFile.Sentence(path, error), error);
        }
    }
}
