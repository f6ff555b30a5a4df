using Nola.Autograd;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

/// <summary>A family of another kind goes the whole way: from its file through training and decoding to a resumed run.</summary>
public sealed class ToyFamilyTests : IDisposable
{
    private static readonly ToyConfig causal = new(2, 4, 2, 8, 31, true);

    private readonly CpuDevice device = new(2);
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    static ToyFamilyTests() => ModelFamilies.Add(ToyFamily.Instance);

    public void Dispose()
    {
        device.Dispose();
        Directory.Delete(directory, recursive: true);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Saved_and_loaded_it_is_the_same_model(bool isCausal)
    {
        string place = Path.Combine(directory, "model"), again = Path.Combine(directory, "again");
        using LanguageModel made = LanguageModel.Create(causal with { Causal = isCausal }, device, 1);
        made.Save(place);
        using LanguageModel loaded = LanguageModel.Load(place, device), trainable = LanguageModel.Load(place, device, trainable: true);
        int[] ids = [3, 1, 4, 1, 5, 9];
        Assert.Equal(made.Identity, loaded.Identity);
        Assert.Equal(made.Identity, trainable.Identity);
        Assert.Equal(loaded.Logits(ids), trainable.Logits(ids));
        Assert.Equal(loaded.Weights().Sum(w => (long)w.Shape.Length), loaded.Config.ParameterCount);
        loaded.Save(again);
        Assert.Equal(
            File.ReadAllBytes(Path.Combine(place, "model.safetensors")), File.ReadAllBytes(Path.Combine(again, "model.safetensors")));
        // Weights lie in the file as (out, in), under the family's prefix or without it.
        using Safetensors file = Safetensors.Open(Path.Combine(place, "model.safetensors"));
        Assert.Equal([64, 16], file.Get("layers.0.qkv.weight").Shape);
        // What comes later is seen by an earlier token only where attention is bidirectional.
        bool sees = !loaded.Logits(ids).AsSpan(0, 31).SequenceEqual(loaded.Logits([3, 1, 4, 1, 5, 8]).AsSpan(0, 31));
        Assert.Equal(!isCausal, sees);
    }

    [Theory]
    [InlineData("nola", true)]
    [InlineData("vera", true)]
    [InlineData("nola", false)]
    [InlineData("lora", true)]
    [InlineData("lora and its own head", true)]
    public void Adapters_are_trained_saved_resumed_and_merged_on_it(string method, bool isCausal)
    {
        EncodedPair[] pairs =
            [.. TinyModels.Pairs(new Random(1), 60, 31).Select(p => p with { Completion = [.. p.Completion.Select(id => id % 4)] })];
        using LanguageModel model = LanguageModel.Create(causal with { Causal = isCausal }, device, 1, trainable: false);
        TrainOptions options = new() { MaxSteps = 24, BatchTokens = 80, LearningRate = 0.03f, EvalEvery = 8, EvalPairs = 0 };
        byte[] whole = Trained(Path.Combine(directory, "whole"), 24), parts = Trained(Path.Combine(directory, "parts"), 9);
        Assert.Equal(whole, parts);
        using LoadedAdapter loaded = AdapterFile.Load(Path.Combine(directory, "parts", "adapter.safetensors"), model);
        float[] with = model.Logits([1, 2, 3], loaded);
        Assert.NotEqual(model.Logits([1, 2, 3]), with);
        string packed = Path.Combine(directory, "packed");
        AdapterQuantization.Quantize(Path.Combine(directory, "parts", "adapter.safetensors"), 8, packed);
        using (LoadedAdapter rounded = AdapterFile.Load(packed, model))
            OpCheck.Close(OpCheck.Wide(with), model.Logits([1, 2, 3], rounded), 0.05);
        loaded.Merge();
        OpCheck.Close(OpCheck.Wide(with), model.Logits([1, 2, 3]), 1e-4);

        byte[] Trained(string path, int first)
        {
            TrainResult result = Run(path, first, resume: false);
            if (first < 24) result = Run(path, 24, resume: true);
            Assert.True(result.LastLoss < result.FirstLoss - 0.3, $"{result.FirstLoss} → {result.LastLoss}");
            return File.ReadAllBytes(Path.Combine(path, "adapter.safetensors"));
        }

        TrainResult Run(string path, int stop, bool resume)
        {
            using TrainableAdapter adapter = model.NewAdapter(method switch
            {
                "nola" => new NolaOptions { Rank = 4, Bases = 40, Targets = ["*"] },
                "vera" => new VeraOptions { Rank = 16, Targets = ["q", "v", "up", "down"] },
                _ => new LoraOptions { Rank = 2, Alpha = 4, Targets = ["qkv", "o"], TrainHead = method.Contains("head") },
            });
            using RunDirectory run = new(path, resume);
            using CancellationTokenSource cancel = new();
            Trainer trainer = new(model, adapter, options, run, new StopAt(stop, cancel));
            if (stop == 24) return trainer.Run(pairs, pairs, resume, cancel.Token);
            Assert.Throws<OperationCanceledException>(() => trainer.Run(pairs, pairs, resume, cancel.Token));
            return trainer.Result!;
        }
    }

    [Fact]
    public void It_is_decoded_with_its_cache_of_grouped_heads()
    {
        using LanguageModel model = LanguageModel.Create(causal, device, 1, trainable: false);
        using TrainableAdapter adapter = model.NewAdapter(new NolaOptions { Rank = 4, Bases = 40, Targets = ["*"] });
        TinyModels.Randomize(adapter, new Random(2));
        GenerateOptions options = new() { MaxNewTokens = 12, StopTokens = [] };
        List<int> ids = [7, 3];
        for (int i = 0; i < 12; i++) ids.Add(Sampler.ArgMax(model.Logits(ids.ToArray(), adapter).AsSpan()[^31..]));
        Assert.Equal(ids.Skip(2), model.Generate([7, 3], adapter, options));
        Assert.Equal(12, model.Generate([7, 3], adapter, options with { Beams = 4 }).Length);
    }

    [Fact]
    public void Every_weight_of_it_has_the_gradient_of_its_loss()
    {
        using LanguageModel model = LanguageModel.Create(causal, device, 1);
        TokenStream stream = TokenStreams.FromPairs(TinyModels.Pairs(new Random(3), 3, 31));
        using (StreamTensors batch = new(device, stream))
        using (Tape tape = new(device))
            tape.Backward(model.Loss(tape, batch, 0, 1f / stream.Targets.Length));
        foreach (Parameter p in model.Parameters)
        {
            float[] gradient = p.Gradient.ToArray(), values = p.Value.ToArray();
            float[] direction = [.. gradient.Select(g => (float)Math.Sign(g))];
            const float Step = 1e-3f;
            double slope = gradient.Sum(g => Math.Abs((double)g));
            double numeric = (Loss(Step) - Loss(-Step)) / (2 * (double)Step);
            device.Upload(values, p.Value);
            // A loss of 4 in float32 is rounded by 2e-7, which leaves 1e-4 here, and the curvature along all entries a few percent.
            Assert.True(Math.Abs(numeric - slope) < 1e-3 + 0.05 * slope, $"{p.Name}: {numeric} for {slope}");

            double Loss(float by)
            {
                device.Upload([.. values.Zip(direction, (v, d) => v + by * d)], p.Value);
                using StreamTensors batch = new(device, stream);
                using Tape tape = new(device, record: false);
                using Tensor losses = device.Empty([stream.Targets.Length]);
                model.Loss(tape, batch, 0, 1, losses);
                return losses.ToArray().Average(l => (double)l);
            }
        }
    }

    [Fact]
    public void An_unknown_family_is_refused_by_name()
    {
        File.WriteAllText(Path.Combine(directory, "config.json"), """{ "model_type": "falcon" }""");
        string message = Assert.Throws<NolaException>(() => LanguageModel.Load(directory, device)).Message;
        Assert.EndsWith(
            "config.json: model_type is \"falcon\"; supported is \"gpt2\", \"llama\", \"mistral\", \"qwen2\", \"qwen3\", \"toy\".",
            message);
        Assert.Contains("already", Assert.Throws<ArgumentException>(() => ModelFamilies.Add(ToyFamily.Instance)).Message);
    }

    private sealed class StopAt(int step, CancellationTokenSource stop) : ITrainObserver
    {
        public void OnStep(StepReport report)
        {
            if (report.Step == step) stop.Cancel();
        }
    }
}
