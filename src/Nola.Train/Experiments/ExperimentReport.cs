using System.Globalization;
using System.Text;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>A mean over seeds with its spread.</summary>
/// <param name="Mean">Arithmetic.</param>
/// <param name="Deviation">Sample standard deviation (n − 1); 0 for one value.</param>
/// <param name="Count">Number of seeds.</param>
internal readonly record struct Spread(double Mean, double Deviation, int Count)
{
    /// <summary>Mean and deviation of some values; at least one.</summary>
    public static Spread Of(IReadOnlyCollection<double> values)
    {
        double mean = values.Average();
        double deviation = values.Count < 2 ? 0 : Math.Sqrt(values.Sum(v => (v - mean) * (v - mean)) / (values.Count - 1));
        return new(mean, deviation, values.Count);
    }

    /// <summary><c>mean ± deviation</c> with four significant digits of the mean; the mean alone for one value.</summary>
    public override string ToString()
    {
        int digits = Mean == 0 || !double.IsFinite(Mean) ? 3 : Math.Clamp(3 - (int)Math.Floor(Math.Log10(Math.Abs(Mean))), 0, 8);
        string format = "F" + digits.ToString(CultureInfo.InvariantCulture), mean = Mean.ToString(format, CultureInfo.InvariantCulture);
        return Count < 2 ? mean : $"{mean} ± {Deviation.ToString(format, CultureInfo.InvariantCulture)}";
    }
}

/// <summary>One line of the table: a method over its seeds.</summary>
/// <param name="Method">What was done.</param>
/// <param name="Records">Results of the seeds that are done; failed ones too.</param>
/// <param name="Scored">How many of them have every score, as it is measured now.</param>
/// <param name="Scores">By the value's name, over the seeds that have it.</param>
internal sealed record MethodSummary(
    ExperimentMethod Method, IReadOnlyList<RunRecord> Records, int Scored, IReadOnlyDictionary<string, Spread> Scores)
{
    /// <summary>Runs whose loss became infinite or no number.</summary>
    public int Failed => Records.Count(r => r.TrainInfo.Status == TrainInfo.Failed);

    /// <summary>Numbers that were trained; 0 for the base model.</summary>
    public long Trained => Records.Count == 0 ? 0 : Records[0].TrainInfo.NumTrainableParams;
}

/// <summary>The results of an experiment: <c>table.md</c> and <c>plot.svg</c>, mean ± standard deviation over seeds.</summary>
internal static class ExperimentReport
{
    /// <summary>Writes both files.</summary>
    /// <exception cref="NolaException">A file cannot be written.</exception>
    public static void Write(ExperimentFile file, IReadOnlyList<MethodSummary> methods, string root)
    {
        AtomicFile.WriteText(Path.Combine(root, "table.md"), Table(file, methods));
        string picture = Path.Combine(root, "plot.svg");
        if (ScorePlot.Draw(file.Plot, methods) is { } plot) AtomicFile.WriteText(picture, plot);
        else AtomicFile.Delete(picture);
    }

    /// <summary>
    /// The results of each method, in the order of the file. What was measured in another way than the others is left out, until it
    /// is measured anew.
    /// </summary>
    /// <param name="file">The experiment.</param>
    /// <param name="runs">All its runs.</param>
    /// <param name="settings">How each score is measured, by its name.</param>
    /// <exception cref="NolaException">A result cannot be read.</exception>
    public static IReadOnlyList<MethodSummary> Summarize(
        ExperimentFile file,
        IReadOnlyList<ExperimentRun> runs,
        IReadOnlyDictionary<string, string> settings) =>
        [.. file.Methods.Select(method =>
        {
            IEnumerable<RunRecord?> read = runs.Where(run => run.Method == method).Select(run => RunRecord.Read(run.ResultFile));
            RunRecord[] records = [.. read.OfType<RunRecord>()];
            Dictionary<string, Spread> scores = records
                .SelectMany(record => file.Scores
                    .Where(name => record.Has(name, settings[name]))
                    .SelectMany(name => record.Scores[name].Values))
                .GroupBy(value => value.Key, value => value.Value)
                .ToDictionary(group => group.Key, group => Spread.Of([.. group]));
            return new MethodSummary(method, records, records.Count(record => record.HasAll(settings)), scores);
        })];

    /// <summary>The table as Markdown.</summary>
    public static string Table(ExperimentFile file, IReadOnlyList<MethodSummary> methods)
    {
        string[] columns = [.. methods.SelectMany(m => m.Scores.Keys).Distinct()];
        string samples = file.Samples.Count > 0 ? $" and samples {string.Join(", ", file.Samples)}" : "";
        string subset = file.TestSubset == DataSubset.All ? "" : $" ({file.TestSubset.ToString().ToLowerInvariant()} categories)";
        string scoreColumns = string.Concat(columns.Select(c => $" {c} |"));
        string scoreRules = string.Concat(columns.Select(_ => "---|"));
        StringBuilder text = new();
        text.Append(
            CultureInfo.InvariantCulture,
            $"# {file.Name}\n\nScored on {file.Test}{subset}; "
            + $"mean ± sample standard deviation over seeds {string.Join(", ", file.Seeds)}{samples}.\n\n");
        text.Append(
            CultureInfo.InvariantCulture,
            $"| method | trained | file, KB |{scoreColumns} training, s | memory, MiB | runs |\n"
            + $"|---|---|---|{scoreRules}---|---|---|\n");
        foreach (MethodSummary m in methods)
        {
            RunRecord[] good = [.. m.Records.Where(r => r.TrainInfo.Status == TrainInfo.Success)];
            int waiting = good.Length - m.Scored;
            string runs = m.Scored.ToString(CultureInfo.InvariantCulture)
                + (m.Failed > 0 ? $", {m.Failed} failed" : "") + (waiting > 0 ? $", {waiting} not scored" : "");
            string scores = string.Concat(columns.Select(c => $" {(m.Scores.TryGetValue(c, out Spread s) ? s.ToString() : "")} |"));
            string trained = m.Records.Count > 0 ? m.Trained.ToString("N0", CultureInfo.InvariantCulture) : "";
            text.Append(
                CultureInfo.InvariantCulture,
                $"| {m.Method.Name} | {trained} | {Mean(good, "N1", r => r.TrainInfo.FileSize / 1024.0)} |{scores} "
                + $"{Mean(good, "N1", r => r.TrainInfo.TrainTime)} | "
                + $"{Mean(good, "N0", r => r.TrainInfo.MemoryMax / 1048576.0)} | {runs} |\n");
        }
        string[] devices = [.. methods.SelectMany(m => m.Records).Select(r => r.MetaInfo.Device).Distinct()];
        if (devices.Length > 1) text.Append($"\nThe runs are not all of one device: {string.Join("; ", devices)}.\n");
        return text.ToString();
    }

    private static string Mean(RunRecord[] records, string format, Func<RunRecord, double> value) =>
        records.Length == 0 ? "" : records.Average(value).ToString(format, CultureInfo.InvariantCulture);
}
