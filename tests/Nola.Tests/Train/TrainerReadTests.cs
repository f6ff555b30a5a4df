using System.Text.Json;
using Nola.Autograd;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

/// <summary>Losses that are read every few steps, as on a GPU: what is trained, logged and saved is the same.</summary>
public sealed class TrainerReadTests : IDisposable
{
    private static readonly TrainOptions options = new()
    {
        MaxSteps = 17,
        BatchTokens = 60,
        LearningRate = 0.02f,
        WarmupSteps = 3,
        EvalEvery = 7,
        CheckpointEvery = 4,
        Accumulation = 2,
        Epochs = 9,
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
    [InlineData("full")]
    public void Reading_seldom_changes_no_bit_of_what_is_trained_logged_and_saved(string method)
    {
        (float[] weights, string[] log, byte[] state) expected = Train(0), seldom = Train(5);
        Assert.Equal(expected.weights, seldom.weights);
        Assert.Equal(expected.log, seldom.log);
        Assert.Equal(17, expected.log.Count(line => line.StartsWith("step")));
        Assert.Equal(expected.state, seldom.state);

        (float[], string[], byte[]) Train(int every)
        {
            string path = Path.Combine(directory, $"{method}-{every}");
            using LanguageModel model = TinyModels.Create(device, method == "full");
            using TrainableAdapter? adapter = method == "full" ? null : model.NewAdapter(new NolaOptions
            {
                Rank = 2,
                Bases = 20,
                QuantizeBits = 4,
            });
            using RunDirectory run = new(path);
            Order told = new();
            new Trainer(model, adapter, options, run, told) { ReadEvery = every }.Run(pairs, pairs);
            Assert.Equal(told.Events.OrderBy(e => e.Step).ThenBy(e => e.Rank), told.Events);
            run.Dispose();
            using Safetensors state = Safetensors.Open(run.LastState);
            return (
                [.. (adapter?.Parameters ?? [.. model.Parameters]).SelectMany(p => p.Value.ToArray())],
                [.. File.ReadLines(Path.Combine(path, "log.jsonl")).Select(Line)],
                [.. state.Entries.SelectMany(entry => state.Bytes(entry).ToArray())]);
        }

        // All but what the clock says.
        static string Line(string line)
        {
            JsonElement json = JsonDocument.Parse(line).RootElement;
            return string.Join(" ", json
                .EnumerateObject()
                .Where(p => p.Name is not ("elapsed" or "tokens_per_second" or "peak_bytes"))
                .Select(p => p.Name == "event" ? p.Value.GetString() : p.Value.GetRawText()));
        }
    }

    [Fact]
    public void A_loss_that_is_no_number_is_found_at_the_next_read_with_its_step_and_nothing_after_it_is_kept()
    {
        using LanguageModel model = TinyModels.Create(device);
        using TrainableAdapter adapter = model.NewAdapter(new NolaOptions { Rank = 2, Bases = 20 });
        using RunDirectory run = new(directory);
        PoisonAfterCheckpoint poison = new(adapter, at: 8);
        Trainer trainer = new(model, adapter, options with { EvalEvery = 1000 }, run, poison) { ReadEvery = 100 };
        NolaException error = Assert.Throws<NolaException>(() => trainer.Run(pairs, []));
        Assert.Contains("The loss is not a finite number at step 9", error.Message);
        Assert.Contains("is unchanged", error.Message);
        Assert.True(trainer.Diverged);
        Assert.Equal(8, poison.LastStep);
        using Safetensors state = Safetensors.Open(run.LastState);
        Assert.Equal("8", state.Metadata["step"]);
        // Steps 9 to 12 were taken before the read, and left every other parameter as step 8 had.
        foreach (Parameter parameter in adapter.Parameters.Skip(1))
        {
            float[] kept = new float[parameter.Shape.Length];
            state.ReadFloats(state.Get("p." + parameter.Name), kept);
            Assert.All(kept, value => Assert.True(float.IsFinite(value)));
            Assert.Equal(kept, parameter.Value.ToArray());
        }
    }

    [Fact]
    public void Steps_between_reads_have_a_range()
    {
        using LanguageModel model = TinyModels.Create(device, trainable: true);
        Assert.Contains("read-every is -1; expected 0", Assert.Throws<NolaException>(() => new Trainer(model) { ReadEvery = -1 }).Message);
    }

    private sealed class Order : ITrainObserver
    {
        public List<(int Step, int Rank)> Events { get; } = [];

        public void OnStep(StepReport report) => Events.Add((report.Step, 0));

        public void OnEvaluation(EvalReport report) => Events.Add((report.Step, 1));
    }

    private sealed class PoisonAfterCheckpoint(TrainableAdapter adapter, int at) : ITrainObserver
    {
        public int LastStep { get; private set; }

        public void OnStep(StepReport report) => LastStep = report.Step;

        public void OnCheckpoint(string path, int step)
        {
            if (step != at) return;
            adapter.Parameters[0].Value.Device.Fill(adapter.Parameters[0].Value, float.NaN);
            adapter.Update();
        }
    }
}
