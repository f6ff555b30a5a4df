using System.Globalization;
using Nola.Tensors;

namespace Nola.GpuBench;

/// <summary>
/// Verifies every kernel of a GPU against the CPU, then times. <c>bench/gpu.sh</c> runs it; with <c>--device cpu</c> it
/// runs anywhere and compares the CPU with itself.
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
            bool exact;
            using (Device device = Device.Open(name == "cpu" ? name : name + ",float32")) exact = Verification.Run(device, Precision.Float32, report);
            using (Device device = Device.Open(name))
            {
                bool rounded = Verification.Run(device, name == "cpu" ? Precision.Float32 : Precision.BFloat16, report);
                Speed.Run(device, size, report);
                report.Write(output);
                Console.WriteLine($"Wrote {output}.md and {output}.json; {(exact && rounded ? "all kernels agree with the CPU" : "SOME KERNELS DISAGREE WITH THE CPU")}.");
                return exact && rounded ? 0 : 1;
            }
        }
        catch (NolaException error)
        {
            Console.Error.WriteLine($"nola-gpu-bench: {error.Message}");
            return 1;
        }
    }

    private static string Option(string[] args, string name, string fallback)
    {
        int at = Array.IndexOf(args, name);
        return at < 0 ? fallback : at + 1 < args.Length ? args[at + 1] : throw new NolaException($"{name} needs a value.");
    }
}
