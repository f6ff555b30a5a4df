using System.Text.Json;
using Nola.Autograd;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;
using static Nola.Tests.GoldenFile;

namespace Nola.Tests;

/// <summary>
/// Small models of LLaMA's kind against transformers in float64 (data/golden/llm): logits, losses, every gradient, LoRA, AdamW,
/// greedy continuations. Two cases stand in the repository; with NOLA_TEST_DATA naming a directory, those in its llm are run too.
/// </summary>
public sealed class LlamaGoldenTests : IDisposable
{
    private readonly CpuDevice device = new(2);
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    public static TheoryData<string> Cases
    {
        get
        {
            TheoryData<string> cases = [.. Directory.GetDirectories(Path.Combine(AppContext.BaseDirectory, "data", "golden", "llm"))];
            if (Environment.GetEnvironmentVariable("NOLA_TEST_DATA") is { Length: > 0 } more && Directory.Exists(Path.Combine(more, "llm")))
                foreach (string place in Directory.GetDirectories(Path.Combine(more, "llm"))) cases.Add(place);
            return cases;
        }
    }

    public void Dispose()
    {
        device.Dispose();
        Directory.Delete(directory, recursive: true);
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Logits_and_losses_are_those_of_transformers(string place)
    {
        using Golden golden = new(place);
        using LanguageModel model = LanguageModel.Load(place, device);
        for (int i = 0; i < 3; i++) Close(golden.Values($"logits.{i}"), model.Logits(golden.Sequences[i]), 2e-5, $"logits.{i}");
        Assert.Equal(golden.Values("loss")[0], Evaluation.Loss(model, golden.Pairs).Loss, 1e-5);
        Assert.Equal(golden.Values("loss_smooth_0.1")[0], Evaluation.Loss(model, golden.Pairs, labelSmoothing: 0.1f).Loss, 1e-5);
        foreach ((float wanted, EncodedPair pair) in golden.Values("pair_loss").Zip(golden.Pairs))
            Assert.Equal(wanted, Evaluation.Loss(model, [pair]).Loss, 1e-5);
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Every_weight_has_the_gradient_that_PyTorch_finds(string place)
    {
        using Golden golden = new(place);
        if (golden.Gradients == 0) return;
        foreach (bool checkpointBlocks in (bool[])[false, true])
        {
            using LanguageModel model = LanguageModel.Load(place, device, trainable: true);
            Assert.Equal(golden.Values("loss")[0], Backward(model, golden.Pairs, null, checkpointBlocks), 1e-5);
            int compared = 0;
            foreach ((string name, float[] gradient) in GradientsOf(model.Maps, model.Parameters))
            {
                float[] wanted = golden.Values("grad." + name);
                Close(wanted, gradient, 1e-4, name);
                compared++;
            }
            Assert.Equal(golden.Gradients, compared);
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Greedy_continuations_with_the_cache_are_those_of_transformers(string place)
    {
        using Golden golden = new(place);
        using LanguageModel model = LanguageModel.Load(place, device);
        foreach (JsonElement greedy in golden.Case.GetProperty("greedy").EnumerateArray())
        {
            GenerateOptions options = new() { MaxNewTokens = 20, StopTokens = [] };
            int[] prompt = TinyModels.Ids(greedy.GetProperty("prompt")), wanted = TinyModels.Ids(greedy.GetProperty("continuation"));
            Assert.Equal(wanted, model.Generate(prompt, null, options));
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Lora_and_its_AdamW_losses_are_those_of_PyTorch(string place)
    {
        using Golden golden = new(place);
        using LanguageModel model = LanguageModel.Load(place, device);
        using TrainableAdapter adapter = model.NewAdapter(new LoraOptions { Rank = 4, Alpha = 8, Targets = ["q_proj", "v_proj"] });
        foreach (LowRankStack stack in adapter.Stacks.Cast<LowRankStack>())
        {
            device.Upload([.. stack.Group.Maps.SelectMany(map => golden.Turned($"lora.{map.Name}.A"))], stack.A.Value);
            device.Upload([.. stack.Group.Maps.SelectMany(map => golden.Turned($"lora.{map.Name}.B"))], stack.B.Value);
        }
        Close(golden.Values("lora.logits.1"), model.Logits(golden.Sequences[1], adapter), 2e-5, "lora.logits.1");
        TrainOptions options = new() { Beta1 = 0.9f, Beta2 = 0.999f, Epsilon = 1e-8f, WeightDecay = 0.01f, ClipNorm = 0 };
        using AdamW optimizer = new(adapter.Parameters, options);
        float[] losses = golden.Values("lora.adamw_losses");
        for (int step = 0; step < losses.Length; step++)
        {
            Assert.Equal(losses[step], Backward(model, golden.Pairs, adapter, false), 1e-4);
            foreach (LowRankStack stack in adapter.Stacks.Cast<LowRankStack>().Where(_ => step == 0 && golden.Has("lora.grad.")))
            {
                IReadOnlyList<AdaptableMap> maps = stack.Group.Maps;
                Close([.. maps.SelectMany(map => golden.Turned($"lora.grad.{map.Name}.A"))], stack.A.Gradient.ToArray(), 1e-4, "A");
                Close([.. maps.SelectMany(map => golden.Turned($"lora.grad.{map.Name}.B"))], stack.B.Gradient.ToArray(), 1e-4, "B");
            }
            optimizer.Step(0.01f, optimizer.GradientNorm());
        }
        Assert.Equal(golden.Values("lora.adamw_loss_after")[0], Backward(model, golden.Pairs, adapter, false), 1e-4);
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Saved_it_has_the_tensors_that_it_was_loaded_from(string place)
    {
        string saved = Path.Combine(directory, "saved"), again = Path.Combine(directory, "again"), half = Path.Combine(directory, "half");
        using LanguageModel model = LanguageModel.Load(place, device), trainable = LanguageModel.Load(place, device, trainable: true);
        Assert.Equal(model.Identity, trainable.Identity);
        Assert.Equal(model.Config.ParameterCount, model.Weights().Sum(w => (long)w.Shape.Length));
        model.Save(saved);
        trainable.Save(again);
        string file = Path.Combine(saved, "model.safetensors");
        Assert.Equal(File.ReadAllBytes(file), File.ReadAllBytes(Path.Combine(again, "model.safetensors")));
        int tensors = 0;
        using Safetensors mine = Safetensors.Open(file);
        foreach (string path in Directory.GetFiles(place, "model*.safetensors"))
        {
            using Safetensors theirs = Safetensors.Open(path);
            foreach (SafetensorsEntry entry in theirs.Entries)
            {
                SafetensorsEntry own = mine.Get(entry.Name);
                Assert.Equal(entry.Shape, own.Shape);
                Assert.Equal(theirs.ReadFinite(entry), mine.ReadFinite(own));
                tensors++;
            }
        }
        Assert.Equal(tensors, mine.Entries.Count());
        using LanguageModel loaded = LanguageModel.Load(saved, device);
        Assert.Equal(model.Identity, loaded.Identity);
        Assert.Equal(model.Config.ToJson(), loaded.Config.ToJson());
        int[] ids = [3, 1, 4, 1, 5, 9, 2, 6];
        Assert.Equal(model.Logits(ids), loaded.Logits(ids));
        // In half the bytes it is another model, near enough: 8 bits of a weight's mantissa remain.
        model.Save(half, DType.BFloat16);
        using LanguageModel rounded = LanguageModel.Load(half, device);
        Close(model.Logits(ids), rounded.Logits(ids), 0.1, "bfloat16");
        Assert.Equal(place.EndsWith("bf16"), model.Identity == rounded.Identity);
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void The_configuration_as_version_5_writes_it_is_the_same(string place)
    {
        string path = Path.Combine(place, "config.v5.json");
        if (!File.Exists(path)) return;
        ModelConfig old = ModelFamilies.Read(Path.Combine(place, "config.json")), now = ModelFamilies.Read(path);
        Assert.Equal(old.Description, now.Description);
        Assert.Equal(old.ToJson(), now.ToJson());
    }

    private double Backward(LanguageModel model, EncodedPair[] pairs, IAdapter? adapter, bool checkpointBlocks)
    {
        TokenStream stream = TokenStreams.FromPairs(pairs).With(adapter);
        using StreamTensors batch = new(device, stream);
        using Tape tape = new(device, record: true, checkpointBlocks);
        Variable loss = model.Loss(tape, batch, 0, 1f / stream.Targets.Length);
        tape.Backward(loss);
        return loss.Value.Item();
    }

    // To so much of the largest magnitude.
    private sealed class Golden(string place) : GoldenFile(place)
    {
        public int[][] Sequences => [.. Case.GetProperty("sequences").EnumerateArray().Select(TinyModels.Ids)];

        public EncodedPair[] Pairs => [.. Case.GetProperty("pairs").EnumerateArray().Select(pair =>
            new EncodedPair(TinyModels.Ids(pair.GetProperty("context")), TinyModels.Ids(pair.GetProperty("completion"))))];
    }
}
