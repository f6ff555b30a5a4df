using Nola.Autograd;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

/// <summary>Models of LLaMA's kind in all that the family has, on random weights: outputs, files, adapters, decoding, training.</summary>
public sealed class LlamaTests : IDisposable
{
    private static readonly LlamaConfig llama = new("llama", 2, 6, 2, 8, 40, 56, 61, 300) { NormEpsilon = 1e-5f };

    private readonly CpuDevice device = new(2);
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    public static TheoryData<string> Kinds => ["gqa", "biases", "linear", "llama3", "tied", "window", "qwen2", "qwen2-window", "qwen3"];

    public void Dispose()
    {
        device.Dispose();
        Directory.Delete(directory, recursive: true);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Logits_are_those_of_the_formulas(string kind)
    {
        string place = Random(kind);
        using LanguageModel model = LanguageModel.Load(place, device), trainable = LanguageModel.Load(place, device, trainable: true);
        // Longer than the window, and than what a table of angles holds in one row.
        int[] ids = TinyModels.Ids(new Random(7), 280, 61);
        double[] wanted = LlamaReference.Of(model).Logits(ids);
        OpCheck.Close(wanted, model.Logits(ids), 2e-5);
        OpCheck.Close(wanted, trainable.Logits(ids), 2e-5);
        Assert.Equal(model.Config.Description, ModelFamilies.Read(Path.Combine(place, "config.json")).Description);
        Assert.Equal(Config(kind).Description, model.Config.Description);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Decoding_with_the_cache_chooses_the_tokens_that_whole_sequences_do(string kind)
    {
        using LanguageModel model = LanguageModel.Load(Random(kind), device);
        using TrainableAdapter adapter = model.NewAdapter(new NolaOptions { Rank = 2, Bases = 20, Targets = ["*"] });
        TinyModels.Randomize(adapter, new Random(2));
        GenerateOptions options = new() { MaxNewTokens = 24, StopTokens = [] };
        List<int> ids = [7, 3];
        for (int i = 0; i < 24; i++) ids.Add(Sampler.ArgMax(model.Logits(ids.ToArray(), adapter).AsSpan()[^61..]));
        Assert.Equal(ids.Skip(2), model.Generate([7, 3], adapter, options));
        Assert.Equal(24, model.Generate([7, 3], adapter, options with { Beams = 3 }).Length);
    }

    [Theory]
    [InlineData("nola", "gqa")]
    [InlineData("lora", "qwen3")]
    [InlineData("vera", "window")]
    [InlineData("lora-bias", "qwen2")]
    public void Training_lowers_the_loss_and_merging_keeps_it(string method, string kind)
    {
        EncodedPair[] pairs =
            [.. TinyModels.Pairs(new Random(1), 60, 61).Select(p => p with { Completion = [.. p.Completion.Select(id => id % 4)] })];
        using LanguageModel model = LanguageModel.Load(Random(kind), device);
        string path = Path.Combine(directory, "run");
        TrainOptions options = new() { MaxSteps = 24, BatchTokens = 80, LearningRate = 0.03f, EvalEvery = 24, EvalPairs = 0 };
        using (TrainableAdapter adapter = model.NewAdapter(method switch
        {
            "nola" => new NolaOptions { Rank = 4, Bases = 40 },
            "vera" => new VeraOptions { Rank = 16, Targets = ["self_attn.*", "up_proj", "down_proj"] },
            "lora" => new LoraOptions { Rank = 2, Alpha = 4, Targets = ["*"] },
            _ => new LoraOptions { Rank = 2, Alpha = 4, Bias = LoraBias.All },
        }))
        using (RunDirectory run = new(path, false))
        {
            TrainResult result = new Trainer(model, adapter, options, run).Run(pairs, pairs);
            Assert.True(result.LastLoss < result.FirstLoss - 0.2, $"{result.FirstLoss} → {result.LastLoss}");
        }
        using LoadedAdapter loaded = AdapterFile.Load(Path.Combine(path, "adapter.safetensors"), model);
        double with = Evaluation.Loss(model, pairs, loaded).Loss;
        loaded.Merge();
        Assert.Equal(with, Evaluation.Loss(model, pairs).Loss, 1e-5);
        string merged = Path.Combine(directory, "merged");
        model.Save(merged);
        using LanguageModel again = LanguageModel.Load(merged, device);
        Assert.Equal(model.Identity, again.Identity);
        Assert.Equal(with, Evaluation.Loss(again, pairs).Loss, 1e-5);
    }

    [Fact]
    public void Targets_are_the_checkpoints_modules_and_attention_answers_to_one_letter()
    {
        using LanguageModel model = LanguageModel.Load(Random("gqa"), device);
        Assert.Equal("self_attn.q_proj:0,1 self_attn.v_proj:0,1", Resolve("q", "v"));
        Assert.Equal("self_attn.q_proj:0,1 self_attn.v_proj:0,1", Resolve("q_proj", "v_proj"));
        Assert.Equal("self_attn.k_proj:0,1 self_attn.o_proj:0,1", Resolve("o", "k"));
        Assert.Equal("mlp.gate_proj:1 mlp.up_proj:1 mlp.down_proj:1", Resolve("layers.1.mlp.*"));
        Assert.Equal("mlp.down_proj:0", Resolve("model.layers.0.mlp.down_proj"));
        Assert.Equal(7, AdapterTargets.Resolve(["*"], model.AdaptableMaps).Count);
        Assert.Equal("embed_tokens:0 lm_head:0", Resolve("lm_head", "embed_tokens"));
        Assert.Equal("embed_tokens:0", Resolve("model.embed_tokens"));
        Assert.Equal(
            "targets: 'c_attn' matches no linear map; maps are q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj in "
            + "model.layers.0 … model.layers.1, and by these names alone embed_tokens, lm_head.",
            Assert.Throws<NolaException>(() => Resolve("c_attn")).Message);
        Assert.Throws<NolaException>(() => Resolve("gate"));
        Assert.Equal([0, 1, 2, 3, 4, 5, 6], model.AdaptableMaps.Take(7).Select(map => map.Stream));

        string Resolve(params string[] patterns) =>
            string.Join(' ', AdapterTargets.Resolve(patterns, model.AdaptableMaps).Select(g => $"{g.Kind}:{string.Join(',', g.Layers)}"));
    }

    [Fact]
    public void The_numbers_of_all_kinds_are_those_of_the_specification()
    {
        string[][] rows =
        [
            .. File.ReadLines(Path.Combine(AppContext.BaseDirectory, "docs", "basis.md"))
                .Select(line => line.Split('|', StringSplitOptions.TrimEntries))
                .Where(cells => cells.Length == 6 && int.TryParse(cells[1], out _)),
        ];
        using LanguageModel gpt2 = TinyModels.Create(device, layers: 1), model = LanguageModel.Load(Random("gqa"), device);
        Assert.Equal(Column(2), Kinds(gpt2));
        Assert.Equal(Column(3), Kinds(model));

        // The name stands between the first two marks of code.
        IEnumerable<(int, string)> Column(int column) => rows.Select(cells => (int.Parse(cells[1]), cells[column].Split('`')[1]));

        static IEnumerable<(int, string)> Kinds(LanguageModel model) =>
            model.AdaptableMaps.Where(map => map.Layer == 0).OrderBy(map => map.Stream).Select(map => (map.Stream, map.Kind));
    }

    [Theory]
    [InlineData("gqa", "embed_tokens")]
    [InlineData("gqa", "lm_head")]
    [InlineData("tied", "embed_tokens")]
    [InlineData("tied", "lm_head")]
    [InlineData("tied", "embed_tokens,lm_head,q")]
    public void Adapters_on_the_embedding_and_the_head_give_the_logits_of_merged_tables(string kind, string targets)
    {
        using LanguageModel model = LanguageModel.Load(Random(kind), device);
        string export = Path.Combine(directory, "peft");
        int[] ids = [3, 1, 4, 1, 5, 9];
        float[] with;
        using (TrainableAdapter adapter = model.NewAdapter(new NolaOptions { Rank = 3, Bases = 20, Targets = targets.Split(',') }))
        {
            TinyModels.Randomize(adapter, new Random(3), 2);
            with = model.Logits(ids, adapter);
            PeftFiles.Save(adapter, export);
        }
        using (Safetensors written = Safetensors.Open(Path.Combine(export, "adapter_model.safetensors")))
        {
            const string Root = "base_model.model.";
            Assert.Equal(
                targets.Contains("embed"), written.TryGet(Root + "model.embed_tokens.lora_embedding_A", out SafetensorsEntry? a));
            Assert.Equal(targets.Contains("head"), written.TryGet(Root + "lm_head.lora_B.weight", out SafetensorsEntry? b));
            Assert.All(new[] { a, b }.OfType<SafetensorsEntry>(), entry => Assert.Contains(61, entry.Shape));
        }
        using LoadedAdapter loaded = AdapterFile.Load(export, model);
        OpCheck.Close(OpCheck.Wide(with), model.Logits(ids, loaded), 2e-5);
        Assert.True(model.Logits(ids).Zip(with, (a, b) => Math.Abs(a - b)).Max() > 0.1);
        loaded.Merge();
        // The reference reads embedding and head by their names.
        Assert.False(((LlamaConfig)model.Config).TiedHead);
        OpCheck.Close(LlamaReference.Of(model).Logits(ids), with, 2e-5);
    }

    [Fact]
    public void Biases_of_a_fused_map_are_trained_module_by_module()
    {
        using LanguageModel model = LanguageModel.Load(Random("qwen2"), device);
        string export = Path.Combine(directory, "peft"), file = Path.Combine(directory, "a");
        int[] ids = [3, 1, 4, 1, 5, 9];
        float[] with;
        LoraOptions options = new() { Rank = 2, Targets = ["q_proj", "v_proj"], Bias = LoraBias.LoraOnly };
        using (TrainableAdapter adapter = model.NewAdapter(options))
        {
            string[] biases = [.. adapter.Parameters.Select(p => p.Name).Where(name => name.EndsWith(".bias"))];
            Assert.Equal(
                [
                    "model.layers.0.self_attn.q_proj.bias", "model.layers.0.self_attn.v_proj.bias",
                    "model.layers.1.self_attn.q_proj.bias", "model.layers.1.self_attn.v_proj.bias",
                ],
                biases);
            Assert.Equal([1, 16], adapter.Parameters.First(p => p.Name == biases[1]).Shape.Dimensions());
            TinyModels.Randomize(adapter, new Random(3));
            with = model.Logits(ids, adapter);
            PeftFiles.Save(adapter, export);
            AdapterFile.Save(adapter, file);
        }
        using (Safetensors written = Safetensors.Open(Path.Combine(export, "adapter_model.safetensors")))
        {
            const string Module = "base_model.model.model.layers.1.self_attn.";
            Assert.Equal([48], written.Get(Module + "q_proj.base_layer.bias").Shape);
            Assert.Equal([16], written.Get(Module + "v_proj.base_layer.bias").Shape);
            Assert.False(written.TryGet(Module + "k_proj.bias", out _));
        }
        foreach (string path in (string[])[export, file])
        {
            using LoadedAdapter loaded = AdapterFile.Load(path, model);
            OpCheck.Close(OpCheck.Wide(with), model.Logits(ids, loaded), 1e-5);
        }
        using LoadedAdapter merging = AdapterFile.Load(file, model);
        float[] keyBias = Bias("k_proj"), queryBias = Bias("q_proj");
        merging.Merge();
        OpCheck.Close(OpCheck.Wide(with), model.Logits(ids), 1e-4);
        Assert.Equal(keyBias, Bias("k_proj"));
        Assert.NotEqual(queryBias, Bias("q_proj"));

        float[] Bias(string module) => model.Weights().First(w => w.Name == $"model.layers.1.self_attn.{module}.bias").Values();
    }

    [Fact]
    public void All_biases_are_PEFTs_modules_too()
    {
        using LanguageModel model = LanguageModel.Load(Random("qwen2"), device);
        string export = Path.Combine(directory, "peft");
        using TrainableAdapter adapter = model.NewAdapter(new LoraOptions { Rank = 2, Targets = ["v_proj"], Bias = LoraBias.All });
        TinyModels.Randomize(adapter, new Random(3));
        PeftFiles.Save(adapter, export);
        using Safetensors written = Safetensors.Open(Path.Combine(export, "adapter_model.safetensors"));
        Assert.Equal(
            ["k_proj.bias", "q_proj.bias", "v_proj.base_layer.bias", "v_proj.lora_A.weight", "v_proj.lora_B.weight"],
            written.Entries.Where(e => e.Name.Contains("layers.1.")).Select(e => e.Name[(e.Name.IndexOf("attn.") + 5)..]).Order());
        using LoadedAdapter loaded = AdapterFile.Load(export, model);
        OpCheck.Close(OpCheck.Wide(model.Logits([1, 2, 3], adapter)), model.Logits([1, 2, 3], loaded), 1e-5);
    }

    [Fact]
    public void A_bias_of_a_fused_map_has_the_gradient_of_its_own_columns()
    {
        using LanguageModel model = LanguageModel.Load(Random("qwen2"), device);
        using TrainableAdapter adapter = model.NewAdapter(new LoraOptions { Rank = 2, Targets = ["v_proj"], Bias = LoraBias.LoraOnly });
        TinyModels.Randomize(adapter, new Random(3), 0.1);
        TokenStream stream = TokenStreams.FromPairs(TinyModels.Pairs(new Random(4), 3, 61)).With(adapter);
        Parameter bias = adapter.Parameters.First(p => p.Name == "model.layers.1.self_attn.v_proj.bias");
        using (StreamTensors batch = new(device, stream))
        using (Tape tape = new(device))
            tape.Backward(model.Loss(tape, batch, 0, 1f / stream.Targets.Length));
        float[] gradient = bias.Gradient.ToArray(), values = bias.Value.ToArray();
        double slope = gradient.Sum(g => Math.Abs((double)g)), numeric = (Loss(1e-2f) - Loss(-1e-2f)) / 2e-2;
        Assert.True(slope > 1e-3);
        Assert.Equal(slope, numeric, 1e-4 + 0.02 * slope);

        double Loss(float by)
        {
            device.Upload([.. values.Zip(gradient, (v, g) => v + by * Math.Sign(g))], bias.Value);
            using StreamTensors batch = new(device, stream);
            using Tape tape = new(device, record: false);
            return model.Loss(tape, batch, 0, 1f / stream.Targets.Length).Value.Item();
        }
    }

    [Fact]
    public void Frequencies_of_old_checkpoints_are_passed_over_and_other_tensors_are_not()
    {
        string place = Random("gqa"), path = Path.Combine(place, "model.safetensors");
        using LanguageModel model = LanguageModel.Load(place, device);
        AdapterFiles.Change(path, path, null, all => all.Add(new("model.layers.1.self_attn.rotary_emb.inv_freq", [4], [1, 2, 3, 4])));
        using (LanguageModel loaded = LanguageModel.Load(place, device)) Assert.Equal(model.Identity, loaded.Identity);
        AdapterFiles.Change(path, path, null, all => all.Add(new("model.layers.1.self_attn.q_proj.bias", [48], new float[48])));
        Assert.Contains(
            "tensor 'model.layers.1.self_attn.q_proj.bias' is no weight of the LLaMA with 2 layers",
            Assert.Throws<NolaException>(() => LanguageModel.Load(place, device)).Message);
    }

    [Fact]
    public void A_checkpoint_in_shards_is_the_same_model_and_a_missing_module_is_named()
    {
        string place = Random("qwen2"), path = Path.Combine(place, "model.safetensors");
        using LanguageModel model = LanguageModel.Load(place, device);
        SafetensorsTensor[] all = [.. model.Weights().Select(w => new SafetensorsTensor(w.Name, w.Shape, w.Values()))];
        File.Delete(path);
        Dictionary<string, string> map = [];
        for (int shard = 0; shard < 3; shard++)
        {
            // Queries, keys and values of one layer lie in three files.
            SafetensorsTensor[] own = [.. all.Where((_, i) => i % 3 == shard)];
            SafetensorsWriter.Write(Path.Combine(place, $"model-{shard}.safetensors"), own);
            foreach (SafetensorsTensor tensor in own) map[tensor.Name] = $"model-{shard}.safetensors";
        }
        WriteIndex();
        using (LanguageModel loaded = LanguageModel.Load(place, device)) Assert.Equal(model.Identity, loaded.Identity);
        long before = device.Pool.LiveBytes;
        const string Lost = "model.layers.1.self_attn.k_proj.weight";
        string file = Path.Combine(place, map[Lost]);
        AdapterFiles.Change(file, file, null, tensors => tensors.RemoveAll(t => t.Name == Lost));
        map.Remove(Lost);
        WriteIndex();
        Assert.Contains($"tensor '{Lost}' is missing", Assert.Throws<NolaException>(() => LanguageModel.Load(place, device)).Message);
        Assert.Equal(before, device.Pool.LiveBytes);

        void WriteIndex() => File.WriteAllText(
            Path.Combine(place, "model.safetensors.index.json"), System.Text.Json.JsonSerializer.Serialize(new { weight_map = map }));
    }

    [Fact]
    public void Text_is_refused_while_ids_are_not()
    {
        // As large a vocabulary as GPT-2's, whose tokenizer it must not get.
        LlamaConfig config = new("llama", 1, 2, 1, 4, 8, 8, 50257, 16);
        using LanguageModel model = LanguageModel.Create(config, device, 1, trainable: false);
        Assert.Contains(
            "there is no tokenizer.json and no tokenizer.model beside its weights; put one there, or give token ids",
            Assert.Throws<NolaException>(() => model.Tokenizer).Message);
        Assert.Equal(3, model.Generate([1, 2], null, new() { MaxNewTokens = 3 }).Length);
    }

    [Fact]
    public void The_tool_reads_it_from_ids()
    {
        string place = Random("qwen3"), pairs = Path.Combine(directory, "pairs.jsonl"), file = Path.Combine(directory, "logits");
        File.WriteAllText(pairs, """{"context": [1, 2, 3], "completion": [4, 5]}""" + "\n");
        using LanguageModel model = LanguageModel.Load(place, device);
        Tool.Json("forward", "--model", place, "--ids", "1,2,3", "--out", file);
        using (Safetensors logits = Safetensors.Open(file))
            OpCheck.Close(OpCheck.Wide(model.Logits([1, 2, 3])), logits.ReadFinite(logits.Get("logits")), 1e-5);
        double loss = Assert.Single(Tool.Json("loss", "--model", place, "--pairs", pairs)).GetProperty("loss").GetDouble();
        Assert.Equal(Evaluation.Loss(model, [new([1, 2, 3], [4, 5])]).Loss, loss, 1e-5);
        Assert.Equal("Qwen3 model", Assert.Single(Tool.Json("inspect", place)).GetProperty("kind").GetString());
    }

    private static LlamaConfig Config(string kind) => kind switch
    {
        "gqa" => llama,
        "biases" => llama with { AttentionBias = true, MlpBias = true, BeginToken = 1, EndTokens = [2, 3] },
        "linear" => llama with { Rotary = new(5000, "linear", 2.5), EndTokens = [2] },
        "llama3" => llama with { Rotary = new(500000, "llama3", 8, 1, 4, 64), HeadSize = 10 },
        "tied" => llama with { TiedHead = true, KeyValueHeads = 6 },
        "window" => llama with { ModelType = "mistral", KeyValueHeads = 1, Window = 16 },
        "qwen2" => llama with { ModelType = "qwen2" },
        "qwen2-window" => llama with { ModelType = "qwen2", Window = 9 },
        _ => llama with { ModelType = "qwen3", AttentionBias = true, TiedHead = true },
    };

    // A model whose every weight matters: norms and biases too are not what they begin with.
    private string Random(string kind)
    {
        string place = Path.Combine(directory, kind);
        using LanguageModel model = LanguageModel.Create(Config(kind), device, 1);
        Random random = new(5);
        foreach (Parameter parameter in model.Parameters)
        {
            bool norm = parameter.Name.EndsWith("norm.weight");
            double spread = parameter.Shape.Rank == 1 ? 0.3 : parameter.Name.Contains("embed") ? 1 : 0.25;
            device.Upload([.. OpCheck.Values(random, parameter.Shape.Length, spread).Select(v => norm ? 1 + v : v)], parameter.Value);
        }
        model.Save(place);
        return place;
    }
}
