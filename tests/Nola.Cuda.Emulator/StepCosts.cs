using System.Globalization;
using Nola.Cuda.Emulator.Tests;
using Nola.GpuBench;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Cuda.Emulator;

/// <summary>A launch of a training step: what its kernel's PTX did, and what the work of it takes at the least.</summary>
/// <param name="Kernel">Its family and name.</param>
/// <param name="Work">What tells it from other launches of the kernel: the sizes of its work, or its blocks.</param>
/// <param name="Counts">By <see cref="Cost"/>, of single threads, for all blocks.</param>
/// <param name="Loaded">Bytes that memory gives at the least: each that was read, once.</param>
/// <param name="Stored">Bytes that memory takes at the least.</param>
/// <param name="Needs">The arithmetic of the work.</param>
internal sealed record StepLaunch(string Kernel, string Work, double[] Counts, double Loaded, double Stored, Arithmetic Needs);

/// <summary>
/// A training step as the bench times it, on the emulator: of each launch some blocks are executed, which stand for all of them,
/// and of launches with equal kernels, blocks and sizes one. What is computed is therefore nothing; what is counted is
/// what a card would be given to execute.
/// </summary>
internal static class StepCosts
{
    /// <summary>
    /// The launches of one step, in order.
    /// The first step, which makes copies of weights, comes before and does not count.
    /// </summary>
    /// <param name="work">The model and the tokens.</param>
    /// <param name="perLayer">Whether each layer has a basis of its own.</param>
    /// <param name="blocks">How many blocks of a launch are executed; more where they are short.</param>
    public static IReadOnlyList<StepLaunch> Of(Workload work, bool perLayer, int blocks)
    {
        string file = Path.GetTempFileName();
        Environment.SetEnvironmentVariable(GpuDevice.SeparateVariable, "1");
        try
        {
            _ = EmulatedDriver.Library;
            using GpuDevice device = (GpuDevice)Device.Open("cuda");
            // From here on nothing that is computed means anything.
            using IDisposable sampled = EmulatedDriver.With("SAMPLE", blocks.ToString(CultureInfo.InvariantCulture));
            using IDisposable enough = EmulatedDriver.With("ENOUGH", "100");
            using LanguageModel model = LanguageModel.Create(work.Config, device, 1, trainable: false, WeightFormat.BFloat16);
            using TrainStep step = TrainStep.Nola(model, perLayer);
            TokenStream stream = E2EExamples.Of(work.Tokens).Stream;
            step.Run(stream);
            _ = step.Loss;
            List<GpuDevice.QueuedKernel> queued = [];
            device.Tap = kernel =>
            {
                queued.Add(kernel);
                return false;
            };
            using IDisposable told = EmulatedDriver.With("LAUNCHES", file);
            step.Run(stream);
            _ = step.Loss;
            device.Tap = null;
            string[] lines = File.ReadAllLines(file);
            if (lines.Length != queued.Count)
                throw new InvalidOperationException($"{queued.Count} kernels were queued, and the driver ran {lines.Length}");
            return [.. queued.Zip(lines, (kernel, line) => Read(kernel, line, stream))];
        }
        finally
        {
            Environment.SetEnvironmentVariable(GpuDevice.SeparateVariable, null);
            File.Delete(file);
        }
    }

    private static StepLaunch Read(GpuDevice.QueuedKernel kernel, string line, TokenStream stream)
    {
        string[] fields = line.Split('\t');
        string name = KernelCache.NameOf(kernel.Kernel);
        if (fields[0] != name) throw new InvalidOperationException($"{name} was queued, and the driver ran {fields[0]}");
        double[] numbers = [.. fields[1..].Select(f => double.Parse(f, CultureInfo.InvariantCulture))];
        double ofEach = numbers[0] * numbers[1] * numbers[2] / numbers[4];
        double[] counts = [.. numbers[5..^2].Select(n => n * ofEach)];
        (string work, Arithmetic needs) = Arithmetic.Of(kernel, stream);
        return new(name, work, counts, numbers[^2], numbers[^1], needs);
    }
}
