namespace Nola.GpuBench;

/// <summary>A figure with the least (or most) that it should be.</summary>
/// <param name="Number">Of the bar; a bar of two figures has two of these.</param>
/// <param name="Key">By which the peer finds it.</param>
/// <param name="Work">What was done.</param>
/// <param name="Limit">The least, or the most.</param>
/// <param name="AtLeast">Whether it is the least.</param>
/// <param name="Unit">Of value and limit.</param>
/// <param name="Missing">Why there is no value, while there is none.</param>
internal sealed record Bar(int Number, string Key, string Work, double Limit, bool AtLeast, string Unit, string Missing)
{
    /// <summary>What was measured.</summary>
    public double? Value { get; init; }

    /// <summary>What it was measured from.</summary>
    public string Note { get; init; } = "";

    /// <summary>Whether it is met; null when it was not measured.</summary>
    public bool? Passed => Value is not { } value ? null : AtLeast ? value >= Limit : value <= Limit;
}

/// <summary>
/// All bars, in order. Those that need PyTorch's side are put in by <c>peers/torch_gpt2.py</c>, which prints the same table
/// complete; the limits stand here alone.
/// </summary>
internal sealed class Bars
{
    private const string Torch = "no PyTorch", NotRun = "its part did not run";

    private readonly List<Bar> all;

    /// <summary>None of them measured.</summary>
    public Bars(Workload work, int trainSteps)
    {
        string model = work.Size, tokens = $"{work.Tokens:N0}", adapters = $"k = {Workload.Bases}, r = {Workload.Rank}";
        all =
        [
            new(1, "product-cube", $"bfloat16 product, {work.Tokens} × {work.Tokens} × {work.Tokens}", 60, true, "% of cuBLAS", Torch),
            new(1, "product-shapes", $"bfloat16 products of {model} at {tokens} rows, the least", 60, true, "% of cuBLAS", Torch),
            new(2, "attention", $"attention forward and backward, "
                + $"{work.Config.Heads} heads of {work.Config.Channels / work.Config.Heads}, "
                + $"{Workload.Sequences} sequences of {work.Length}", 60, true, "% of SDPA", Torch),
            new(
                3, "lora",
                $"E2E examples/s, {model}, LoRA on q and v, r = {Workload.Rank}, a stream of {tokens} tokens; against PyTorch's best",
                1, true, "times", Torch),
            new(4, "nola-shared", $"NOLA step ÷ LoRA step, {adapters}, shared basis", 1.01, false, "", NotRun),
            new(4, "nola-per-layer", $"NOLA step ÷ LoRA step, {adapters}, basis per layer", 1.06, false, "", NotRun),
            new(
                5, "published", $"E2E examples/s, {model}, NOLA with {adapters}; against the published way in PyTorch",
                10, true, "times", Torch),
            new(6, "basis", "entries of bases, generated and mixed", 1, true, "· 10¹²/s", NotRun),
            new(
                7, "first-step", $"start of the process to the end of the first step of {model}, nothing in the driver's cache",
                20, false, "s", NotRun),
            new(7, "second-start", "the same with the driver's cache", 5, false, "s", NotRun),
            new(8, "decode", $"decoding {model}, one prompt", 50, true, "% of the bandwidth's bound", NotRun),
            new(
                9, "training", $"validation loss of nola-tiny on E2E after {trainSteps} steps, this device against the CPU in float32",
                1, false, "% apart", NotRun),
        ];
    }

    /// <summary>All bars, in order.</summary>
    public IReadOnlyList<Bar> All => all;

    /// <summary>Puts in what was measured.</summary>
    public void Measure(string key, double value, string note = "") =>
        Change(
            key, bar => double.IsFinite(value) ? bar with { Value = value, Note = note } : bar with { Missing = $"came out as {value}" });

    /// <summary>Says why a bar was not measured.</summary>
    public void Skip(string key, string reason) => Change(key, bar => bar with { Missing = reason });

    /// <summary>The table: measured, bar, and whether it is met.</summary>
    public void Table(Report report)
    {
        report.Table("Bars", "", "work", "measured", "bar", "");
        foreach (Bar bar in all)
        {
            string unit = bar.Unit.Length > 0 ? " " + bar.Unit : "";
            string measured = bar.Value is { } value ? $"{value:0.###}{unit}" : $"not measured: {bar.Missing}";
            report.Cells(
                $"{bar.Number}", bar.Work + (bar.Note.Length > 0 ? $" ({bar.Note})" : ""),
                measured, $"{(bar.AtLeast ? "≥" : "≤")} {bar.Limit:0.###}{unit}",
                bar.Passed switch { true => "pass", false => "**fail**", _ => "" });
        }
        report.Line("");
    }

    private void Change(string key, Func<Bar, Bar> change)
    {
        int at = all.FindIndex(bar => bar.Key == key);
        if (at < 0)
            throw new ArgumentException($"Bars: there is no bar '{key}'; there are {string.Join(", ", all.Select(bar => bar.Key))}.");
        all[at] = change(all[at]);
    }
}
