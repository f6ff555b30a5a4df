using System.Globalization;
using System.Text;

namespace Nola.Fuzz;

/// <summary>Counts of one kind.</summary>
/// <param name="kind">Its name.</param>
internal sealed class KindCounts(string kind)
{
    /// <summary>Its name.</summary>
    public string Kind { get; } = kind;

    /// <summary>Inputs that were read.</summary>
    public long Accepted { get; private set; }

    /// <summary>Inputs that were refused in a sentence.</summary>
    public long Refused { get; private set; }

    /// <summary>Inputs with any other outcome.</summary>
    public long Failed { get; private set; }

    /// <summary>Time in all of them.</summary>
    public TimeSpan Elapsed { get; private set; }

    /// <summary>Time of the slowest.</summary>
    public TimeSpan Slowest { get; private set; }

    /// <summary>Most bytes that one took.</summary>
    public long MostBytes { get; private set; }

    /// <summary>All of them.</summary>
    public long Inputs => Accepted + Refused + Failed;

    /// <summary>Counts one.</summary>
    public void Add(Outcome outcome)
    {
        if (outcome.Failure is not null) Failed++;
        else if (outcome.Accepted) Accepted++;
        else Refused++;
        Elapsed += outcome.Elapsed;
        if (outcome.Elapsed > Slowest) Slowest = outcome.Elapsed;
        MostBytes = Math.Max(MostBytes, outcome.Bytes);
    }

    /// <summary>Of several threads together.</summary>
    public static KindCounts Sum(string kind, IEnumerable<KindCounts> parts)
    {
        KindCounts sum = new(kind);
        foreach (KindCounts part in parts)
        {
            sum.Accepted += part.Accepted;
            sum.Refused += part.Refused;
            sum.Failed += part.Failed;
            sum.Elapsed += part.Elapsed;
            if (part.Slowest > sum.Slowest) sum.Slowest = part.Slowest;
            sum.MostBytes = Math.Max(sum.MostBytes, part.MostBytes);
        }
        return sum;
    }
}

/// <summary>What a campaign found.</summary>
/// <param name="Options">What it did.</param>
/// <param name="Kinds">Counts of each kind.</param>
/// <param name="Failures">What was neither success nor a sentence.</param>
/// <param name="Elapsed">How long it took.</param>
/// <param name="Hung">Whether it ended early because an input ran for ever.</param>
internal sealed record CampaignReport(
    CampaignOptions Options, IReadOnlyList<KindCounts> Kinds, IReadOnlyList<Failure> Failures, TimeSpan Elapsed, bool Hung)
{
    /// <summary>All inputs.</summary>
    public long Inputs => Kinds.Sum(kind => kind.Inputs);

    /// <summary>A table in Markdown, as docs/reliability.md has it.</summary>
    public string ToMarkdown()
    {
        StringBuilder text = new();
        CultureInfo plain = CultureInfo.InvariantCulture;
        text.Append(plain, $"{Inputs:N0} inputs in {Elapsed.TotalHours:F2} hours on {Options.Threads} threads, seed {Options.Seed}; ");
        text.Append(plain, $"{Failures.Count:N0} failed.\n\n");
        text.Append("| kind | inputs | accepted | refused | failed | inputs/s | slowest, ms | most memory, MB |\n");
        text.Append("|---|---:|---:|---:|---:|---:|---:|---:|\n");
        foreach (KindCounts kind in Kinds) Row(kind, kind.Elapsed);
        Row(KindCounts.Sum("all", Kinds), Elapsed);
        return text.ToString();

        void Row(KindCounts k, TimeSpan time)
        {
            text.Append(
                plain, $"| {k.Kind} | {k.Inputs:N0} | {k.Accepted:N0} | {k.Refused:N0} | {k.Failed:N0} | {Rate(k.Inputs, time):N0} ");
            text.Append(plain, $"| {k.Slowest.TotalMilliseconds:N0} | {k.MostBytes / 1048576.0:N0} |\n");
        }
    }

    /// <summary>Alike failures, each with an example.</summary>
    public string Summary() => string.Concat(Failures.GroupBy(f => (f.Kind, f.What)).OrderByDescending(g => g.Count())
        .Select(g => $"{g.Count(),6:N0} × {g.Key.Kind}: {g.Key.What}\n         {g.First().Command}\n"));

    private static double Rate(long inputs, TimeSpan time) => time > TimeSpan.Zero ? inputs / time.TotalSeconds : 0;
}
