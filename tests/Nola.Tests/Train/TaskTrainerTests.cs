using FsCheck.Xunit;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

/// <summary>Many tasks that are trained in one job.</summary>
public sealed class TaskTrainerTests : IDisposable
{
    private readonly CpuDevice device = new(2);
    private readonly string directory = Directory.CreateTempSubdirectory("nola-tasks").FullName;

    public void Dispose()
    {
        device.Dispose();
        Directory.Delete(directory, recursive: true);
    }

    [Property(MaxTest = 15)]
    public void A_task_gives_what_it_gives_alone_bit_for_bit_whatever_runs_beside_it(int seed)
    {
        Random r = new(seed);
        using LanguageModel model = TinyModels.Create(device);
        AdapterOptions method = Method(r);
        TrainOptions options = new()
        {
            MaxSteps = 3 + r.Next(6),
            Epochs = r.Next(2) == 0 ? null : 2,
            BatchTokens = 0,
            BatchSize = 1 + r.Next(4),
            Accumulation = 1 + r.Next(2),
            EvalEvery = 2,
            Patience = r.Next(3),
            WarmupSteps = 2,
            LearningRate = 0.05f,
            LabelSmoothing = r.Next(2) * 0.1f,
            CheckpointBlocks = r.Next(3) == 0,
        };
        TrainTask[] tasks = [.. Enumerable.Range(0, 1 + r.Next(6)).Select(i =>
        {
            EncodedPair[] training = TinyModels.Pairs(r, 1 + r.Next(12), 61), held = TinyModels.Pairs(r, r.Next(4), 61);
            return new TrainTask($"task {i}", () => (training, held));
        })];
        Dictionary<string, (float[] Values, TrainResult Result)> together = [];
        TaskTrainer trainer = new(model, method, options) { Together = 1 + r.Next(6), JointTokens = 1 + r.Next(200) };
        IReadOnlyList<TaskResult> results =
            trainer.Run(tasks, onEnd: (result, adapter) => together[result.Task.Name] = (Values(adapter!), result.Result!));
        Assert.Equal(tasks, results.Select(result => result.Task));
        foreach (TrainTask task in tasks)
        {
            (EncodedPair[] training, EncodedPair[] held) = task.Read();
            using TrainableAdapter adapter = model.NewAdapter(method);
            TrainResult alone = new Trainer(model, adapter, options).Run(training, held);
            Assert.Equal(Values(adapter), together[task.Name].Values);
            Assert.Equal(alone with { Elapsed = default }, together[task.Name].Result with { Elapsed = default });
        }
    }

    [Fact]
    public void Tasks_that_were_interrupted_go_on_bit_for_bit_and_one_that_fails_stops_no_other()
    {
        using LanguageModel model = TinyModels.Create(device);
        NolaOptions method = new() { Rank = 2, Bases = 8 };
        TrainOptions options = new() { Epochs = 3, BatchSize = 2, BatchTokens = 0, LearningRate = 0.05f };
        Random r = new(1);
        (EncodedPair[], EncodedPair[])[] data =
            [.. Enumerable.Range(0, 3).Select(_ => (TinyModels.Pairs(r, 7, 61), TinyModels.Pairs(r, 2, 61)))];
        using CancellationTokenSource stop = new();
        TrainTask[] whole = Tasks("whole", () => { }), cut = Tasks("cut", stop.Cancel), again = Tasks("cut", () => { });
        Assert.All(new TaskTrainer(model, method, options).Run(whole), Succeeded);
        // The second task cancels all when its data is read, before any step is done.
        TaskTrainer trainer = new(model, method, options) { Together = 2 };
        IReadOnlyList<TaskResult> interrupted = trainer.Run(cut, cancel: stop.Token);
        Assert.Contains(interrupted, result => result.Result?.Outcome == TrainOutcome.Interrupted);
        IReadOnlyList<TaskResult> resumed = trainer.Run(again, resume: true);
        Assert.All(resumed, Succeeded);
        for (int i = 0; i < 3; i++)
            Assert.Equal(File.ReadAllBytes(Best(whole[i])), File.ReadAllBytes(Best(again[i])));

        void Succeeded(TaskResult result)
        {
            if (result.Task.Name == "bad") Assert.Contains("nothing to read", result.Error!.Message);
            else Assert.Equal(TrainOutcome.Finished, result.Result!.Outcome);
        }

        string Best(TrainTask task) => Path.Combine(task.Directory!, "adapter.safetensors");

        TrainTask[] Tasks(string place, Action second) =>
        [
            .. data.Select((pairs, i) => new TrainTask($"t{i}", () =>
            {
                if (i == 1) second();
                return pairs;
            })
            { Directory = Path.Combine(directory, place, $"t{i}") }),
            new("bad", () => throw new NolaException("There is nothing to read.")) { Directory = Path.Combine(directory, place, "bad") },
        ];
    }

    [Fact]
    public void A_model_that_is_trained_itself_and_numbers_out_of_range_are_refused()
    {
        using LanguageModel trained = TinyModels.Create(device, trainable: true), model = TinyModels.Create(device);
        Assert.Contains("load it frozen", Assert.Throws<NolaException>(() => new TaskTrainer(trained, new NolaOptions())).Message);
        Assert.Throws<NolaException>(() => new TaskTrainer(model, new NolaOptions(), new() { LearningRate = -1 }));
        Assert.Throws<NolaException>(() => new TaskTrainer(model, new NolaOptions()) { Together = 0 });
        Assert.Throws<NolaException>(() => new TaskTrainer(model, new NolaOptions()) { JointTokens = 0 });
        Assert.Empty(new TaskTrainer(model, new NolaOptions()).Run([]));
    }

    private static AdapterOptions Method(Random r) => r.Next(5) switch
    {
        0 => new LoraOptions { Rank = 2, Targets = ["c_attn", "mlp.*", "wte", "lm_head"], Bias = LoraBias.All },
        1 => new VeraOptions { Rank = 3, Targets = ["v", "lm_head"] },
        2 => new NolaOptions { Rank = 2, Bases = 7, Targets = ["*", "wte", "lm_head"], PerLayer = true },
        3 => new NolaOptions { Rank = 2, Bases = 7, QuantizeBits = 4 },
        _ => new NolaOptions { Rank = 2, Bases = 7, Variant = r.Next(2) == 0 ? NolaVariant.Paper : NolaVariant.Offset },
    };

    private static float[] Values(TrainableAdapter adapter) => [.. adapter.Parameters.SelectMany(parameter => parameter.Value.ToArray())];
}
