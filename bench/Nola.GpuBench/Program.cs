using System.Globalization;
using Nola.Tensors;

namespace Nola.GpuBench;

/// <summary>
/// Verifies every kernel of a GPU against the CPU, then times. <c>bench/gpu.sh</c> runs it; with <c>--device cpu</c> it
/// runs anywhere and compares the CPU with itself. <c>--tiles</c> measures the table of tiles instead. It ends with 0 when
/// all kernels agree, with 1 when some do not, and with 2 when nothing could be measured.
/// </summary>
internal static class Program
{
    private static int Main(string[] args)
    {
        CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
        try
        {
            string name = Option(args, "--device", "cuda"), output = Option(args, "--out", "gpu-bench"), size = Option(args, "--size", "gpt2");
            Report report = new();
            foreach (DeviceInfo found in DeviceInfo.List()) report.Line($"{found.Name}: {found.Description}; {found.Detail}");
            if (args.Contains("--tiles")) return Tiles(name, output, report);
            bool agree = true;
            // The last is the one that trains.
            (string Suffix, Precision Precision)[] ways = name == "cpu" ? [("", Precision.Float32)] : [(",float32", Precision.Float32), (",tf32", Precision.Tf32), ("", Precision.BFloat16)];
            foreach ((string suffix, Precision precision) in ways)
            {
                using Device? device = Opened(name + suffix, precision, report);
                if (device is null) continue;
                agree &= Verification.Run(device, precision, report);
                if (precision == ways[^1].Precision) Speed.Run(device, size, report);
                else ProductSpeed.Run(device, size, report);
            }
            report.Write(output);
            Console.WriteLine($"Wrote {output}.md and {output}.json; {(agree ? "all kernels agree with the CPU" : "SOME KERNELS DISAGREE WITH THE CPU")}.");
            return agree ? 0 : 1;
        }
        catch (NolaException error)
        {
            Console.Error.WriteLine($"nola-gpu-bench: nothing was measured. {error.Message}");
            return 2;
        }
    }

    // Cards before compute capability 8.0 have no TF32, and all else.
    private static Device? Opened(string name, Precision precision, Report report)
    {
        try
        {
            return Device.Open(name);
        }
        catch (NolaException error) when (precision == Precision.Tf32)
        {
            report.Line(error.Message);
            return null;
        }
    }

    private static int Tiles(string name, string output, Report report)
    {
        using Device device = Device.Open(name);
        TileBench.Run(device, output, report);
        report.Write(output);
        Console.WriteLine($"Wrote {output}.md, {output}.json and {output}-tiles.json.");
        return 0;
    }

    private static string Option(string[] args, string name, string fallback)
    {
        int at = Array.IndexOf(args, name);
        return at < 0 ? fallback : at + 1 < args.Length ? args[at + 1] : throw new NolaException($"{name} needs a value.");
    }
}
