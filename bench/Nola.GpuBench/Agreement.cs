using System.Globalization;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;

namespace Nola.GpuBench;

/// <summary>
/// Whether training comes to the same end:
/// what <c>nola train</c> does by default, on the device and on the CPU in float32.
/// </summary>
internal static class Agreement
{
    /// <summary>Steps of the default job.</summary>
    public const int Steps = TrainConfig.StepsForEmbedded;

    /// <summary>Rows and the bar.</summary>
    public static void Run(string device, int steps, Report report, Bars bars)
    {
        report.Table($"nola-tiny with NOLA on E2E, {steps} steps", "device", "validation loss", "time");
        double own = Loss(device, steps, report), cpu = Loss("cpu", steps, report);
        report.Line("");
        bars.Measure("training", 100 * Math.Abs(own / cpu - 1), $"{own:F4} against {cpu:F4}");
    }

    private static double Loss(string name, int steps, Report report)
    {
        Settings settings = new(TrainConfig.Keys);
        settings.Set("max-steps", steps.ToString(CultureInfo.InvariantCulture), "--train-steps");
        TrainConfig config = TrainConfig.From(settings);
        using Device device = Device.Open(name);
        using LanguageModel model = LanguageModel.Load(config.Model, device, format: config.Storage);
        using TrainableAdapter adapter = config.NewAdapter(model)!;
        TrainData data = TrainData.Read(config, model);
        TrainResult result = new Trainer(model, adapter, config.Options).Run(data.Training, data.Validation);
        report.Row(
            new
            {
                kind = "training",
                name,
                device = device.Description,
                steps = result.Steps,
                loss = result.LastLoss,
                seconds = result.Elapsed.TotalSeconds,
            },
            device.Description, $"{result.LastLoss:F4}", $"{result.Elapsed.TotalSeconds:F1} s");
        return result.LastLoss;
    }
}
