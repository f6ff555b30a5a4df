using System.Runtime.Intrinsics;

namespace Nola.Tensors;

/// <summary>What was found out about a device that <see cref="Device.Open"/> could be given.</summary>
/// <param name="Name">For example <c>cuda:0</c>.</param>
/// <param name="Description">What it is: model, memory, compute capability; null when there is none.</param>
/// <param name="Works">Whether it was opened and passed its self-test.</param>
/// <param name="Detail">What was tried, and why it was refused if it was.</param>
public sealed record DeviceInfo(string Name, string? Description, bool Works, string Detail)
{
    /// <summary>
    /// The CPU and every GPU that the NVIDIA driver lists, each opened and tested;
    /// a line with the reason when it lists none.
    /// </summary>
    public static IReadOnlyList<DeviceInfo> List()
    {
        int width = Vector512.IsHardwareAccelerated ? 512 : Vector256.IsHardwareAccelerated ? 256 : 128;
        double gibibytes = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 1073741824.0;
        string cpu = $"{Environment.ProcessorCount} cores, {width}-bit vectors, {gibibytes:F1} GiB";
        List<DeviceInfo> devices = [new("cpu", cpu, true, "always there")];
        CudaFindings found = CudaDriver.Look();
        string driver = found.Version is { } version ? $"driver for CUDA {version}" : "driver of unknown version";
        if (found.Problem is { } problem) devices.Add(new("cuda", null, false, found.HasDriver ? $"{driver}; {problem}" : problem));
        foreach (CudaCard card in found.Cards) devices.Add(Try(card, found.Version, driver));
        return devices;
    }

    private static DeviceInfo Try(CudaCard card, string? version, string driver)
    {
        try
        {
            using GpuDevice device = CudaDevices.Open(card, version);
            return new(
                $"cuda:{card.Index}", card.Description, true,
                $"{driver}; self-test passed{string.Concat(device.Remarks.Select(r => $", but {r}"))}; {device.Graphs}");
        }
        catch (NolaException error)
        {
            return new($"cuda:{card.Index}", card.Description, false, $"{driver}; {error.Message}");
        }
    }
}
