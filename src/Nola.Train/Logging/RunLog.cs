using System.Text.Json;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// <c>log.jsonl</c>: one JSON object a line, <c>{"event":"step",…}</c> or <c>{"event":"eval",…}</c>, written as it happens;
/// and the same numbers for TensorBoard. Lines that are none of these, such as the half of a line that a killed process left, are
/// passed over when it is read.
/// </summary>
internal sealed class RunLog : ITrainObserver, IDisposable
{
    // A line of ours has some 300 bytes; what is longer than this is passed over.
    private const int LongestLine = 1 << 16;

    private readonly string directory;
    private TensorBoardWriter board;
    private FileStream? stream;

    internal RunLog(string directory)
    {
        this.directory = directory;
        board = new TensorBoardWriter(directory);
    }

    internal string Path => PathIn(directory);

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
            if (double.IsFinite(report.Accuracy)) json.WriteNumber("accuracy", Math.Round(report.Accuracy, 5));
            if (report.Sources.Count > 0) WriteSources(json, report.Sources);
        });
        board.Scalar("valid/loss", report.Step, report.Loss);
        if (double.IsFinite(report.Accuracy)) board.Scalar("valid/accuracy", report.Step, report.Accuracy);
        foreach (SourceReport source in report.Sources.Where(source => double.IsFinite(source.Loss)))
            board.Scalar("valid/" + source.Name, report.Step, source.Loss);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        stream?.Dispose();
        board.Dispose();
    }

    /// <summary>Begins new files in a directory that was removed and made again.</summary>
    internal void Reopen()
    {
        Dispose();
        (stream, board) = (null, new TensorBoardWriter(directory));
    }

    /// <summary>Drops what a run wrote after the checkpoint that it is resumed from.</summary>
    internal void Resume(int step)
    {
        if (!File.Exists(Path)) return;
        AtomicFile.Write(Path, to =>
        {
            foreach (byte[] line in Lines(Path))
            {
                if (!(Entry.Of(line)?.Step <= step)) continue;
                to.Write(line);
                to.WriteByte((byte)'\n');
            }
        });
    }

    /// <summary>(step, loss) of training and of validation.</summary>
    internal (List<(int, double)> Training, List<(int, double)> Validation) Read()
    {
        List<(int, double)> training = [], validation = [];
        foreach (Entry entry in Entries(Path)) (entry.IsEvaluation ? validation : training).Add((entry.Step, entry.Loss));
        return (training, validation);
    }

    /// <summary>The evaluations of a run's log, and the most memory that a step has seen.</summary>
    internal static (IReadOnlyList<EvalMetric> Evaluations, long PeakBytes) Summarize(string directory)
    {
        List<EvalMetric> evaluations = [];
        double? training = null;
        long peak = 0;
        foreach (Entry entry in Entries(PathIn(directory)))
        {
            if (entry.IsEvaluation) evaluations.Add(new(entry.Step, entry.Loss, training));
            else (training, peak) = (entry.Loss, Math.Max(peak, entry.PeakBytes));
        }
        return (evaluations, peak);
    }

    /// <summary>The steps of a run's log: loss, tokens since the start, and the most memory until then.</summary>
    internal static IReadOnlyList<(double Loss, long Tokens, long PeakBytes)> Steps(string directory) =>
        [.. Entries(PathIn(directory)).Where(entry => !entry.IsEvaluation).Select(entry => (entry.Loss, entry.Tokens, entry.PeakBytes))];

    private static string PathIn(string directory) => System.IO.Path.Combine(directory, "log.jsonl");

    private static IEnumerable<Entry> Entries(string path) =>
        File.Exists(path) ? Lines(path).Select(line => Entry.Of(line)).OfType<Entry>() : [];

    // The lines as bytes, since half of one may be no text; without those that no run wrote by their length alone.
    private static IEnumerable<byte[]> Lines(string path)
    {
        using FileStream file = InputFile.Open(path);
        using BufferedStream bytes = new(file, 1 << 16);
        List<byte> line = [];
        bool tooLong = false;
        for (int b = bytes.ReadByte(); b >= 0; b = bytes.ReadByte())
        {
            if (b != '\n')
            {
                if (line.Count < LongestLine) line.Add((byte)b);
                else tooLong = true;
                continue;
            }
            if (!tooLong) yield return [.. line];
            line.Clear();
            tooLong = false;
        }
        if (line.Count > 0 && !tooLong) yield return [.. line];
    }

    private static void WriteSources(Utf8JsonWriter json, IReadOnlyList<SourceReport> sources)
    {
        json.WriteStartArray("sources");
        foreach (SourceReport source in sources)
        {
            json.WriteStartObject();
            json.WriteString("name", source.Name);
            json.WriteNumber("tokens", source.Tokens);
            json.WriteNumber("share", Math.Round(source.Share, 5));
            if (double.IsFinite(source.Loss)) json.WriteNumber("loss", Math.Round(source.Loss, 5));
            if (double.IsFinite(source.BitsPerByte)) json.WriteNumber("bits_per_byte", Math.Round(source.BitsPerByte, 5));
            json.WriteEndObject();
        }
        json.WriteEndArray();
    }

    private void Write(Action<Utf8JsonWriter> fields)
    {
        using MemoryStream line = new();
        using (Utf8JsonWriter json = new(line))
        {
            json.WriteStartObject();
            fields(json);
            json.WriteEndObject();
        }
        line.WriteByte((byte)'\n');
        try
        {
            // Nothing is kept back: what could not be written would be tried again, and fail again, when the file is closed.
            stream ??= new FileStream(Path, FileMode.Append, FileAccess.Write, FileShare.ReadWrite | FileShare.Delete, 0);
            stream.Write(line.ToArray());
        }
        catch (Exception error) when (AtomicFile.IsFailure(error))
        {
            throw new NolaException(AtomicFile.Sentence(Path, error), error);
        }
    }

    /// <summary>A line of the log.</summary>
    private readonly record struct Entry(bool IsEvaluation, int Step, double Loss, long Tokens, long PeakBytes)
    {
        /// <summary>What a line says; null when it is not a line of a log.</summary>
        public static Entry? Of(byte[] line)
        {
            try
            {
                using JsonDocument document = JsonInput.Parse(line, "log.jsonl");
                return Of(document.RootElement);
            }
            catch (NolaException)
            {
                return null;
            }
        }

        private static Entry? Of(JsonElement root)
        {
            if (root.ValueKind != JsonValueKind.Object) return null;
            if (Number(root, "step") is not { } step || !step.TryGetInt32(out int number) || number < 0) return null;
            if (Number(root, "loss") is not { } loss || !loss.TryGetDouble(out double value) || !double.IsFinite(value)) return null;
            if (!root.TryGetProperty("event", out JsonElement kind) || kind.ValueKind != JsonValueKind.String) return null;
            bool evaluation = kind.GetString() == "eval";
            if (!evaluation && kind.GetString() != "step") return null;
            return new(evaluation, number, value, Count(root, "tokens"), Count(root, "peak_bytes"));
        }

        private static long Count(JsonElement root, string key) =>
            Number(root, key) is { } value && value.TryGetInt64(out long count) ? count : 0;

        private static JsonElement? Number(JsonElement root, string key) =>
            root.TryGetProperty(key, out JsonElement value) && value.ValueKind == JsonValueKind.Number ? value : null;
    }
}
