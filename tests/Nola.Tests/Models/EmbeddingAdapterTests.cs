using System.Text.Json.Nodes;
using FsCheck.Xunit;
using Nola.Autograd;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

/// <summary>Adapters on the token embedding and on the head, which no wildcard chooses. AdapterTests has what holds for all maps.</summary>
public sealed class EmbeddingAdapterTests : IDisposable
{
    private const string Root = "base_model.model.";

    private readonly CpuDevice device = new(2);
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    public void Dispose()
    {
        device.Dispose();
        Directory.Delete(directory, recursive: true);
    }

    [Property(MaxTest = 20)]
    public void Logits_and_losses_are_those_of_a_model_with_the_products_in_its_tables(int seed)
    {
        Random r = new(seed);
        using LanguageModel model = Create(tied: r.Next(2) == 0, trainable: r.Next(2) == 0);
        AdapterOptions options = Options(r, r.Next(3));
        using TrainableAdapter adapter = model.NewAdapter(options);
        // The paper's variant divides by the root of a factor's size.
        TinyModels.Randomize(adapter, r, options is NolaOptions { Variant: NolaVariant.Paper } ? 10 : 0.5);
        using LanguageModel reference = Create(tied: false, trainable: true);
        Dictionary<string, float[]> weights = model.Weights().ToDictionary(w => w.Name, w => w.Values());
        weights.TryAdd("lm_head.weight", weights["wte.weight"]);
        foreach (MapStack stack in adapter.Stacks.Cast<MapStack>())
        {
            double[] product = Product(stack);                                    // (V, C), or (C, V) of the head
            if (stack.Group.Kind == "lm_head") product = Reference.Transpose(product, 24, 61);
            string name = stack.Group.Kind + ".weight";
            weights[name] = [.. weights[name].Zip(product, (w, p) => (float)(w + p))];
        }
        foreach (Parameter parameter in reference.Parameters) device.Upload(weights[parameter.Name], parameter.Value);
        int[] ids = TinyModels.Ids(r, 12, 61);
        float[] wanted = reference.Logits(ids), without = model.Logits(ids);
        Assert.True(wanted.Zip(without, (a, b) => Math.Abs(a - b)).Max() > 0.002);
        OpCheck.Close(OpCheck.Wide(wanted), model.Logits(ids, adapter), 2e-5);
        EncodedPair[] pairs = TinyModels.Pairs(r, 5, 61);
        float[] losses = Losses(reference, TokenStreams.FromPairs(pairs));
        // Sums of another order differ in proportion to what is summed, and large factors make losses of a hundred and more.
        OpCheck.Close(OpCheck.Wide(losses), Losses(model, TokenStreams.FromPairs(pairs).With(adapter)), 2e-5);
    }

    [Property(MaxTest = 10)]
    public void Decoding_with_a_cache_chooses_the_tokens_of_whole_passes(int seed)
    {
        Random r = new(seed);
        using LanguageModel model = Create(tied: r.Next(2) == 0, trainable: false);
        using TrainableAdapter adapter = model.NewAdapter(Options(r, r.Next(3)));
        TinyModels.Randomize(adapter, r);
        List<int> ids = [.. TinyModels.Ids(r, 1 + r.Next(9), 61)];
        int[] cached = model.Generate([.. ids], adapter, new() { MaxNewTokens = 12, StopTokens = [] });
        foreach (int token in cached)
        {
            float[] last = model.Logits(ids.ToArray(), adapter)[^61..];
            // Sums of another order may choose the other of two that are as likely.
            Assert.True(last[token] >= last.Max() - 1e-5f * (1 + Math.Abs(last.Max())));
            ids.Add(token);
        }
    }

    [Theory]
    [InlineData("wte", true, false)]
    [InlineData("lm_head", true, false)]
    [InlineData("wte,lm_head", true, false)]
    [InlineData("lm_head,wte", true, true)]
    [InlineData("wte", true, true)]
    [InlineData("wte,lm_head", false, false)]
    public void Merging_into_a_tied_model_gives_the_head_a_table_of_its_own(string targets, bool tied, bool trainable)
    {
        Random r = new(5);
        int[] ids = TinyModels.Ids(r, 12, 61);
        using LanguageModel model = Create(tied, trainable);
        using TrainableAdapter adapter = model.NewAdapter(new LoraOptions { Rank = 3, Alpha = 3, Targets = targets.Split(',') });
        TinyModels.Randomize(adapter, r);
        float[] with = model.Logits(ids, adapter), table = Values(model, "wte.weight");
        string before = model.Identity;
        adapter.Merge();
        OpCheck.Close(OpCheck.Wide(with), model.Logits(ids), 2e-5);
        Assert.Null(model.Config.Tied);
        Assert.NotEqual(before, model.Identity);
        Assert.Equal(!targets.Contains("wte"), table.SequenceEqual(Values(model, "wte.weight")));
        if (tied) Assert.Equal(!targets.Contains("lm_head"), table.SequenceEqual(Values(model, "lm_head.weight")));
        Assert.Equal(trainable, model.Parameters.Any(parameter => parameter.Name == "lm_head.weight"));
        model.Save(directory);
        Assert.Contains("\"tie_word_embeddings\": false", File.ReadAllText(Path.Combine(directory, "config.json")));
        using LanguageModel loaded = LanguageModel.Load(directory, device);
        Assert.Equal(model.Identity, loaded.Identity);
        OpCheck.Close(OpCheck.Wide(with), loaded.Logits(ids), 2e-5);
        // What was merged is not there a second time.
        using TrainableAdapter next = loaded.NewAdapter(new LoraOptions { Rank = 3, Targets = targets.Split(',') });
        next.Merge();
        OpCheck.Close(OpCheck.Wide(with), loaded.Logits(ids), 2e-5);
    }

    [Fact]
    public void Merging_what_is_on_blocks_leaves_a_tied_model_tied()
    {
        using LanguageModel model = Create(tied: true, trainable: false);
        using TrainableAdapter adapter = model.NewAdapter(new LoraOptions { Targets = ["*"] });
        TinyModels.Randomize(adapter, new Random(1));
        adapter.Merge();
        Assert.NotNull(model.Config.Tied);
        Assert.DoesNotContain(model.Weights(), weight => weight.Name == "lm_head.weight");
    }

    [Fact]
    public void LoRA_starts_as_in_PEFT_and_NOLA_with_the_specified_offset()
    {
        using LanguageModel model = Create(tied: true, trainable: false);
        using TrainableAdapter lora = model.NewAdapter(new LoraOptions { Rank = 16, Targets = ["wte", "lm_head"] });
        (string, int[])[] shapes = [.. lora.Parameters.Select(p => (p.Name, p.Shape.Dimensions().ToArray()))];
        Assert.Equal(["wte.A", "wte.B", "lm_head.A", "lm_head.B"], shapes.Select(shape => shape.Item1));
        Assert.Equal([[1, 61, 16], [1, 16, 24], [1, 24, 16], [1, 16, 61]], shapes.Select(shape => shape.Item2));
        float[][] values = [.. lora.Parameters.Select(p => p.Value.ToArray())];
        Assert.All(values[0], entry => Assert.Equal(0, entry));
        Assert.InRange(Math.Sqrt(values[1].Average(entry => (double)entry * entry)), 0.9, 1.1);
        Assert.InRange(values[2].Max(Math.Abs), 0.19, 1 / Math.Sqrt(24) + 1e-6);
        Assert.All(values[3], entry => Assert.Equal(0, entry));
        using TrainableAdapter nola = model.NewAdapter(new NolaOptions { Rank = 16, Bases = 7, Targets = ["wte", "lm_head"] });
        MapStack[] stacks = [.. nola.Stacks.Cast<MapStack>()];
        LowRankFactors table = stacks[0].Factors(0)!, head = stacks[1].Factors(0)!;
        Assert.All(table.A.Concat(head.B), entry => Assert.Equal(0, entry));
        Assert.InRange(table.B.Max(Math.Abs), 0.19, 1 / Math.Sqrt(24) + 1e-6);
        Assert.InRange(head.A.Max(Math.Abs), 0.19, 1 / Math.Sqrt(24) + 1e-6);
    }

    [Fact]
    public void A_file_names_the_map_of_no_block_as_layer_0_and_can_be_packed()
    {
        using LanguageModel model = Create(tied: true, trainable: false);
        string path = Path.Combine(directory, "a"), packed = Path.Combine(directory, "a4");
        int[] ids = [3, 1, 4, 1, 5];
        float[] with;
        NolaOptions options = new() { Rank = 3, Bases = 9, PerLayer = true, Targets = ["v", "wte", "lm_head"] };
        using (TrainableAdapter adapter = model.NewAdapter(options))
        {
            TinyModels.Randomize(adapter, new Random(2));
            with = model.Logits(ids, adapter);
            AdapterFile.Save(adapter, path);
        }
        using (Safetensors file = Safetensors.Open(path))
        {
            Assert.Equal(("0", "0", "0,1"), (file.Metadata["layers.wte"], file.Metadata["layers.lm_head"], file.Metadata["layers.attn.v"]));
            Assert.Equal([1, 9], file.Get("wte.A").Shape);
        }
        using LoadedAdapter loaded = AdapterFile.Load(path, model);
        Assert.Equal(with, model.Logits(ids, loaded));
        AdapterQuantization.Quantize(path, 8, packed);
        using LoadedAdapter rounded = AdapterFile.Load(packed, model);
        OpCheck.Close(OpCheck.Wide(with), model.Logits(ids, rounded), 0.02);
    }

    [Fact]
    public void PEFTs_names_and_shapes_are_written_and_read()
    {
        using LanguageModel model = Create(tied: true, trainable: false);
        int[] ids = [3, 1, 4, 1, 5];
        float[] with, a, b;
        using (TrainableAdapter adapter = model.NewAdapter(new LoraOptions { Rank = 3, Targets = ["c_attn", "wte", "lm_head"] }))
        {
            TinyModels.Randomize(adapter, new Random(2));
            with = model.Logits(ids, adapter);
            (a, b) = (Trained(adapter, "wte.A"), Trained(adapter, "lm_head.B"));
            PeftFiles.Save(adapter, directory);
        }
        JsonNode config = JsonNode.Parse(File.ReadAllText(Path.Combine(directory, "adapter_config.json")))!;
        Assert.Equal(["attn.c_attn", "lm_head", "wte"], config["target_modules"]!.AsArray().Select(node => (string)node!));
        Assert.True((bool)config["fan_in_fan_out"]!);
        using (Safetensors file = Safetensors.Open(Path.Combine(directory, "adapter_model.safetensors")))
        {
            Assert.Equal([3, 61], file.Get(Root + "transformer.wte.lora_embedding_A").Shape);
            Assert.Equal([24, 3], file.Get(Root + "transformer.wte.lora_embedding_B").Shape);
            Assert.Equal([3, 24], file.Get(Root + "lm_head.lora_A.weight").Shape);
            Assert.Equal([61, 3], file.Get(Root + "lm_head.lora_B.weight").Shape);
            Assert.Equal(a, HostMatrix.Transpose(file.ReadFinite(file.Get(Root + "transformer.wte.lora_embedding_A")), 3, 61));
            Assert.Equal(b, HostMatrix.Transpose(file.ReadFinite(file.Get(Root + "lm_head.lora_B.weight")), 61, 3));
        }
        using LoadedAdapter loaded = AdapterFile.Load(directory, model);
        Assert.Equal(with, model.Logits(ids, loaded));

        static float[] Trained(TrainableAdapter adapter, string name) => adapter.Parameters.First(p => p.Name == name).Value.ToArray();
    }

    [Fact]
    public void A_copy_of_the_base_s_table_that_PEFT_writes_must_be_the_base_s()
    {
        using LanguageModel model = Create(tied: true, trainable: false);
        string config = Path.Combine(directory, "adapter_config.json"), weights = Path.Combine(directory, "adapter_model.safetensors");
        using (TrainableAdapter adapter = model.NewAdapter(new LoraOptions { Rank = 3, Targets = ["wte", "lm_head"] }))
            PeftFiles.Save(adapter, directory);
        float[] table = Values(model, "wte.weight");
        AdapterFiles.Change(weights, weights, null, all => all.AddRange(
        [
            new SafetensorsTensor(Root + "transformer.wte.base_layer.weight", [61, 24], table),
            new SafetensorsTensor(Root + "lm_head.base_layer.weight", [61, 24], table),
        ]));
        AdapterFile.Load(directory, model).Dispose();
        string text = File.ReadAllText(config);
        File.WriteAllText(config, text.Replace("\"r\"", "\"ensure_weight_tying\": true, \"r\""));
        Assert.Contains("ensure_weight_tying is 'true'; expected false, since an embedding and a head that share", Refused());
        File.WriteAllText(config, text.Replace("\"r\"", "\"ensure_weight_tying\": false, \"r\""));
        AdapterFile.Load(directory, model).Dispose();
        Replace("lm_head.base.weight");
        Assert.Contains("is not a LoRA factor; expected lora_A.weight and lora_B.weight", Refused());
        table[7]++;
        Replace("lm_head.base_layer.weight");
        Assert.Contains("has other values than lm_head of this model", Refused());

        void Replace(string name) => AdapterFiles.Change(weights, weights, null, all =>
        {
            all.RemoveAll(tensor => tensor.Name.StartsWith(Root + "lm_head.base", StringComparison.Ordinal));
            all.Add(new SafetensorsTensor(Root + name, [61, 24], table));
        });

        string Refused() => Assert.Throws<NolaException>(() => AdapterFile.Load(directory, model)).Message;
    }

    [Fact]
    public void VeRA_is_refused_on_the_embedding_alone()
    {
        using LanguageModel model = Create(tied: true, trainable: false);
        Assert.Equal(
            "targets: VeRA cannot be on wte, a token embedding, as PEFT's cannot; leave it out, or use LoRA or NOLA.",
            Assert.Throws<NolaException>(() => model.NewAdapter(new VeraOptions { Rank = 4, Targets = ["q", "wte"] })).Message);
        using TrainableAdapter head = model.NewAdapter(new VeraOptions { Rank = 4, Targets = ["c_attn", "lm_head"] });
        TinyModels.Randomize(head, new Random(1));
        float[] with = model.Logits([1, 2, 3], head);
        PeftFiles.Save(head, directory);
        using (Safetensors file = Safetensors.Open(Path.Combine(directory, "adapter_model.safetensors")))
            Assert.Equal([61], file.Get(Root + "lm_head.vera_lambda_b").Shape);
        using LoadedAdapter loaded = AdapterFile.Load(directory, model);
        OpCheck.Close(OpCheck.Wide(with), model.Logits([1, 2, 3], loaded), 1e-6);
        head.Merge();
        OpCheck.Close(OpCheck.Wide(with), model.Logits([1, 2, 3]), 2e-5);
    }

    [Theory]
    [InlineData("wte")]
    [InlineData("lm_head")]
    public void An_adapter_on_one_table_alone_learns(string target)
    {
        EncodedPair[] pairs = TinyModels.Pairs(new Random(1), 30, 61);
        AdapterOptions[] both =
        [
            new LoraOptions { Rank = 4, Alpha = 4, Targets = [target] },
            new NolaOptions { Rank = 4, Alpha = 4, Bases = 60, Targets = [target] },
        ];
        foreach (AdapterOptions adapted in both)
        {
            using LanguageModel model = Create(tied: true, trainable: false);
            using TrainableAdapter adapter = model.NewAdapter(adapted);
            double before = Evaluation.Loss(model, pairs, adapter).Loss;
            TrainOptions loop = new() { MaxSteps = 60, BatchTokens = 200, LearningRate = 0.02f, EvalPairs = 0 };
            new Trainer(model, adapter, loop).Run(pairs, []);
            double after = Evaluation.Loss(model, pairs, adapter).Loss;
            Assert.True(after < before - 0.05, $"{adapted.Method.Name} on {target}: {after} after {before}");
        }
    }

    private LanguageModel Create(bool tied, bool trainable) =>
        LanguageModel.Create(new Gpt2Config(2, 3, 24, 61, 40) { TiedHead = tied }, device, 3, trainable);

    private static AdapterOptions Options(Random r, int which)
    {
        string[] targets = which switch { 0 => ["wte"], 1 => ["lm_head"], _ => ["lm_head", "wte"] };
        return r.Next(2) == 0
            ? new LoraOptions { Rank = 1 + r.Next(6), Alpha = 2, Targets = targets }
            : new NolaOptions
            {
                Rank = 1 + r.Next(6),
                Alpha = 4,
                Bases = 1 + r.Next(40),
                PerLayer = r.Next(2) == 0,
                Variant = (NolaVariant)r.Next(2),
                Targets = targets,
            };
    }

    private static double[] Product(MapStack stack)
    {
        LowRankFactors f = stack.Factors(0)!;
        double[] product = Reference.MatMul(OpCheck.Wide(f.A), OpCheck.Wide(f.B), stack.Group.In, f.Rank, stack.Group.Out);
        return [.. product.Select(value => value * f.Alpha / f.Rank)];
    }

    private static float[] Values(LanguageModel model, string name) => model.Weights().First(weight => weight.Name == name).Values();

    private float[] Losses(LanguageModel model, TokenStream stream)
    {
        using StreamTensors batch = new(device, stream);
        using Tape tape = new(device, record: false);
        using Tensor losses = device.Empty([stream.Targets.Length]);
        model.Loss(tape, batch, 0, 1, losses);
        return losses.ToArray();
    }
}
