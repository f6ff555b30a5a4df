using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Bench;

/// <summary>Seconds of each repetition.</summary>
internal sealed class Timing(double[] seconds)
{
    private readonly double[] seconds = seconds;

    public double Median => MedianOf(seconds);

    public double Fastest => seconds.Min();

    public double Slowest => seconds.Max();

    /// <summary>The repetitions of both.</summary>
    public Timing And(Timing more) => new([.. seconds, .. more.seconds]);

    /// <summary>Each divided by a number.</summary>
    public Timing Per(double count) => new([.. seconds.Select(s => s / count)]);

    /// <summary>
    /// How much longer this took than the other, repetition by repetition, the median: both were timed in turn, so what the
    /// machine did meanwhile met both.
    /// </summary>
    public double Over(Timing other) => MedianOf(Ratios(other));

    /// <summary>Half the distance between the quartiles of <see cref="Over"/>'s ratios.</summary>
    public double SpreadOver(Timing other)
    {
        double[] sorted = [.. Ratios(other).Order()];
        return (sorted[3 * (sorted.Length - 1) / 4] - sorted[(sorted.Length - 1) / 4]) / 2;
    }

    private double[] Ratios(Timing other) => [.. seconds.Zip(other.seconds, (s, o) => s / o)];

    private static double MedianOf(double[] values) => values.Order().ElementAt(values.Length / 2);
}

/// <summary>The multiply-add loop that was timed between other work: the seconds that it took for one floating-point operation.</summary>
internal sealed record Peak(Timing Operation)
{
    /// <summary>FLOP/s.</summary>
    public double Rate => 1 / Operation.Median;

    /// <summary>Work of this many operations as a share of what the loop does in its time.</summary>
    public double Share(Timing time, double flop) => flop / time.Over(Operation);

    /// <summary>How far the share goes up and down from repetition to repetition: half the distance between its quartiles.</summary>
    public double Spread(Timing time, double flop) => Share(time, flop) * time.SpreadOver(Operation) / time.Over(Operation);
}

/// <summary>A figure with the least (or most) that it should be.</summary>
internal sealed record Bar(string Work, double Value, double Limit, bool AtLeast, string Unit, string Note)
{
    public bool Passed => AtLeast ? Value >= Limit : Value <= Limit;
}

/// <summary>One run: the machine's limits, the report as it grows, and the bars.</summary>
internal sealed class Bench : IDisposable
{
    private readonly StringBuilder report = new();
    private readonly List<Bar> bars = [];
    private readonly List<object> records = [];
    private readonly List<double> peaks = [], bandwidths = [];

    public Bench(int threads, string size, int tokens, int repeats, bool quiet = false)
    {
        Device = new CpuDevice(threads);
        Size = size;
        Config = Gpt2Config.ByName(size)
            ?? throw new NolaException($"--size is '{size}'; expected gpt2, gpt2-medium, gpt2-large or gpt2-xl.");
        (Tokens, Repeats) = (tokens, repeats);
        if (quiet) return;
        Line($"# Nola on {Processor()}");
        Line();
        Line(
            $"{DateTime.UtcNow:yyyy-MM-dd}, {Device.Description}, .NET {Environment.Version}, "
            + $"{RuntimeInformation.OSDescription}, Nola {Commit()}. "
            + $"Medians of {repeats}. Verified against references before anything is timed.");
    }

    public CpuDevice Device { get; }

    public string Size { get; }

    public Gpt2Config Config { get; }

    public int Tokens { get; }

    /// <summary>Timed repetitions of whatever asks for no other number.</summary>
    public int Repeats { get; }

    public bool AllPassed => bars.TrueForAll(b => b.Passed);

    /// <summary>
    /// Times actions in turn with the multiply-add loop among them: a shared machine gives now more, now less, and a
    /// share of the peak means something only if both were measured together.
    /// </summary>
    /// <returns>The timings, and the loop's.</returns>
    public (Timing[] Times, Peak Peak) TimeWithPeak(Action[] actions, int warmup = 2, int? repeats = null)
    {
        // The loop runs for about as long as the actions do on average, so that it meets the same machine.
        double average = Time(actions, warmup, 1).Average(t => t.Median), flop = Limits.MultiplyAdds(Device.Team);
        int loops = Math.Clamp((int)(average / Time([() => Limits.MultiplyAdds(Device.Team)], 0, 1)[0].Median), 1, 100);
        Timing[] times = Time([.. actions, AtPeak], 0, repeats ?? Repeats);
        Peak peak = new(times[^1].Per(loops * flop));
        peaks.Add(peak.Rate);
        return (times[..^1], peak);

        void AtPeak()
        {
            for (int i = 0; i < loops; i++) Limits.MultiplyAdds(Device.Team);
        }
    }

    /// <summary>Times actions in turn with a loop that reads memory among them.</summary>
    /// <returns>The timings, and the seconds that the loop took for a byte.</returns>
    public (Timing[] Times, Timing Byte) TimeWithReading(Action[] actions, int warmup = 2, int? repeats = null)
    {
        using ReadLoop loop = new(Device.Team);
        Timing[] times = Time([.. actions, loop.Run], warmup, repeats ?? Repeats);
        Timing read = times[^1].Per(ReadLoop.Bytes);
        bandwidths.Add(1 / read.Median);
        return (times[..^1], read);
    }

    public void Line(string text = "")
    {
        Console.WriteLine(text);
        report.AppendLine(text);
    }

    public void Section(string title, params string[] columns)
    {
        Line();
        Line($"## {title}");
        Line();
        if (columns.Length == 0) return;
        Line("| " + string.Join(" | ", columns) + " |");
        Line("|" + string.Concat(columns.Select(_ => "---|")));
    }

    public void Row(params string[] cells)
    {
        Line("| " + string.Join(" | ", cells) + " |");
        records.Add(cells);
    }

    public void AtLeast(string work, double value, double limit, string unit, string note = "") =>
        bars.Add(new(work, value, limit, true, unit, note));

    public void AtMost(string work, double value, double limit, string unit, string note = "") =>
        bars.Add(new(work, value, limit, false, unit, note));

    public Timing Time(Action action, int warmup = 2) => Time([action], warmup)[0];

    /// <summary>Times actions in turn, so that what the machine does meanwhile meets all of them alike.</summary>
    public Timing[] Time(Action[] actions, int warmup = 2) => Time(actions, warmup, Repeats);

    private static Timing[] Time(Action[] actions, int warmup, int repeats)
    {
        // So often that the runtime has compiled what short actions call as it does in the long run.
        Stopwatch warm = Stopwatch.StartNew();
        for (int i = 0; i < warmup || (warmup > 0 && warm.Elapsed.TotalSeconds < 0.5); i++)
            foreach (Action action in actions)
                action();
        double[][] seconds = [.. actions.Select(_ => new double[repeats])];
        for (int r = 0; r < repeats; r++)
        {
            for (int a = 0; a < actions.Length; a++)
            {
                long start = Stopwatch.GetTimestamp();
                actions[a]();
                seconds[a][r] = Stopwatch.GetElapsedTime(start).TotalSeconds;
            }
        }
        return [.. seconds.Select(s => new Timing(s))];
    }

    public static void Require(bool condition, string what)
    {
        if (!condition) throw new InvalidOperationException($"Verification failed: {what}. Nothing is timed that is wrong.");
    }

    public static float[] Values(int count, int seed = 1, float size = 1)
    {
        Random random = new(seed);
        float[] values = new float[count];
        for (int i = 0; i < count; i++) values[i] = (random.NextSingle() - 0.5f) * size;
        return values;
    }

    /// <summary>The table of bars, and the files.</summary>
    public void Finish(string? path)
    {
        if (bars.Count > 0)
        {
            Section("Bars", "work", "measured", "bar", "");
            foreach (Bar b in bars)
                Row(
                    b.Work + (b.Note.Length > 0 ? $" ({b.Note})" : ""), $"{b.Value:0.###} {b.Unit}",
                    $"{(b.AtLeast ? "≥" : "≤")} {b.Limit:0.###} {b.Unit}", b.Passed ? "pass" : "**fail**");
        }
        if (path is null) return;
        Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
        File.WriteAllText(path + ".md", report.ToString());
        File.WriteAllText(path + ".json", JsonSerializer.Serialize(
            new
            {
                date = DateTime.UtcNow.ToString("yyyy-MM-dd"),
                machine = Processor(),
                device = Device.Description,
                runtime = Environment.Version.ToString(),
                commit = Commit(),
                peak_gflops = peaks.Select(p => Math.Round(p / 1e9, 1)),
                bandwidth_gbs = bandwidths.Select(b => Math.Round(b / 1e9, 1)),
                bars = bars.Select(b => new
                {
                    work = b.Work,
                    value = b.Value,
                    unit = b.Unit,
                    limit = b.Limit,
                    at_least = b.AtLeast,
                    passed = b.Passed,
                    note = b.Note,
                }),
                tables = records,
            },
            new JsonSerializerOptions
            {
                WriteIndented = true,
                Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
            }));
    }

    public void Dispose() => Device.Dispose();

    private static string Processor()
    {
        const string Info = "/proc/cpuinfo";
        string? name = File.Exists(Info)
            ? File.ReadLines(Info).FirstOrDefault(l => l.StartsWith("model name", StringComparison.Ordinal))
            : null;
        return name is null ? RuntimeInformation.ProcessArchitecture.ToString() : name[(name.IndexOf(':') + 1)..].Trim();
    }

    private static string Commit() => BuildVersion.Commit[..Math.Min(8, BuildVersion.Commit.Length)];
}
