using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

/// <summary>Training steps of a small model on a card, the emulator or the simulator, held to the simulator's and to the CPU's.</summary>
public sealed class GpuTrainingTests
{
    private const int Steps = 3;

    [Fact]
    public void Steps_lose_what_they_lose_in_the_simulator_and_on_the_CPU()
    {
        double[] expected = Losses(new CpuDevice(2)), simulated = Losses(TestGpu.Simulated());
        double[] losses = TestGpu.Name is null ? simulated : Losses(TestGpu.Open());
        Assert.Equal(Steps, losses.Length);
        for (int step = 0; step < Steps; step++)
        {
            // Sums of some hundred float32 numbers in another order, 2⁻²⁴ of them each time, through all layers, and what they
            // make of the weights.
            Assert.Equal(1, losses[step] / expected[step], 1e-5);
            // The same order; the last bits of powers of two and logarithms differ, and a driver may join a product and a sum.
            Assert.Equal(1, losses[step] / simulated[step], 5e-6);
        }
        Assert.True(losses[^1] < losses[0] - 0.005, $"{losses[0]}, {losses[^1]}");
    }

    private static double[] Losses(Device device)
    {
        using (device)
        {
            using LanguageModel model = TinyModels.Create(device);
            using TrainableAdapter adapter = model.NewAdapter(new NolaOptions { Rank = 4, Bases = 16, Targets = ["q", "v"], Seed = 7 });
            Observer seen = new();
            TrainOptions options = new() { BatchSize = 3, BatchTokens = 0, MaxSteps = Steps, WarmupSteps = 0, LearningRate = 0.01f };
            new Trainer(model, adapter, options, null, seen) { ReadEvery = 1 }.Run(
                TinyModels.Pairs(new Random(4), 3, model.Shape.Vocabulary, 8), []);
            return [.. seen.Losses];
        }
    }

    private sealed class Observer : ITrainObserver
    {
        public List<double> Losses { get; } = [];

        public void OnStep(StepReport report) => Losses.Add(report.Loss);
    }
}
