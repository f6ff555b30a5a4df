using FsCheck.Xunit;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

/// <summary>What is trained on several ranks, without MPI: here each is a thread with a device and a model of its own.</summary>
public sealed class RanksTests : IDisposable
{
    private static readonly TrainOptions options = new()
    {
        Epochs = 3,
        MaxSteps = 9,
        BatchTokens = 120,
        Accumulation = 2,
        Shards = 4,
        LearningRate = 0.02f,
        WarmupSteps = 3,
        EvalEvery = 3,
        EvalPairs = 0,
        CheckpointEvery = 4,
        LabelSmoothing = 0.1f,
        WeightDecay = 0.01f,
    };

    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;
    private readonly EncodedPair[] pairs = TinyModels.Pairs(new Random(1), 60, 61);

    public void Dispose() => Directory.Delete(directory, recursive: true);

    [Theory]
    [InlineData("nola")]
    [InlineData("paper")]
    [InlineData("lora")]
    [InlineData("full")]
    public void Any_number_of_ranks_and_threads_trains_the_same_bits(string method)
    {
        (float[] Trained, string[] Log) one = Train(method, 1, "1", threads: 3);
        foreach (int size in (int[])[2, 3, 4])
        {
            (float[] Trained, string[] Log) several = Train(method, size, $"{size}");
            Assert.Equal(one.Trained, several.Trained);
            Assert.Equal(one.Log, several.Log);
        }
        Assert.Equal(9, one.Log.Count(line => line.StartsWith("step", StringComparison.Ordinal)));
    }

    [Theory]
    [InlineData("nola")]
    [InlineData("full")]
    public void Shards_give_the_gradient_of_one_piece_up_to_rounding(string method)
    {
        float[] whole = Train(method, 1, "whole", options with { Shards = 1, MaxSteps = 1 }).Trained;
        float[] parts = Train(method, 1, "parts", options with { Shards = 5, MaxSteps = 1 }).Trained;
        Assert.NotEqual(whole, parts);
        for (int i = 0; i < whole.Length; i++) Assert.Equal(whole[i], parts[i], 2e-3);
    }

    [Theory]
    [InlineData("nola", 3, 2)]
    [InlineData("full", 2, 1)]
    [InlineData("lora", 1, 4)]
    public void A_run_goes_on_with_another_number_of_ranks_to_the_same_bits(string method, int before, int after)
    {
        float[] whole = Train(method, 1, "whole").Trained;
        string path = Path.Combine(directory, "parts");
        using CancellationTokenSource stop = new();
        // One rank alone hears of the signal; all stop after the same step.
        TrainResult[] results = ThreadRanks.Run(before, ranks => Interrupted(method, ranks, path, stop));
        Assert.All(results, result => Assert.Equal((TrainOutcome.Interrupted, 5), (result.Outcome, result.Steps)));
        float[][] parts = ThreadRanks.Run(after, ranks => Resumed(method, ranks, path));
        Assert.All(parts, part => Assert.Equal(whole, part));
    }

    [Fact]
    public void The_number_of_shards_is_recorded_with_the_run_and_in_the_adapter()
    {
        Train("nola", 2, "run");
        string path = Path.Combine(directory, "run");
        Assert.Equal("4", Metadata("run", "last.safetensors")["run.shards"]);
        Assert.Equal("4", Metadata("run", "adapter.safetensors")["shards"]);
        using CpuDevice device = new(1);
        using LanguageModel model = TinyModels.Create(device);
        using LoadedAdapter read = AdapterFile.Load(Path.Combine(path, "adapter.safetensors"), model);
        Train("nola", 1, "piece", options with { Shards = 1 });
        Assert.False(Metadata("piece", "adapter.safetensors").ContainsKey("shards"));
        Assert.False(Metadata("piece", "last.safetensors").ContainsKey("run.shards"));

        IReadOnlyDictionary<string, string> Metadata(string run, string name)
        {
            using Safetensors file = Safetensors.Open(Path.Combine(directory, run, name));
            return file.Metadata;
        }
    }

    [Fact]
    public void More_ranks_than_shards_are_refused()
    {
        AggregateException error = Assert.Throws<AggregateException>(() => Train("nola", 3, "run", options with { Shards = 2 }));
        Assert.All(error.InnerExceptions, one => Assert.StartsWith(
            "shards is 2 and there are 3 ranks, of which some would have nothing to do", Assert.IsType<NolaException>(one).Message));
    }

    [Fact]
    public void Ranks_with_other_data_or_settings_are_named_before_the_first_step()
    {
        AggregateException error = Assert.Throws<AggregateException>(() => ThreadRanks.Run(3, ranks =>
        {
            using CpuDevice device = new(1);
            using LanguageModel model = TinyModels.Create(device);
            using TrainableAdapter adapter = Attach(model, "nola")!;
            TrainOptions own = ranks.Rank == 2 ? options with { LearningRate = 0.01f } : options;
            return new Trainer(model, adapter, own) { Ranks = ranks }.Run(pairs, []);
        }));
        Assert.Equal(3, error.InnerExceptions.Count);
        Assert.All(error.InnerExceptions, one => Assert.Equal(
            "Rank 2 has another run than rank 0: lr was 0.02, is 0.01. Give all ranks the same settings, model and data.", one.Message));
    }

    [Fact]
    public void Divergence_and_an_early_stop_come_to_all_ranks_at_the_same_step()
    {
        TrainOptions early = options with { LearningRate = 1e-9f, ClipNorm = 0, Patience = 1, MaxSteps = 30, Epochs = 9, EvalEvery = 1 };
        TrainResult alone = Result(early, Alone.Instance);
        Assert.Equal(TrainOutcome.StoppedEarly, alone.Outcome);
        Assert.All(ThreadRanks.Run(2, ranks => Result(early, ranks)), one => Assert.Equal(
            alone with { Elapsed = default }, one with { Elapsed = default }));
        // What one rank makes of its part is no number.
        AggregateException error = Assert.Throws<AggregateException>(() =>
            ThreadRanks.Run(2, ranks => Result(options with { EvalEvery = 9 }, ranks, poisoned: ranks.Rank == 1)));
        Assert.Equal(2, error.InnerExceptions.Count);
        Assert.All(error.InnerExceptions, one => Assert.StartsWith("The loss is not a finite number at step 3. ", one.Message));
    }

    [Fact]
    public void A_loss_over_dealt_batches_is_that_of_one_process()
    {
        double one = Loss(Alone.Instance);
        foreach (int size in (int[])[2, 5]) Assert.All(ThreadRanks.Run(size, Loss), loss => Assert.Equal(one, loss));

        double Loss(ICollective ranks)
        {
            using CpuDevice device = new(1);
            using LanguageModel model = TinyModels.Create(device);
            EncodedPair[] many = [.. Enumerable.Repeat(pairs, 10).SelectMany(p => p)];
            return Evaluation.Loss(model, many, null, ranks, default).Loss;
        }
    }

    [Property(MaxTest = 20)]
    public void Work_is_dealt_once_and_comes_back_in_order(int seed)
    {
        Random r = new(seed);
        int count = r.Next(20), size = 1 + r.Next(5), done = 0;
        byte[][] expected = [.. Enumerable.Range(0, count).Select(i => Enumerable.Repeat((byte)i, i % 7).ToArray())];
        byte[][][] all = ThreadRanks.Run(size, ranks => ranks.Deal(count, Work, default));
        Assert.Equal(count, done);
        Assert.All(all, one => Assert.Equal(expected, one));
        Assert.All(ThreadRanks.Run(size, ranks => ranks.Gather($"rank {ranks.Rank}")), texts => Assert.Equal(
            Enumerable.Range(0, size).Select(rank => $"rank {rank}"), texts));
        Assert.All(ThreadRanks.Run(size, ranks => ranks.Share($"of {ranks.Rank}")), text => Assert.Equal("of 0", text));
        Assert.All(ThreadRanks.Run(size, ranks => ranks.Sum(ranks.Rank)), sum => Assert.Equal(size * (size - 1) / 2, sum));

        byte[] Work(int i)
        {
            Interlocked.Increment(ref done);
            return expected[i];
        }
    }

    [Fact]
    public void One_rank_that_is_canceled_ends_the_dealing_for_all()
    {
        AggregateException error = Assert.Throws<AggregateException>(() => ThreadRanks.Run(3, ranks =>
        {
            using CancellationTokenSource stop = new();
            if (ranks.Rank == 1) stop.Cancel();
            return ranks.Deal(9, _ => [], stop.Token);
        }));
        Assert.Equal(3, error.InnerExceptions.Count);
        Assert.All(error.InnerExceptions, one => Assert.IsAssignableFrom<OperationCanceledException>(one));
    }

    private static TrainableAdapter? Attach(LanguageModel model, string method) => method switch
    {
        "nola" => model.NewAdapter(new NolaOptions { Rank = 2, Bases = 20, Targets = ["q", "v"], QuantizeBits = 4 }),
        "paper" => model.NewAdapter(new NolaOptions { Rank = 2, Bases = 20, Variant = NolaVariant.Paper, PerLayer = true }),
        "lora" => model.NewAdapter(new LoraOptions { Rank = 2, Targets = ["q", "v"] }),
        _ => null,
    };

    private (float[] Trained, string[] Log) Train(string method, int size, string name, TrainOptions? settings = null, int threads = 1)
    {
        string path = Path.Combine(directory, name);
        float[][] trained = size == 1 ? [Work(Alone.Instance)] : ThreadRanks.Run(size, Work);
        Assert.All(trained, one => Assert.Equal(trained[0], one));
        return (trained[0], Losses(path));

        float[] Work(ICollective ranks)
        {
            using CpuDevice device = new(threads);
            using LanguageModel model = TinyModels.Create(device, method == "full");
            using TrainableAdapter? adapter = Attach(model, method);
            using RunDirectory? run = ranks.Rank == 0 ? new(path) : null;
            new Trainer(model, adapter, settings ?? options, run) { Ranks = ranks }.Run(pairs, pairs);
            return Values(model, adapter);
        }
    }

    private TrainResult Interrupted(string method, ICollective ranks, string path, CancellationTokenSource stop)
    {
        using CpuDevice device = new(1);
        using LanguageModel model = TinyModels.Create(device, method == "full");
        using TrainableAdapter? adapter = Attach(model, method);
        using RunDirectory? run = ranks.Rank == 0 ? new(path) : null;
        bool hears = ranks.Rank == ranks.Size - 1;
        Trainer trainer = new(model, adapter, options, run, hears ? [new StopAt(5, stop)] : []) { Ranks = ranks };
        Assert.Throws<OperationCanceledException>(() => trainer.Run(pairs, pairs, false, hears ? stop.Token : default));
        return trainer.Result!;
    }

    private float[] Resumed(string method, ICollective ranks, string path)
    {
        using CpuDevice device = new(1);
        using LanguageModel model = TinyModels.Create(device, method == "full");
        using TrainableAdapter? adapter = Attach(model, method);
        using RunDirectory? run = ranks.Rank == 0 ? new(path, resume: true) : null;
        new Trainer(model, adapter, options, run) { Ranks = ranks }.Run(pairs, pairs, resume: true);
        return Values(model, adapter);
    }

    private TrainResult Result(TrainOptions settings, ICollective ranks, bool poisoned = false)
    {
        using CpuDevice device = new(1);
        using LanguageModel model = TinyModels.Create(device);
        using TrainableAdapter adapter = Attach(model, "lora")!;
        ITrainObserver[] observers = poisoned ? [new Poison(adapter, 2)] : [];
        return new Trainer(model, adapter, settings, null, observers) { Ranks = ranks }.Run(pairs, pairs);
    }

    private static float[] Values(LanguageModel model, TrainableAdapter? adapter) =>
        [.. (adapter?.Parameters ?? [.. model.Parameters]).SelectMany(p => p.Value.ToArray())];

    private static string[] Losses(string path) => [.. File.ReadLines(Path.Combine(path, "log.jsonl")).Select(line =>
    {
        System.Text.Json.JsonElement root = System.Text.Json.JsonDocument.Parse(line).RootElement;
        return $"{root.GetProperty("event")} {root.GetProperty("step")} {root.GetProperty("loss")}";
    })];

    private sealed class Poison(TrainableAdapter adapter, int step) : ITrainObserver
    {
        public void OnStep(StepReport report)
        {
            if (report.Step != step) return;
            Tensor value = adapter.Parameters[0].Value;
            value.Device.Fill(value, float.NaN);
            adapter.Update();
        }
    }

    private sealed class StopAt(int step, CancellationTokenSource stop) : ITrainObserver
    {
        public void OnStep(StepReport report)
        {
            if (report.Step == step) stop.Cancel();
        }
    }
}
