using System.Globalization;
using System.Text;

namespace Nola.Cuda.Emulator;

/// <summary>
/// The launches of a step by kernel and sizes, with the least that an H100 (SXM) could take for each by its published peaks. They are
/// bounds, from counts; nothing here was timed.
/// </summary>
internal static class CostTable
{
    // Operations and bytes in a second, as NVIDIA publishes them: bfloat16 without sparsity, float32, memory. Operations of float32
    // are two for an instruction of a lane, so its peak is also how many instructions warps can begin.
    private const double TensorPeak = 989e12, FloatPeak = 67e12, MemoryPeak = 3.35e12, InstructionPeak = FloatPeak / 2;

    // Operations of an mma.sync of 16 × 8 × 16, of which a lane has a 32nd.
    private const double OperationsOfLane = 2.0 * 16 * 8 * 16 / 32;

    /// <summary>The table, and its sums.</summary>
    public static string Of(IEnumerable<StepLaunch> launches)
    {
        Row[] rows = [.. launches.GroupBy(l => (l.Kernel, l.Shape)).Select(g => Row.Of(g.Key.Kernel, g.Key.Shape, [.. g])).OrderByDescending(r => r.Issued)];
        StringBuilder text = new();
        text.AppendLine("| kernel | sizes | launches | mma, 10⁶ | useful | other instructions, 10⁶ | of them float | bytes asked, 10⁶ | at least | needed, µs | issued, µs | bound by | beyond, µs |");
        text.AppendLine("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|---:|");
        foreach (Row row in rows) text.AppendLine(row.ToString());
        text.AppendLine(CultureInfo.InvariantCulture, $"| all | | {rows.Sum(r => r.Launches)} | | | | | {rows.Sum(r => r.Asked) / 1e6:F0} | {rows.Sum(r => r.Bytes) / 1e6:F0} | {1e6 * rows.Sum(r => r.Needed):F0} | {1e6 * rows.Sum(r => r.Issued):F0} | | {1e6 * rows.Sum(r => r.Beyond):F0} |");
        return text.ToString();
    }

    /// <summary>Launches that are alike, added up; times in seconds.</summary>
    private sealed record Row(
        string Kernel, string Shape, int Launches, double Tensor, double Useful, double Other, double Float, double Asked, double Bytes, double Needed, double ByTensor, double ByInstructions, double ByMemory)
    {
        public double Issued => Math.Max(ByTensor, Math.Max(ByInstructions, ByMemory));

        public double Beyond => Issued - Needed;

        public static Row Of(string kernel, string shape, StepLaunch[] launches)
        {
            double tensor = Sum(l => l.Counts[(int)Cost.Tensor]), all = Sum(l => l.Counts[..(int)Cost.Loaded].Sum()), moves = Sum(l => l.Counts[(int)Cost.Move]);
            double bytes = Sum(l => l.Loaded + l.Stored), onTensorCores = Sum(l => l.Needs.OnTensorCores), inFloat = Sum(l => l.Needs.InFloat32);
            double needed = Math.Max(Math.Max(onTensorCores / TensorPeak, inFloat / FloatPeak), bytes / MemoryPeak);
            return new(kernel, shape, launches.Length, tensor / 32, tensor == 0 ? 0 : onTensorCores / (tensor * OperationsOfLane), (all - tensor - moves) / 32, Sum(l => l.Counts[(int)Cost.Float]) / 32,
                Sum(l => l.Counts[(int)Cost.Loaded] + l.Counts[(int)Cost.Stored]), bytes, needed, tensor * OperationsOfLane / TensorPeak, (all - moves) / InstructionPeak, bytes / MemoryPeak);

            double Sum(Func<StepLaunch, double> what) => launches.Sum(what);
        }

        public override string ToString()
        {
            string by = Issued == ByTensor ? "tensor cores" : Issued == ByInstructions ? "instructions" : "memory";
            string mma = Tensor == 0 ? "" : (Tensor / 1e6).ToString("F2", CultureInfo.InvariantCulture), useful = Tensor == 0 ? "" : Useful.ToString("P0", CultureInfo.InvariantCulture);
            return string.Create(CultureInfo.InvariantCulture,
                $"| {Kernel} | {Shape} | {Launches} | {mma} | {useful} | {Other / 1e6:F2} | {Float / 1e6:F2} | {Asked / 1e6:F1} | {Bytes / 1e6:F1} | {1e6 * Needed:F1} | {1e6 * Issued:F1} | {by} | {1e6 * Beyond:F1} |");
        }
    }
}
