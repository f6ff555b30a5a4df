using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

/// <summary>Training steps of the embedded model on a card or the emulator, in the simulator, and on the CPU.</summary>
public sealed class GpuTrainingTests
{
    private const int Steps = 2;

    [Fact]
    public void Steps_lose_what_they_lose_in_the_simulator_and_on_the_CPU()
    {
        // In float32: instructions of tensor cores are simulated so slowly that a step of this model would take half an hour.
        double[] expected = Losses(new CpuDevice(2)), simulated = Losses(TestGpu.Simulated()), losses = Losses(TestGpu.Open());
        for (int step = 0; step < Steps; step++)
        {
            // Sums of some hundred float32 numbers in another order, 2⁻²⁴ of them each time, through six layers.
            Assert.Equal(1, losses[step] / expected[step], 1e-5);
            // The same order; the last bits of powers of two and logarithms differ, and a driver may join a product and a sum.
            Assert.Equal(1, losses[step] / simulated[step], 5e-6);
        }
        Assert.True(losses[1] < losses[0] - 0.01, $"{losses[0]}, {losses[1]}");
    }

    // A simulated thread is thousands of times slower than a real one, so a sentence's beginning must do.
    private static double[] Losses(Device device)
    {
        using (device)
        {
            using LanguageModel model = LanguageModel.Load(LanguageModel.EmbeddedName, device);
            using TrainableAdapter adapter = model.NewAdapter(new NolaOptions { Rank = 4, Bases = 16, Targets = ["q", "v"], Seed = 7 });
            PairEncoder encoder = new(Gpt2Tokenizer.Default, 1024, Gpt2Tokenizer.GptVocabulary);
            EncodedPair pair = encoder.Encode([.. EmbeddedData.E2E("train").Take(1)])[0];
            Observer seen = new();
            TrainOptions options = new() { BatchSize = 1, BatchTokens = 0, MaxSteps = Steps, WarmupSteps = 0, LearningRate = 0.01f };
            new Trainer(model, adapter, options, null, seen) { ReadEvery = 1 }.Run([new(pair.Context[..5], pair.Completion[..4])], []);
            return [.. seen.Losses];
        }
    }

    private sealed class Observer : ITrainObserver
    {
        public List<double> Losses { get; } = [];

        public void OnStep(StepReport report) => Losses.Add(report.Loss);
    }
}
