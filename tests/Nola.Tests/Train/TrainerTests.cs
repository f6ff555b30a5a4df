using System.Text.Json;
using FsCheck.Xunit;
using Nola.Autograd;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

public sealed class TrainerTests : IDisposable
{
    private static readonly TrainOptions options = new()
    {
        Epochs = 3,
        BatchTokens = 60,
        LearningRate = 0.02f,
        WarmupSteps = 3,
        EvalEvery = 5,
        EvalPairs = 0,
        CheckpointEvery = 4,
        LabelSmoothing = 0.1f,
        WeightDecay = 0.01f,
    };

    private readonly CpuDevice device = new(2);
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;
    private readonly EncodedPair[] pairs = TinyModels.Pairs(new Random(1), 60, 61);

    public void Dispose()
    {
        device.Dispose();
        Directory.Delete(directory, recursive: true);
    }

    [Theory]
    [InlineData("nola")]
    [InlineData("lora")]
    [InlineData("full")]
    public void Training_lowers_the_loss_and_keeps_what_it_learned(string method)
    {
        // Something that can be learned: completions of five tokens out of the vocabulary's 61.
        EncodedPair[] pairs = [.. this.pairs.Select(p => p with { Completion = [.. p.Completion.Select(id => id % 5)] })];
        using LanguageModel model = TinyModels.Create(device, method == "full");
        using TrainableAdapter? adapter = Attach(model, method);
        using RunDirectory run = new(directory);
        TrainResult result = new Trainer(model, adapter, options with { Epochs = 12 }, run).Run(pairs, pairs);
        Assert.Equal(TrainOutcome.Finished, result.Outcome);
        Assert.True(result.LastLoss < result.FirstLoss - 0.1, $"{result.FirstLoss} → {result.LastLoss}");
        run.DrawLossCurve();
        Assert.Contains("<polyline", File.ReadAllText(Path.Combine(directory, "loss.svg")));
        Assert.Single(Directory.GetFiles(directory, "events.out.tfevents.*"));
        int steps = File.ReadLines(Path.Combine(directory, "log.jsonl")).Count(
            line => JsonDocument.Parse(line).RootElement.GetProperty("event").GetString() == "step");
        Assert.Equal(result.Steps, steps);

        using LanguageModel again = method == "full" ? LanguageModel.Load(run.BestModel, device) : TinyModels.Create(device);
        using LoadedAdapter? loaded = method == "full" ? null : AdapterFile.Load(run.BestAdapter, again);
        Assert.Equal(result.BestLoss, Evaluation.Loss(again, pairs, loaded).Loss, 1e-5);
    }

    [Property(MaxTest = 6)]
    public void Resumed_equals_uninterrupted_bit_for_bit(int seed)
    {
        Random r = new(seed);
        string method = r.Next(3) switch { 0 => "nola", 1 => "lora", _ => "full" };
        TrainOptions settings = options with { Accumulation = 1 + r.Next(3), Seed = (ulong)seed };
        // Not named by the seed: one may be drawn twice, and a directory that holds a run is refused.
        string name = Path.GetRandomFileName();
        float[] whole = Train(Path.Combine(directory, name + "a"), stopAfter: 0);
        float[] parts = Train(Path.Combine(directory, name + "b"), stopAfter: 1 + r.Next(8));
        Assert.Equal(whole, parts);
        Assert.Equal(Losses(name + "a"), Losses(name + "b"));

        float[] Train(string path, int stopAfter)
        {
            if (stopAfter > 0)
            {
                using CancellationTokenSource stop = new();
                using LanguageModel first = TinyModels.Create(device, method == "full");
                using TrainableAdapter? one = Attach(first, method);
                using RunDirectory start = new(path);
                Trainer trainer = new(first, one, settings, start, new StopAfter(stopAfter, stop));
                Assert.Throws<OperationCanceledException>(() => trainer.Run(pairs, pairs, false, stop.Token));
                Assert.Equal((TrainOutcome.Interrupted, stopAfter), (trainer.Result!.Outcome, trainer.Result.Steps));
            }
            using LanguageModel model = TinyModels.Create(device, method == "full");
            using TrainableAdapter? adapter = Attach(model, method);
            using RunDirectory run = new(path, resume: stopAfter > 0);
            new Trainer(model, adapter, settings, run).Run(pairs, pairs, stopAfter > 0);
            return [.. (adapter?.Parameters ?? [.. model.Parameters]).SelectMany(p => p.Value.ToArray())];
        }

        string[] Losses(string name) => [.. File.ReadLines(Path.Combine(directory, name, "log.jsonl")).Select(line =>
        {
            JsonElement root = JsonDocument.Parse(line).RootElement;
            return $"{root.GetProperty("event")} {root.GetProperty("step")} {root.GetProperty("loss")}";
        })];
    }

    [Fact]
    public void A_run_of_epochs_of_different_lengths_is_resumed_to_its_own_end()
    {
        // Windows of 1,024 sequences are packed by themselves, so that epochs have different numbers of batches.
        EncodedPair[] many = TinyModels.Pairs(new Random(5), 1030, 61);
        const int Budget = 80;
        ulong seed = (ulong)Enumerable.Range(0, 200).First(i => Count(i, 0) != Count(i, 1));
        int inTheSecond = Count((int)seed, 0) + 3;
        TrainOptions settings = options with { Epochs = 2, BatchTokens = Budget, EvalEvery = 0, Seed = seed };
        string whole = Path.Combine(directory, "whole"), parts = Path.Combine(directory, "parts");
        float[] expected = Train(whole, 0);
        using CancellationTokenSource stop = new();
        using (LanguageModel model = TinyModels.Create(device))
        using (TrainableAdapter adapter = Attach(model, "lora")!)
        using (RunDirectory run = new(parts))
            Assert.Throws<OperationCanceledException>(
                () => new Trainer(model, adapter, settings, run, new StopAfter(inTheSecond, stop)).Run(many, [], false, stop.Token));
        Assert.Equal(expected, Train(parts, inTheSecond));
        // What has ended stays so.
        Assert.Equal(expected, Train(parts, 1));

        int Count(int seed, int epoch) => new Batches(many, Budget, 0, (ulong)seed).Epoch(epoch).Count;

        float[] Train(string path, int resumed)
        {
            using LanguageModel model = TinyModels.Create(device);
            using TrainableAdapter adapter = Attach(model, "lora")!;
            using RunDirectory run = new(path, resume: resumed > 0);
            new Trainer(model, adapter, settings, run).Run(many, [], resumed > 0);
            return [.. adapter.Parameters.SelectMany(p => p.Value.ToArray())];
        }
    }

    [Fact]
    public void A_run_that_was_stopped_after_its_first_evaluation_has_not_waited_for_a_better_one()
    {
        // Patience of one: were the first evaluation, made again, one without a new best, the run would end at once.
        TrainOptions settings = options with { Patience = 1, Epochs = 1 };
        using CancellationTokenSource stop = new();
        using (LanguageModel model = TinyModels.Create(device))
        using (TrainableAdapter adapter = Attach(model, "nola")!)
        using (RunDirectory run = new(directory))
            Assert.Throws<OperationCanceledException>(
                () => new Trainer(model, adapter, settings, run, new StopAtEvaluation(stop)).Run(pairs, pairs, false, stop.Token));
        using LanguageModel again = TinyModels.Create(device);
        using TrainableAdapter resumed = Attach(again, "nola")!;
        using RunDirectory later = new(directory, resume: true);
        Assert.True(new Trainer(again, resumed, settings, later).Run(pairs, pairs, resume: true).Steps > 0);
        Assert.Single(
            File.ReadLines(Path.Combine(directory, "log.jsonl")),
            line => JsonDocument.Parse(line).RootElement.GetProperty("step").GetInt32() == 0);
    }

    [Theory]
    [InlineData(1.1, 11)]
    [InlineData(0.3, 3)]
    [InlineData(1.01, 11)]
    public void A_fraction_of_epochs_is_rounded_up_to_whole_steps(double epochs, int steps)
    {
        using LanguageModel model = TinyModels.Create(device);
        using TrainableAdapter adapter = Attach(model, "nola")!;
        TrainOptions settings = options with { Epochs = epochs, BatchTokens = 0, BatchSize = 6 };
        Assert.Equal(steps, new Trainer(model, adapter, settings).Run(pairs, []).Steps);
    }

    [Fact]
    public void One_thread_trains_the_same_bits_as_three()
    {
        float[][] trained = [.. ((int[])[1, 3]).Select(threads =>
        {
            using CpuDevice own = new(threads);
            using LanguageModel model = TinyModels.Create(own);
            using TrainableAdapter adapter = Attach(model, "nola")!;
            new Trainer(model, adapter, options).Run(pairs, []);
            return adapter.Parameters.SelectMany(p => p.Value.ToArray()).ToArray();
        })];
        Assert.Equal(trained[0], trained[1]);
    }

    [Property(MaxTest = 8)]
    public void Any_split_into_accumulated_batches_gives_the_same_gradient(int seed)
    {
        Random r = new(seed);
        using LanguageModel model = TinyModels.Create(device);
        using TrainableAdapter adapter = Attach(model, "nola")!;
        TinyModels.Randomize(adapter, r);
        EncodedPair[] few = TinyModels.Pairs(r, 12, 61);
        int total = TokenStreams.FromPairs(few).Targets.Length;
        float[] whole = Gradient([few]), split = Gradient([.. few.Chunk(1 + r.Next(5))]);
        double scale = whole.Max(Math.Abs);
        for (int i = 0; i < whole.Length; i++) Assert.Equal(whole[i], split[i], 1e-5 * scale);      // another order of summation

        float[] Gradient(EncodedPair[][] batches)
        {
            adapter.Update();
            foreach (EncodedPair[] batch in batches)
            {
                using StreamTensors tensors = new(device, TokenStreams.FromPairs(batch).With(adapter));
                using Tape tape = new(device);
                tape.Backward(model.Loss(tape, tensors, 0, 1f / total));
            }
            adapter.CollectGradients();
            float[] gradient = [.. adapter.Parameters.SelectMany(p => p.Gradient.ToArray())];
            foreach (Parameter p in adapter.Parameters) p.ClearGradient();
            return gradient;
        }
    }

    [Fact]
    public void A_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint()
    {
        using LanguageModel model = TinyModels.Create(device);
        using TrainableAdapter adapter = Attach(model, "nola")!;
        using RunDirectory run = new(directory);
        Poison poison = new(adapter, at: 6);
        NolaException error = Assert.Throws<NolaException>(() => new Trainer(model, adapter, options, run, poison).Run(pairs, pairs));
        Assert.Contains("not a finite number at step 7", error.Message);
        Assert.Contains("Lower the learning rate (now 0.02)", error.Message);
        Assert.Equal(["LearningRate", "WarmupSteps", "ClipNorm"], error.Options);
        Assert.Contains("is unchanged", error.Message);
        using Safetensors state = Safetensors.Open(run.LastState);
        Assert.Equal("5", state.Metadata["step"]);
        Assert.All(state.Entries, entry => Assert.All(Values(state, entry), v => Assert.True(float.IsFinite(v))));
    }

    [Fact]
    public void A_validation_loss_that_is_no_number_stops_too()
    {
        using LanguageModel model = TinyModels.Create(device);
        using TrainableAdapter adapter = Attach(model, "nola")!;
        using RunDirectory run = new(directory);
        // Step 5 is followed by an evaluation.
        Trainer trainer = new(model, adapter, options, run, new Poison(adapter, at: 5));
        Assert.Contains(
            "The validation loss is not a finite number at step 5", Assert.Throws<NolaException>(() => trainer.Run(pairs, pairs)).Message);
        Assert.True(trainer.Diverged);
        using Safetensors state = Safetensors.Open(run.LastState);
        Assert.Equal("4", state.Metadata["step"]);
    }

    [Fact]
    public void It_stops_early_when_the_loss_no_longer_falls()
    {
        using LanguageModel model = TinyModels.Create(device);
        using TrainableAdapter adapter = Attach(model, "lora")!;
        TrainResult result = new Trainer(model, adapter, options with { Epochs = 1000, EvalEvery = 3, Patience = 2, LearningRate = 5 }).Run(
            pairs, TinyModels.Pairs(new Random(99), 20, 61));
        Assert.Equal(TrainOutcome.StoppedEarly, result.Outcome);
        Assert.Equal(result.BestStep + 6, result.Steps);
    }

    [Fact]
    public void A_run_directory_is_not_overwritten_and_another_run_is_not_resumed()
    {
        using LanguageModel model = TinyModels.Create(device);
        using TrainableAdapter adapter = Attach(model, "nola")!;
        Assert.Contains("no last.safetensors", Assert.Throws<NolaException>(() => new RunDirectory(directory, resume: true)).Message);
        using (RunDirectory run = new(directory)) new Trainer(model, adapter, options with { MaxSteps = 3 }, run).Run(pairs, []);
        Assert.Contains("holds a run already; resume it", Assert.Throws<NolaException>(() => new RunDirectory(directory)).Message);
        using RunDirectory again = new(directory, resume: true);
        Assert.Contains(
            "other settings",
            Assert.Throws<NolaException>(
                () => new Trainer(model, adapter, options with { LearningRate = 1 }, again).Run(pairs, [], resume: true)).Message);
        File.WriteAllText(Path.Combine(directory, "file"), "");
        Assert.Contains(
            "cannot be written", Assert.Throws<NolaException>(() => new RunDirectory(Path.Combine(directory, "file", "below"))).Message);
    }

    [Fact]
    public void Nothing_to_train_is_said()
    {
        using LanguageModel model = TinyModels.Create(device);
        Assert.Contains("frozen", Assert.Throws<NolaException>(() => new Trainer(model)).Message);
        using TrainableAdapter adapter = Attach(model, "lora")!;
        Assert.Contains("empty", Assert.Throws<NolaException>(() => new Trainer(model, adapter).Run([], [])).Message);
    }

    [Fact]
    public void A_steady_loop_allocates_no_device_memory()
    {
        using LanguageModel model = TinyModels.Create(device);
        using TrainableAdapter adapter = Attach(model, "nola")!;
        Allocations seen = new(device);
        new Trainer(model, adapter, options with { Epochs = 20, EvalEvery = 10000 }, null, seen).Run(pairs, []);
        Assert.Equal(seen.Counts[^60], seen.Counts[^1]);
    }

    [Theory]
    [InlineData(Schedule.Constant, 1, 1, 1)]
    [InlineData(Schedule.Linear, 1, 0.5, 0.01)]
    [InlineData(Schedule.Cosine, 1, 0.55, 0.1)]
    public void Schedules_rise_and_fall(Schedule schedule, double top, double middle, double end)
    {
        TrainOptions o = new() { LearningRate = 1, WarmupSteps = 10, Schedule = schedule };
        Assert.Equal(0.1, LearningRate.At(0, 110, o), 1e-6);
        Assert.Equal(top, LearningRate.At(10, 110, o), 1e-6);
        Assert.Equal(middle, LearningRate.At(60, 110, o), 1e-6);
        Assert.Equal(end, LearningRate.At(109, 110, o), 1e-3);
    }

    [Theory]
    [InlineData("epochs", "0", "epochs is 0; expected above 0")]
    [InlineData("lr", "fast", "lr is 'fast'; expected a positive number")]
    [InlineData("lr", "-1", "lr is -1; expected above 0")]
    [InlineData(
        "method", "qlora",
        "method is 'qlora'; expected nola, lora, vera, lora-xs, uni-lora, beft, fourierft, ia3, vblora, randlora, lokr, bitfit, head "
        + "or full")]
    [InlineData("entries", "3", "entries is '3'; expected uniform, normal or sign")]
    [InlineData("sharing", "none", "sharing is 'none'")]
    [InlineData("batch-tokens", "0", "batch-tokens is 0; expected above 0 when batch-size is 0")]
    [InlineData("label-smoothing", "1", "label-smoothing is 1; expected 0 up to")]
    [InlineData("quantize-bits", "5", "quantize-bits is 5; expected 0, 8, 4, 3 or 2")]
    [InlineData("rnak", "3", "the key 'rnak' is not known; did you mean 'rank'?")]
    public void A_setting_that_cannot_be_names_its_key_and_range(string key, string value, string complaint)
    {
        string path = Path.Combine(directory, "config.json");
        File.WriteAllText(path, JsonSerializer.Serialize(new Dictionary<string, string> { [key] = value }));
        Settings settings = new(TrainConfig.Keys);
        NolaException error = Assert.Throws<NolaException>(() => { settings.ReadJson(path); TrainConfig.From(settings); });
        Assert.Contains(complaint, error.Message);
    }

    [Fact]
    public void A_configuration_written_makes_the_same_run()
    {
        Settings settings = new(TrainConfig.Keys);
        (string, string)[] given =
        [
            ("method", "lora"), ("rank", "3"), ("alpha", "7.5"), ("targets", "q,mlp.*"),
            ("lr", "0.007"), ("schedule", "cosine"), ("seed", "18446744073709551615"), ("out", "x"),
        ];
        foreach ((string key, string value) in given) settings.Set(key, value, "test");
        TrainConfig first = TrainConfig.From(settings);
        string path = Path.Combine(directory, "config.json");
        File.WriteAllText(path, first.ToJson());
        Settings again = new(TrainConfig.Keys);
        again.ReadJson(path);
        again.Set("out", "x", "test");
        TrainConfig second = TrainConfig.From(again);
        Assert.Equal(first.ToJson(), second.ToJson());
        Assert.Equal(first.Options, second.Options);
    }

    private static TrainableAdapter? Attach(LanguageModel model, string method) => method switch
    {
        "nola" => model.NewAdapter(new NolaOptions { Rank = 4, Bases = 60, Alpha = 16, Targets = ["*"] }),
        "lora" => model.NewAdapter(new LoraOptions { Rank = 4, Targets = ["q", "v", "wte", "lm_head"] }),
        _ => null,
    };

    private static float[] Values(Safetensors file, SafetensorsEntry entry)
    {
        float[] values = new float[entry.Length];
        file.ReadFloats(entry, values);
        return values;
    }

    private sealed class StopAfter(int step, CancellationTokenSource stop) : ITrainObserver
    {
        public void OnStep(StepReport report)
        {
            if (report.Step == step) stop.Cancel();
        }
    }

    private sealed class StopAtEvaluation(CancellationTokenSource stop) : ITrainObserver
    {
        public void OnStep(StepReport report) { }

        public void OnEvaluation(EvalReport report) => stop.Cancel();
    }

    private sealed class Poison(TrainableAdapter adapter, int at) : ITrainObserver
    {
        public void OnStep(StepReport report)
        {
            if (report.Step != at) return;
            adapter.Parameters[0].Value.Device.Fill(adapter.Parameters[0].Value, float.NaN);
            adapter.Update();
        }
    }

    private sealed class Allocations(CpuDevice device) : ITrainObserver
    {
        public List<int> Counts { get; } = [];

        public void OnStep(StepReport report) => Counts.Add(device.Pool.FreshAllocations);
    }
}
