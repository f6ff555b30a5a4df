using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

/// <summary>After a run the model speaks with what was trained, and only an adapter that is on the model is trained.</summary>
public sealed class TrainedModelTests : IDisposable
{
    private static readonly TrainOptions options = new()
    {
        MaxSteps = 5,
        BatchTokens = 60,
        LearningRate = 0.05f,
        WarmupSteps = 0,
        Schedule = Schedule.Constant,
    };

    private readonly CpuDevice device = new(1);
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;
    private readonly EncodedPair[] pairs = TinyModels.Pairs(new Random(1), 40, 61);

    public void Dispose()
    {
        device.Dispose();
        Directory.Delete(directory, recursive: true);
    }

    [Theory]
    [InlineData("finished", false, 0)]
    [InlineData("finished", true, 4)]
    [InlineData("interrupted", false, 0)]
    [InlineData("interrupted", true, 0)]
    [InlineData("early", false, 0)]
    [InlineData("resumed", true, 0)]
    public void The_model_speaks_with_what_was_trained_last(string end, bool keeps, int bits)
    {
        using LanguageModel model = TinyModels.Create(device);
        using TrainableAdapter adapter = model.NewAdapter(new NolaOptions { Rank = 4, Bases = 20, Alpha = 16, QuantizeBits = bits });
        string path = Path.Combine(directory, "run"), saved = Path.Combine(directory, "saved.safetensors");
        if (keeps)
        {
            using RunDirectory run = new(path);
            Train(run);
        }
        else
        {
            Train(null);
        }
        if (end == "resumed")
        {
            using RunDirectory run = new(path, resume: true);
            new Trainer(model, adapter, options with { MaxSteps = 8 }, run).Run(pairs, [], resume: true);
        }
        float[] spoken = model.Logits([3, 1, 4, 1, 5], adapter);
        // What was trained, in a file, on a model that never saw the run.
        AdapterFile.Save(adapter, saved);
        using LanguageModel fresh = TinyModels.Create(device);
        float[] untrained = fresh.Logits([3, 1, 4, 1, 5]);
        using LoadedAdapter loaded = AdapterFile.Load(saved, fresh);
        Assert.Equal(fresh.Logits([3, 1, 4, 1, 5], loaded), spoken);
        Assert.NotEqual(untrained, spoken);
        // Without validation data the run's own file is of the same step.
        if (keeps) Assert.Equal(File.ReadAllBytes(saved), File.ReadAllBytes(Path.Combine(path, "adapter.safetensors")));

        void Train(RunDirectory? run)
        {
            using CancellationTokenSource stop = new();
            TrainOptions loop = end == "early" ? options with { EvalEvery = 1, Patience = 2, MaxSteps = 50, LearningRate = 5 } : options;
            Trainer trainer = new(model, adapter, loop, run, new StopAt(3, end == "interrupted" ? stop : null));
            EncodedPair[] held = end == "early" ? TinyModels.Pairs(new Random(9), 10, 61) : [];
            if (end == "interrupted") Assert.Throws<OperationCanceledException>(() => trainer.Run(pairs, held, cancel: stop.Token));
            else Assert.Same(trainer.Run(pairs, held, cancel: stop.Token), trainer.Result);
            TrainResult result = trainer.Result!;
            Assert.Equal(
                end switch { "interrupted" => TrainOutcome.Interrupted, "early" => TrainOutcome.StoppedEarly, _ => TrainOutcome.Finished },
                result.Outcome);
        }
    }

    [Fact]
    public void An_adapter_of_another_model_is_refused()
    {
        using LanguageModel model = TinyModels.Create(device), other = TinyModels.Create(device);
        using TrainableAdapter adapter = model.NewAdapter(new LoraOptions());
        Assert.Contains("the adapter is for another model", Assert.Throws<NolaException>(() => new Trainer(other, adapter)).Message);
        Assert.Equal(5, new Trainer(model, adapter, options).Run(pairs, []).Steps);
    }

    [Fact]
    public void A_last_step_that_makes_values_without_end_is_no_success()
    {
        using LanguageModel model = TinyModels.Create(device);
        using TrainableAdapter adapter = model.NewAdapter(new LoraOptions());
        using RunDirectory run = new(directory);
        Trainer trainer = new(model, adapter, options, run, new Poison(adapter, at: 5));
        string error = Assert.Throws<NolaException>(() => trainer.Run(pairs, [])).Message;
        Assert.Contains("trained values' squares is not a finite number at step 5", error);
        Assert.True(trainer.Diverged);
        Assert.False(File.Exists(run.LastState) || File.Exists(run.BestAdapter));
    }

    private sealed class StopAt(int step, CancellationTokenSource? stop) : ITrainObserver
    {
        public void OnStep(StepReport report)
        {
            if (report.Step == step) stop?.Cancel();
        }
    }

    private sealed class Poison(TrainableAdapter adapter, int at) : ITrainObserver
    {
        public void OnStep(StepReport report)
        {
            if (report.Step != at) return;
            adapter.Parameters[0].Value.Device.Fill(adapter.Parameters[0].Value, float.PositiveInfinity);
            adapter.Update();
        }
    }
}
