using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

/// <summary>What a training step costs besides its kernels.</summary>
public sealed class GpuSteadyTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Steady_steps_neither_wait_nor_download_nor_take_memory_between_two_reads(bool whole)
    {
        GpuDevice gpu = TestGpu.Device;
        using LanguageModel model = TinyModels.Create(gpu, whole, layers: 1);
        using TrainableAdapter? adapter = whole
            ? null
            : model.NewAdapter(new NolaOptions { Rank = 2, Alpha = 2, Bases = 4, Targets = ["q"], Seed = 3, QuantizeBits = 4 });
        Random r = new(1);
        EncodedPair[] pairs = [.. Enumerable.Range(0, 8).Select(_ => new EncodedPair(TinyModels.Ids(r, 2, 61), TinyModels.Ids(r, 3, 61)))];
        Counts seen = new(gpu);
        TrainOptions options = new() { BatchSize = 1, BatchTokens = 0, MaxSteps = 7, WarmupSteps = 1 };
        new Trainer(model, adapter, options, null, seen) { ReadEvery = 3 }.Run(pairs, []);
        Assert.Equal([1, 2, 3, 4, 5, 6, 7], seen.Steps.Select(s => s.Step));
        Assert.All(seen.Steps, s => Assert.True(double.IsFinite(s.Loss) && s.Loss > 1));
        // One wait and one download a read; the observer is told of all its steps then.
        long waits = seen.Steps[0].Waits, downloads = seen.Steps[0].Downloads;
        Assert.Equal([0, 0, 0, 1, 1, 1, 2], seen.Steps.Select(s => s.Waits - waits));
        Assert.Equal([0, 0, 0, 1, 1, 1, 2], seen.Steps.Select(s => s.Downloads - downloads));
        Assert.Single(seen.Steps.Select(s => (s.Fresh, s.Reserved)).Distinct());
    }

    private sealed class Counts(GpuDevice gpu) : ITrainObserver
    {
        public List<(int Step, double Loss, long Waits, long Downloads, int Fresh, long Reserved)> Steps { get; } = [];

        public void OnStep(StepReport report) =>
            Steps.Add((report.Step, report.Loss, gpu.Waits, gpu.Downloads, gpu.Pool.FreshAllocations, gpu.ReservedBytes));
    }
}
