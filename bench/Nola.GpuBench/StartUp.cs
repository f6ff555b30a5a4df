using System.Diagnostics;
using System.Globalization;
using Nola.Models;
using Nola.Tensors;

namespace Nola.GpuBench;

/// <summary>
/// From the start of a process to the end of its first training step (opening the device, its self-test, reading and encoding
/// E2E, compiling kernels, one step with NOLA), less the time that random weights take to make, which a checkpoint would not.
/// Measured in two processes: the first finds nothing in the driver's cache of compiled kernels, the second what the first left.
/// </summary>
internal static class StartUp
{
    /// <summary>The hidden command of such a process.</summary>
    public const string Command = "first-step";

    /// <summary>Rows and bars.</summary>
    /// <exception cref="NolaException">A process failed.</exception>
    public static void Run(string device, Workload work, Report report, Bars bars)
    {
        string cache = Directory.CreateTempSubdirectory("nola-gpu-bench").FullName;
        try
        {
            report.Table("Start of the process to the end of the first step", "process", "time", "and to make random weights");
            (string, string)[] starts = [("first-step", "nothing in the driver's cache"), ("second-start", "with the driver's cache")];
            foreach ((string key, string name) in starts)
            {
                (double seconds, double weights) = Child(device, work, cache);
                report.Row(new { kind = "start", name, seconds, weights }, name, $"{seconds:F2} s", $"{weights:F2} s");
                bars.Measure(key, seconds, $"{weights:0.0} s for random weights left out");
            }
            report.Line("");
        }
        finally
        {
            Directory.Delete(cache, recursive: true);
        }
    }

    /// <summary>What the process does; it prints the seconds for random weights when the step has run.</summary>
    public static void FirstStep(string name, Workload work)
    {
        using Device device = Device.Open(name);
        // Kernels that put a weight in place are compiled before the weights' clock starts: they count.
        using (Tensor small = device.Zeros([1, 1])) device.Freeze(small, format: WeightFormat.BFloat16).Dispose();
        long start = Stopwatch.GetTimestamp();
        using LanguageModel model = LanguageModel.Create(work.Config, device, 1, trainable: false, WeightFormat.BFloat16);
        using (Tensor wait = device.Zeros([1])) _ = wait.Item();
        double weights = Stopwatch.GetElapsedTime(start).TotalSeconds;
        using TrainStep step = TrainStep.Nola(model, perLayer: false);
        step.Run(E2EExamples.Of(work.Tokens).Stream);
        _ = step.Loss;
        Console.WriteLine(weights.ToString(CultureInfo.InvariantCulture));
    }

    private static (double Seconds, double Weights) Child(string device, Workload work, string cache)
    {
        ProcessStartInfo info = new(Environment.ProcessPath!) { RedirectStandardOutput = true, RedirectStandardError = true };
        if (Path.GetFileNameWithoutExtension(Environment.ProcessPath) == "dotnet") info.ArgumentList.Add(typeof(StartUp).Assembly.Location);
        foreach (string argument in (string[])[Command, "--device", device, "--size", work.Size, "--tokens", $"{work.Tokens}"])
            info.ArgumentList.Add(argument);
        info.Environment["CUDA_CACHE_PATH"] = cache;
        info.Environment["CUDA_CACHE_DISABLE"] = "0";
        long start = Stopwatch.GetTimestamp();
        using Process process = Process.Start(info)!;
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string? line = process.StandardOutput.ReadLine();
        double all = Stopwatch.GetElapsedTime(start).TotalSeconds;
        process.WaitForExit();
        if (process.ExitCode != 0 || !double.TryParse(line, CultureInfo.InvariantCulture, out double weights))
            throw new NolaException($"a process for one step ended with {process.ExitCode}: {errors.Result.Trim()}");
        return (all - weights, weights);
    }
}
