using System.Text.Json;
using Nola.Autograd;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;
using static Nola.Tests.GoldenFile;

namespace Nola.Tests;

/// <summary>
/// Small vision transformers against transformers, timm and PEFT in float64 (data/golden/vision), and DINOv2 against its formulas in numpy:
/// logits, losses, hidden states, every gradient, LoRA, AdamW. With NOLA_TEST_DATA naming a directory, those in its vision are run too.
/// </summary>
public sealed class VitGoldenTests : IDisposable
{
    private static readonly string data = Path.Combine(AppContext.BaseDirectory, "data", "golden", "vision");

    private readonly CpuDevice device = new(2);
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    public void Dispose()
    {
        device.Dispose();
        Directory.Delete(directory, recursive: true);
    }

    [Theory]
    [InlineData("vit")]
    [InlineData("deit")]
    [InlineData("dinov2")]
    public void Logits_losses_and_hidden_states_are_those_of_transformers(string name)
    {
        using Golden golden = new(Path.Combine(data, name));
        using VisionModel model = VisionModel.Load(golden.Place, device);
        for (int i = 0; i < 4; i++)
            Close(golden.Values($"logits.{i}"), model.Logits([golden.Values($"pixels.{i}")]), 2e-5, $"logits.{i}");
        Close([.. Range(i => golden.Values($"logits.{i}"))], model.Logits(golden.Images), 2e-5, "all logits at once");
        float[] hidden = model.Hidden([golden.Values("pixels.0")]);
        Close(golden.Values("hidden.norm"), hidden, 2e-5, "hidden.norm");
        Assert.Equal(golden.Values("loss")[0], Loss(model, golden, null, 0), 1e-5);
        if (golden.Has("loss_smooth")) Assert.Equal(golden.Values("loss_smooth_0.1")[0], Loss(model, golden, null, 0.1f), 1e-5);
        if (name == "deit")
            foreach ((int classifier, string logits) in ((int, string)[])[(0, "cls_logits"), (1, "distillation_logits")])
                Close([.. Range(i => golden.Values($"{logits}.{i}"))], model.Logits(model.Stream(golden.Images), classifier), 2e-5, logits);
    }

    [Theory]
    [InlineData("vit", false)]
    [InlineData("vit", true)]
    [InlineData("deit", false)]
    [InlineData("dinov2", false)]
    [InlineData("dinov2", true)]
    public void Every_weight_has_the_gradient_that_PyTorch_finds(string name, bool checkpointBlocks)
    {
        using Golden golden = new(Path.Combine(data, name));
        using VisionModel model = VisionModel.Load(golden.Place, device, trainable: true);
        Assert.Equal(golden.Values("loss")[0], Backward(model, golden, null, checkpointBlocks), 1e-5);
        string prefix = name + ".";
        int compared = 0;
        foreach ((string weight, float[] gradient) in GradientsOf(model.Maps, model.Parameters))
        {
            string stored = golden.Has("grad." + prefix + weight) ? prefix + weight : weight;
            if (!golden.Has("grad." + stored)) continue;
            // The first norm divides by the tiny spread of the class token, so that what reaches it is amplified 300 times.
            double tolerance = weight.EndsWith("_token") || weight.EndsWith("position_embeddings") ? 1e-3 : 1e-4;
            // One number added to all keys changes no attention: what is left is rounding.
            if (weight.EndsWith("key.bias")) Assert.All(gradient, value => Assert.InRange(value, -1e-6f, 1e-6f));
            else Close(golden.Values("grad." + stored), gradient, tolerance, weight);
            compared++;
        }
        Assert.Equal(golden.Gradients, compared);
    }

    [Theory]
    [InlineData("lora", true, "query", "value")]
    [InlineData("lora_mlp", false, "fc1", "fc2")]
    public void LoRA_on_any_map_has_PyTorchs_logits_and_gradients(string name, bool head, params string[] targets)
    {
        using Golden golden = new(Path.Combine(data, "vit"));
        using VisionModel model = VisionModel.Load(golden.Place, device);
        using TrainableAdapter adapter = GoldenLora(model, golden, name, head, targets);
        for (int i = 0; i < 4; i++)
            Close(golden.Values($"{name}.logits.{i}"), model.Logits([golden.Values($"pixels.{i}")], adapter), 2e-5, $"{name}.logits.{i}");
        Assert.Equal(golden.Values(name + ".loss_smooth_0.1")[0], Loss(model, golden, adapter, 0.1f), 1e-5);
        Assert.Equal(golden.Values(name + ".loss")[0], Backward(model, golden, adapter, false), 1e-5);
        CheckGradients(golden, adapter, name);
        if (head)
            foreach (Parameter parameter in adapter.HeadParameters)
                Close(golden.Values($"lora.grad.{parameter.Name}"), parameter.Gradient.ToArray(), 1e-4, parameter.Name);
    }

    [Fact]
    public void Eight_AdamW_losses_with_a_trained_classifier_are_PyTorchs()
    {
        using Golden golden = new(Path.Combine(data, "vit"));
        using VisionModel model = VisionModel.Load(golden.Place, device);
        using TrainableAdapter adapter = GoldenLora(model, golden, "lora", true, "query", "value");
        TrainOptions options = new() { Beta1 = 0.9f, Beta2 = 0.999f, Epsilon = 1e-8f, WeightDecay = 0.01f, ClipNorm = 0 };
        using AdamW optimizer = new(adapter.Parameters, options);
        float[] losses = golden.Values("lora.adamw_losses");
        Assert.Equal(8, losses.Length);
        foreach (float wanted in losses)
        {
            Assert.Equal(wanted, Backward(model, golden, adapter, false), 2e-4);
            optimizer.Step(0.01f, optimizer.GradientNorm());
        }
        Assert.Equal(golden.Values("lora.adamw_loss_after")[0], Backward(model, golden, adapter, false), 2e-4);
    }

    [Fact]
    public void A_directory_of_PEFT_gives_its_logits_and_is_written_as_it_was_read()
    {
        using Golden golden = new(Path.Combine(data, "vit"));
        string peft = Path.Combine(golden.Place, "peft-lora");
        Assert.Equal(10, AdapterFile.Labels(peft)!.Count);
        using VisionModel model = VisionModel.Load(golden.Place, device, AdapterFile.Labels(peft));
        Assert.False(model.HasNewClassifier);
        using LoadedAdapter adapter = AdapterFile.Load(peft, model);
        Assert.True(adapter.Options.TrainHead);
        Close([.. Range(i => golden.Values($"lora.logits.{i}"))], model.Logits(golden.Images, adapter), 2e-5, "logits of the PEFT adapter");
        PeftFiles.Save(adapter, directory);
        using Safetensors theirs = Safetensors.Open(Path.Combine(peft, "adapter_model.safetensors"));
        using Safetensors ours = Safetensors.Open(Path.Combine(directory, "adapter_model.safetensors"));
        Assert.Equal(theirs.Entries.Select(e => e.Name).Order(), ours.Entries.Select(e => e.Name).Order());
        foreach (SafetensorsEntry entry in theirs.Entries) Assert.Equal(theirs.ReadFinite(entry), ours.ReadFinite(ours.Get(entry.Name)));
        using LoadedAdapter again = AdapterFile.Load(directory, model);
        Assert.Equal(model.Logits(golden.Images, adapter), model.Logits(golden.Images, again));
    }

    [Theory]
    [InlineData(1e-6f, "logits")]
    [InlineData(1e-12f, "logits_eps1e-12")]
    public void Under_timms_names_it_has_timms_logits(float epsilon, string name)
    {
        using Golden golden = new(Path.Combine(data, "vit")), timm = new(Path.Combine(data, "vit-timm"));
        WriteTimm(golden.Place, directory);
        File.Copy(Path.Combine(timm.Place, "config.json"), Path.Combine(directory, "config.json"));
        using VisionModel model = VisionModel.Load(directory, device);
        Assert.Equal(1e-6f, model.Config.NormEpsilon);
        Assert.Equal(new ImagePreprocessor
        {
            ShortestEdge = 17,
            Resample = Resampling.Bicubic,
            Crop = (16, 16),
            CropsToEven = true,
        }.ToJson(), model.Preprocessing.ToJson());
        // Saved, it is in Hugging Face's layout.
        string saved = Path.Combine(directory, "saved");
        model.Save(saved);
        string config = Path.Combine(saved, "config.json");
        File.WriteAllText(config, File.ReadAllText(config).Replace("1E-06", epsilon == 1e-6f ? "1E-06" : "1E-12"));
        using VisionModel again = VisionModel.Load(saved, device);
        Assert.Equal(epsilon, again.Config.NormEpsilon);
        if (epsilon == 1e-6f) Assert.Equal(model.Identity, again.Identity);
        Close([.. Range(i => timm.Values($"{name}.{i}"))], again.Logits(golden.Images), 1e-4, name);
        if (epsilon == 1e-6f) Close([.. Range(i => timm.Values($"{name}.{i}"))], model.Logits(golden.Images), 1e-4, name);
    }

    [Fact]
    public void Under_the_names_of_version_5_it_is_the_same_model()
    {
        using Golden golden = new(Path.Combine(data, "vit"));
        using VisionModel model = VisionModel.Load(golden.Place, device);
        Dictionary<string, string> names = new()
        {
            [".attention.attention.query."] = ".attention.q_proj.",
            [".attention.attention.key."] = ".attention.k_proj.",
            [".attention.attention.value."] = ".attention.v_proj.",
            [".attention.output.dense."] = ".attention.o_proj.",
            [".intermediate.dense."] = ".mlp.fc1.",
            [".output.dense."] = ".mlp.fc2.",
            ["vit.encoder.layer."] = "vit.layers.",
        };
        Rewrite(golden.Place, directory, (name, values) => [(names.Aggregate(name, (n, pair) => n.Replace(pair.Key, pair.Value)), values)]);
        File.Copy(Path.Combine(golden.Place, "config.json"), Path.Combine(directory, "config.json"));
        using VisionModel renamed = VisionModel.Load(directory, device);
        Assert.Equal(model.Identity, renamed.Identity);
        Assert.Equal(model.Logits(golden.Images), renamed.Logits(golden.Images));
    }

    [Fact]
    public void A_model_without_a_classifier_is_read_and_gets_one_with_the_names_of_classes()
    {
        using Golden golden = new(Path.Combine(data, "vit"));
        Rewrite(golden.Place, directory, (name, values) => name.StartsWith("classifier") ? [] : [(name["vit.".Length..], values)]);
        string config = File.ReadAllText(Path.Combine(golden.Place, "config.json")).Replace("ViTForImageClassification", "ViTModel");
        File.WriteAllText(Path.Combine(directory, "config.json"), config);
        using VisionModel bare = VisionModel.Load(directory, device);
        Assert.Empty(bare.Config.Labels);
        Close(golden.Values("hidden.norm"), bare.Hidden([golden.Values("pixels.0")]), 2e-5, "hidden.norm");
        Assert.Contains("the checkpoint has no classifier", Assert.Throws<NolaException>(() => bare.Logits(golden.Images)).Message);
        using VisionModel model = VisionModel.Load(directory, device, ["cat", "dog", "owl"]);
        Assert.True(model.HasNewClassifier);
        Assert.Equal(new float[12], model.Logits(golden.Images));
        Assert.Equal(bare.Identity, model.Identity);
    }

    [Fact]
    public void DINOv2_reads_images_as_they_are_prepared_and_is_written_as_it_was_read()
    {
        using Golden golden = new(Path.Combine(data, "dinov2"));
        using VisionModel model = VisionModel.Load(golden.Place, device), large = VisionModel.Load(golden.Place, device, imageSize: 24);
        // Positions are stored for 24 pixels; pictures are cut to 16.
        Assert.Equal((16, 24), (model.Config.ImageSize, large.Config.ImageSize));
        model.Save(directory);
        using VisionModel again = VisionModel.Load(directory, device);
        Assert.Equal(model.Identity, again.Identity);
        Assert.Equal(model.Logits(golden.Images), again.Logits(golden.Images));
        using Safetensors theirs = Safetensors.Open(Path.Combine(golden.Place, "model.safetensors"));
        using Safetensors ours = Safetensors.Open(Path.Combine(directory, "model.safetensors"));
        IEnumerable<string> read = theirs.Entries.Select(e => e.Name).Where(name => !name.Contains("mask"));
        Assert.Equal(read.Order(), ours.Entries.Select(e => e.Name).Order());
        string config = File.ReadAllText(Path.Combine(golden.Place, "config.json"));
        File.WriteAllText(
            Path.Combine(directory, "config.json"), config.Replace("\"use_swiglu_ffn\": false", "\"use_swiglu_ffn\": true"));
        Assert.Contains("use_swiglu_ffn is true", Assert.Throws<NolaException>(() => VisionModel.Load(directory, device)).Message);
    }

    [Theory]
    [InlineData("query", "fc1")]
    [InlineData("attn.proj", "mlp.fc2")]
    public void What_is_merged_into_a_DINOv2_says_what_the_adapter_did(params string[] targets)
    {
        using Golden golden = new(Path.Combine(data, "dinov2"));
        using VisionModel model = VisionModel.Load(golden.Place, device);
        using TrainableAdapter adapter =
            model.NewAdapter(new NolaOptions { Rank = 4, Alpha = 4, Bases = 12, Targets = targets, TrainHead = true });
        TrainOptions options = new() { ClipNorm = 0 };
        using AdamW optimizer = new(adapter.Parameters, options);
        double first = Backward(model, golden, adapter, false);
        Assert.Equal(golden.Values("loss")[0], first, 1e-5);
        for (int i = 0; i < 20; i++)
        {
            optimizer.Step(0.02f, optimizer.GradientNorm());
            adapter.Update();
            Backward(model, golden, adapter, false);
        }
        float[] trained = model.Logits(golden.Images, adapter);
        Assert.True(Loss(model, golden, adapter, 0) < 0.8 * first);
        adapter.Merge();
        Close(trained, model.Logits(golden.Images), 1e-5, "merged");
    }

    public static TheoryData<string> More
    {
        get
        {
            string? place = Environment.GetEnvironmentVariable("NOLA_TEST_DATA");
            return place is { Length: > 0 } && Directory.Exists(Path.Combine(place, "vision")) ? [Path.Combine(place, "vision")] : [""];
        }
    }

    [Theory]
    [MemberData(nameof(More))]
    public void The_published_cases_that_are_not_in_the_repository_hold_too(string place)
    {
        if (place.Length == 0) return;
        using Golden pooler = new(Path.Combine(place, "vit-pooler")), timm = new(Path.Combine(place, "vit-timm"));
        using VisionModel bare = VisionModel.Load(pooler.Place, device), named = VisionModel.Load(timm.Place, device);
        for (int i = 0; i < 4; i++)
        {
            float[] hidden = bare.Hidden([pooler.Values($"pixels.{i}")]);
            Close(pooler.Values($"last_hidden_state.{i}"), hidden, 2e-5, $"last_hidden_state.{i}");
            Close(timm.Values($"logits.{i}"), named.Logits([timm.Values($"pixels.{i}")]), 2e-5, $"timm's logits.{i}");
        }
    }

    private TrainableAdapter GoldenLora(VisionModel model, Golden golden, string name, bool head, params string[] targets)
    {
        TrainableAdapter adapter = model.NewAdapter(new LoraOptions { Rank = 4, Alpha = 8, Targets = targets, TrainHead = head });
        foreach (LowRankStack stack in adapter.Stacks.OfType<LowRankStack>())
        {
            device.Upload([.. stack.Group.Maps.SelectMany(map => golden.Turned($"{name}.vit.{map.Name}.A"))], stack.A.Value);
            device.Upload([.. stack.Group.Maps.SelectMany(map => golden.Turned($"{name}.vit.{map.Name}.B"))], stack.B.Value);
        }
        return adapter;
    }

    private static void CheckGradients(Golden golden, TrainableAdapter adapter, string name)
    {
        foreach (LowRankStack stack in adapter.Stacks.OfType<LowRankStack>())
        {
            IReadOnlyList<AdaptableMap> maps = stack.Group.Maps;
            Close([.. maps.SelectMany(map => golden.Turned($"{name}.grad.vit.{map.Name}.A"))], stack.A.Gradient.ToArray(), 1e-4, "A");
            Close([.. maps.SelectMany(map => golden.Turned($"{name}.grad.vit.{map.Name}.B"))], stack.B.Gradient.ToArray(), 1e-4, "B");
        }
    }

    private double Loss(VisionModel model, Golden golden, IAdapter? adapter, float smoothing)
    {
        TokenStream stream = model.Stream(golden.Images, golden.Labels).With(adapter);
        using StreamTensors batch = new(device, stream);
        using Tape tape = new(device, record: false);
        using Tensor losses = device.Empty([stream.Targets.Length]);
        float mean = model.Loss(tape, batch, smoothing, 0.25f, losses).Value.Item();
        Assert.Equal(mean, losses.ToArray().Average(), 1e-5f);
        return mean;
    }

    private double Backward(VisionModel model, Golden golden, IAdapter? adapter, bool checkpointBlocks)
    {
        TokenStream stream = model.Stream(golden.Images, golden.Labels).With(adapter);
        using StreamTensors batch = new(device, stream);
        using Tape tape = new(device, record: true, checkpointBlocks);
        Variable loss = model.Loss(tape, batch, 0, 1f / stream.Targets.Length);
        tape.Backward(loss);
        return loss.Value.Item();
    }

    private static IEnumerable<float> Range(Func<int, float[]> values) => Enumerable.Range(0, 4).SelectMany(values);

    // Another file of the same tensors under other names.
    private static void Rewrite(
        string from, string to, Func<string, (Shape, float[]), IEnumerable<(string, (Shape, float[]))>> rename)
    {
        using Safetensors file = Safetensors.Open(Path.Combine(from, "model.safetensors"));
        List<SafetensorsTensor> tensors = [];
        foreach (SafetensorsEntry entry in file.Entries)
            foreach ((string name, (Shape shape, float[] values)) in
                rename(entry.Name, (Shape.Create([.. entry.Shape.Select(d => (int)d)]), file.ReadFinite(entry))))
                tensors.Add(new(name, shape, values));
        SafetensorsWriter.Write(Path.Combine(to, "model.safetensors"), tensors);
    }

    // timm's names, with queries, keys and values below each other in one.
    private static void WriteTimm(string from, string to)
    {
        Dictionary<string, string> names = new()
        {
            ["vit.embeddings.patch_embeddings.projection."] = "patch_embed.proj.",
            ["vit.embeddings.position_embeddings"] = "pos_embed",
            ["vit.embeddings.cls_token"] = "cls_token",
            ["vit.layernorm."] = "norm.",
            ["classifier."] = "head.",
            ["vit.encoder.layer."] = "blocks.",
            [".layernorm_before."] = ".norm1.",
            [".layernorm_after."] = ".norm2.",
            [".attention.output.dense."] = ".attn.proj.",
            [".intermediate.dense."] = ".mlp.fc1.",
            [".output.dense."] = ".mlp.fc2.",
        };
        Dictionary<string, List<float>> fused = [];
        Rewrite(from, to, (name, values) =>
        {
            string renamed = names.Aggregate(name, (n, pair) => n.Replace(pair.Key, pair.Value));
            const string Part = ".attention.attention.";
            int at = renamed.IndexOf(Part);
            if (at < 0) return [(renamed, values)];
            // In the order of the file: key, query, value.
            string whole = renamed[..at] + ".attn.qkv" + renamed[renamed.LastIndexOf('.')..];
            fused.TryAdd(whole, []);
            if (renamed.Contains(".query.")) fused[whole].InsertRange(0, values.Item2);
            else fused[whole].AddRange(values.Item2);
            if (!renamed.Contains(".value.")) return [];
            (Shape shape, _) = values;
            Shape all = shape.Rank == 1 ? [3 * shape[0]] : [3 * shape[0], shape[1]];
            return [(whole, (all, [.. fused[whole]]))];
        });
    }

    // To so much of the largest magnitude.
    private sealed class Golden(string place) : GoldenFile(place)
    {
        public float[][] Images => [.. Enumerable.Range(0, 4).Select(i => Values($"pixels.{i}"))];

        public int[] Labels => TinyModels.Ids(Case.GetProperty("labels"));
    }
}
