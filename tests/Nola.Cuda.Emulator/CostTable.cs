using System.Globalization;
using System.Text;

namespace Nola.Cuda.Emulator;

/// <summary>
/// The launches of a step by kernel and sizes, and the least that an H100 (SXM) could take for each by its published peaks: bounds,
/// from counts; nothing here was timed.
/// </summary>
internal static class CostTable
{
    // In a second, as NVIDIA publishes them: operations in bfloat16 without sparsity and in float32, bytes of memory. Operations
    // in float32 are two for an instruction of a lane, so their peak is also that of instructions.
    private const double TensorPeak = 989e12, FloatPeak = 67e12, MemoryPeak = 3.35e12, InstructionPeak = FloatPeak / 2;

    // Operations of an mma.sync of 16 × 8 × 16, of which a lane has a 32nd.
    private const double OperationsOfLane = 2.0 * 16 * 8 * 16 / 32;

    // Rows that stand for less than this, in seconds, become one.
    private const double Small = 20e-6;

    /// <summary>The table in Markdown, largest bounds first, and its sums.</summary>
    public static string Of(IEnumerable<StepLaunch> launches)
    {
        IEnumerable<Row> groups = launches.GroupBy(l => (l.Kernel, l.Work)).Select(g => Row.Of(g.Key.Kernel, g.Key.Work, [.. g]));
        Row[] rows = [.. groups.OrderByDescending(r => r.Bound)];
        Row[] small = [.. rows.Where(r => r.Bound < Small)];
        StringBuilder text = new();
        text.AppendLine(
            "| kernel | work | launches | mma | of use | other | MB asked | MB | tensor cores | instructions | memory | of use |");
        text.AppendLine("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
        foreach (Row row in rows.Except(small)) text.AppendLine(row.ToString());
        if (small.Length > 0) text.AppendLine(Row.Sum("others", small).ToString());
        text.AppendLine(Row.Sum("all", rows).ToString());
        return text.ToString();
    }

    /// <summary>Launches that are alike, added up. Mma, Other: instructions of warps; the rest in bytes and seconds.</summary>
    private sealed record Row(
        string Kernel, string Work, int Launches, double Mma, double Useful, double Other, double Asked, double Bytes,
        double ByTensor, double ByInstructions, double ByMemory, double Bound, double Needed)
    {
        public static Row Of(string kernel, string work, StepLaunch[] launches)
        {
            double tensor = Sum(l => l.Counts[(int)Cost.Tensor]);
            double instructions = Sum(l => l.Counts[..(int)Cost.Loaded].Sum() - l.Counts[(int)Cost.Move]);
            double asked = Sum(l => l.Counts[(int)Cost.Loaded] + l.Counts[(int)Cost.Stored]);
            double bytes = Sum(l => l.Loaded + l.Stored);
            double onTensorCores = Sum(l => l.Needs.OnTensorCores), inFloat = Sum(l => l.Needs.InFloat32);
            double byTensor = tensor * OperationsOfLane / TensorPeak;
            double byInstructions = instructions / InstructionPeak, byMemory = bytes / MemoryPeak;
            double needed = Math.Max(Math.Max(onTensorCores / TensorPeak, inFloat / FloatPeak), byMemory);
            return new(
                kernel, work, launches.Length, tensor / 32,
                onTensorCores / OperationsOfLane / 32, (instructions - tensor) / 32, asked, bytes,
                byTensor, byInstructions, byMemory, Math.Max(Math.Max(byTensor, byInstructions), byMemory), needed);

            double Sum(Func<StepLaunch, double> what) => launches.Sum(what);
        }

        public static Row Sum(string name, Row[] rows)
        {
            return new(
                name, "", rows.Sum(r => r.Launches), Sum(r => r.Mma), Sum(r => r.Useful),
                Sum(r => r.Other), Sum(r => r.Asked), Sum(r => r.Bytes),
                Sum(r => r.ByTensor), Sum(r => r.ByInstructions), Sum(r => r.ByMemory), Sum(r => r.Bound), Sum(r => r.Needed));

            double Sum(Func<Row, double> what) => rows.Sum(what);
        }

        public override string ToString()
        {
            string mma = Mma == 0 ? "| " : string.Create(CultureInfo.InvariantCulture, $"{Mma / 1e6:F1} | {100 * Useful / Mma:F0} %");
            string counts = string.Create(CultureInfo.InvariantCulture, $"{Other / 1e6:F1} | {Asked / 1e6:F0} | {Bytes / 1e6:F0}");
            string bounds = $"{(Mma == 0 ? "" : Micro(ByTensor))} | {Micro(ByInstructions)} | {Micro(ByMemory)}";
            return string.Create(
                CultureInfo.InvariantCulture,
                $"| {Kernel} | {Work} | {Launches} | {mma} | {counts} | {bounds} | {100 * Needed / Bound:F0} % |");
        }

        private static string Micro(double seconds) => (1e6 * seconds).ToString("F0", CultureInfo.InvariantCulture);
    }
}
