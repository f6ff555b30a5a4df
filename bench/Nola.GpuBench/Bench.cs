using Nola.Tensors;

namespace Nola.GpuBench;

/// <summary>A device, what is measured on it, and where results go.</summary>
/// <param name="Device">What runs.</param>
/// <param name="Precision">How its products round.</param>
/// <param name="Work">Sizes.</param>
/// <param name="Report">Rows.</param>
/// <param name="Bars">Bars.</param>
internal sealed record Bench(Device Device, Precision Precision, Workload Work, Report Report, Bars Bars)
{
    /// <summary>Times a kernel and puts it into the table.</summary>
    /// <param name="name">The peer's row of the same name is compared.</param>
    /// <param name="run">One call.</param>
    /// <param name="work">Operations, bytes or entries of a call.</param>
    /// <param name="unit">Of the rate, in the units of <paramref name="work"/>.</param>
    /// <param name="rate">The unit's name.</param>
    /// <returns>The rate, in the units of <paramref name="work"/> a second.</returns>
    public double Time(string name, Action run, double work, double unit, string rate)
    {
        double seconds = Timing.Seconds(Device, run);
        Report.Row(
            new
            {
                kind = "kernel",
                name,
                precision = Name(Precision),
                device = Device.Description,
                seconds,
                rate = work / seconds / unit,
                unit = rate,
            },
            name, $"{1e6 * seconds:F0} µs", $"{work / seconds / unit:F1} {rate}");
        return work / seconds;
    }

    /// <summary>Kernels that were queued one by one by one call, and how often the host waited; both 0 on the CPU.</summary>
    public (long Launches, long Waits) Count(Action run)
    {
        if (Device is not GpuDevice gpu) return (0, 0);
        (long launches, long waits) = (gpu.Launches, gpu.Waits);
        run();
        return (gpu.Launches - launches, gpu.Waits - waits);
    }

    /// <summary>A precision as it stands in rows and setting.</summary>
    public static string Name(Precision precision) => precision.ToString().ToLowerInvariant();

    /// <summary>Uniform numbers in [−1, 1): zeros would let a card run at a higher clock.</summary>
    public static Tensor Noise(Device device, Shape shape, ulong seed = 1)
    {
        RandomBasis basis = new(seed, 0, 0, 1, shape.Rows, shape.Columns, BasisEntries.Uniform);
        Tensor tensor = device.Empty(shape);
        using Tensor one = device.From([1f], [1, 1]);
        device.BasisMix(basis, one, tensor);
        return tensor;
    }
}
