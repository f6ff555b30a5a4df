using System.Globalization;

namespace Nola.Tensors;

/// <summary>What <see cref="DeviceInfo"/> leaves out of a card because it takes seconds: for a report of a problem.</summary>
internal static class CardCheck
{
    /// <summary>The file that the driver's library was loaded from; null when there is no driver.</summary>
    public static string? Library =>
        CudaDriver.TryLoad(out nint library) ? CudaDriver.FileOf(library) ?? "a file that the system does not name" : null;

    /// <summary>
    /// Opens a card as <see cref="Device.Open"/> would and tries what training and decoding use;
    /// what was tried, and what came of it.
    /// </summary>
    public static IReadOnlyList<(string Part, string Result)> Run(string name)
    {
        List<(string, string)> lines = [];
        try
        {
            using GpuDevice device = CudaDevices.Open(name);
            if (device.FirstKernel is { } first)
            {
                string took = first.Took.TotalMilliseconds.ToString("F0", CultureInfo.InvariantCulture);
                lines.Add(("compiler", $"{device.Ptx}; the first kernel, {first.Kernel}, took {took} ms"));
            }
            string memory = device.IsPageLocked
                ? "page-locked for copies"
                : "not page-locked: the system refuses it, and copies do not overlap with kernels";
            lines.Add(("memory", memory));
            lines.Add(("forward", Said(device.Remarks)));
            lines.Add(Try("backward", () => Said(SelfTest.RunBackward(device))));
            lines.Add(Try("decoding", () => Said(SelfTest.RunDecoding(device))));
            lines.Add(("graphs", device.Graphs));
        }
        catch (NolaException error)
        {
            lines.Add(("opening", error.Message));
            return lines;
        }
        lines.Add(Try("TF32", () =>
        {
            using GpuDevice device = CudaDevices.Open(name + ",tf32");
            return Said([.. device.Remarks, .. SelfTest.RunBackward(device)]);
        }));
        return lines;
    }

    private static string Said(IReadOnlyList<string> remarks) =>
        remarks.Count == 0 ? "passed" : "passed, but " + string.Join("; ", remarks);

    private static (string, string) Try(string part, Func<string> run)
    {
        try
        {
            return (part, run());
        }
        catch (NolaException error)
        {
            return (part, "failed: " + error.Message);
        }
    }
}
