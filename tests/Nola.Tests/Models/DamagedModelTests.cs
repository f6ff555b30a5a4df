using System.Text.Json;
using System.Text.Json.Nodes;
using Nola.Models;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>Model directories that are not whole, or say one thing and mean another: one sentence, and nothing left behind.</summary>
public sealed class DamagedModelTests : IDisposable
{
    private readonly CpuDevice device = new(1);
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;
    private readonly List<SafetensorsTensor> weights;
    private readonly JsonObject config;

    public DamagedModelTests()
    {
        using LanguageModel model = LanguageModel.Load(TinyModels.Golden, device);
        weights = [.. model.Weights().Select(w => new SafetensorsTensor(w.Name, w.Shape, w.Values()))];
        config = JsonNode.Parse(File.ReadAllText(Path.Combine(TinyModels.Golden, "config.json")))!.AsObject();
    }

    public void Dispose()
    {
        device.Dispose();
        Directory.Delete(directory, recursive: true);
    }

    [Theory]
    [InlineData("\"scale_attn_weights\": false", "scale_attn_weights is false")]
    [InlineData("\"scale_attn_by_inverse_layer_idx\": true", "scale_attn_by_inverse_layer_idx is true")]
    [InlineData("\"add_cross_attention\": true", "add_cross_attention is true")]
    [InlineData("\"tie_word_embeddings\": \"false\"", "tie_word_embeddings is \"false\"; expected true or false")]
    [InlineData("\"quantization_config\": {\"bits\": 4}", "quantization_config is of the method none that it names")]
    [InlineData("\"pruned_heads\": {\"0\": [1]}", "pruned_heads is given")]
    [InlineData("\"n_ctx\": 23", "n_positions is 24 and n_ctx is 23; the two are one size")]
    [InlineData("\"hidden_size\": 64", "n_embd is 48 and hidden_size is 64; the two are one size")]
    [InlineData("\"n_inner\": \"192\"", "n_inner is \"192\"; expected a positive whole number")]
    [InlineData("\"layer_norm_epsilon\": 1e39", "layer_norm_epsilon is 1e39; expected a finite number")]
    [InlineData("\"layer_norm_epsilon\": -1", "layer_norm_epsilon is -1; expected a finite number")]
    [InlineData("\"layer_norm_epsilon\": \"NaN\"", "layer_norm_epsilon is \"NaN\"; expected a finite number")]
    [InlineData("\"activation_function\": 3", "activation_function is 3; expected text")]
    [InlineData("\"activation_function\": \"relu\"", "activation_function is \"relu\"")]
    [InlineData("\"model_type\": [\"gpt2\"]", "model_type is")]
    [InlineData("\"n_layer\": 99999999999", "n_layer is 99999999999")]
    [InlineData("\"n_embd\": 96000", "these sizes make a weight of")]
    [InlineData("\"note\": \"\\ud83d\"", "half of a character")]
    [InlineData("\"n_head\": 4, \"n_head\": 2", "is there twice")]
    public void A_configuration_that_GPT2_is_not_is_refused_by_name(string extra, string expected)
    {
        string name = extra[1..extra.IndexOf('"', 1)], text = config.ToJsonString();
        JsonObject others = JsonNode.Parse(text)!.AsObject();
        others.Remove(name);
        string json = others.ToJsonString()[..^1] + ", " + extra + "}";
        Assert.Contains(
            expected,
            Assert.Throws<NolaException>(() => Gpt2Config.Parse(System.Text.Encoding.UTF8.GetBytes(json), "config.json")).Message);
    }

    [Fact]
    public void A_configuration_that_is_not_UTF8_is_refused()
    {
        byte[] json = [.. "{\"model_type\": \"gp"u8, 0xFF, .. "t2\"}"u8];
        Assert.Contains("not valid UTF-8", Assert.Throws<NolaException>(() => Gpt2Config.Parse(json, "config.json")).Message);
    }

    [Fact]
    public void What_says_the_same_in_other_words_loads()
    {
        foreach ((string key, JsonNode? value) in (ReadOnlySpan<(string, JsonNode?)>)
            [
                ("scale_attn_weights", true),
                ("reorder_and_upcast_attn", true),
                ("n_inner", null),
                ("hidden_size", 48),
                ("pruned_heads", new JsonObject()),
                ("quantization_config", null),
                ("unknown", 5),
            ])
            config[key] = value;
        using LanguageModel model = Load(), golden = LanguageModel.Load(TinyModels.Golden, device);
        Assert.Equal(golden.Identity, model.Identity);
    }

    [Theory]
    [InlineData("h.1.attn.c_proj.weight", float.NaN, "NaN")]
    [InlineData("wte.weight", float.PositiveInfinity, "infinity")]
    [InlineData("ln_f.bias", float.NegativeInfinity, "infinity")]
    [InlineData("h.0.mlp.c_fc.bias", float.NaN, "NaN")]
    public void A_weight_that_is_not_finite_is_named(string name, float value, string said)
    {
        float[] values = weights.Single(w => w.Name == name).Values();
        values[^1] = value;
        foreach (DType type in (DType[])[DType.Float32, DType.BFloat16])
            Assert.Contains($"element {values.Length - 1} of tensor '{name}' is {said}", Refused(type));
    }

    [Fact]
    public void A_head_that_contradicts_the_configuration_is_refused_and_an_equal_or_the_only_one_loads()
    {
        using LanguageModel golden = LanguageModel.Load(TinyModels.Golden, device);
        SafetensorsTensor embedding = weights.Single(w => w.Name == "wte.weight");
        float[] head = [.. embedding.Values()];
        weights.Add(new SafetensorsTensor("lm_head.weight", embedding.Shape, head));
        using (LanguageModel equal = Load()) Assert.Equal(golden.Identity, equal.Identity);
        head[^1] += 1;
        Assert.Contains("'lm_head.weight' differs from 'wte.weight'", Refused());
        config["tie_word_embeddings"] = false;
        using (LanguageModel untied = Load()) Assert.NotEqual(golden.Logits([1, 2]), untied.Logits([1, 2]));
        config["tie_word_embeddings"] = true;
        head[^1] -= 1;
        weights.Remove(embedding);
        using (LanguageModel only = Load()) Assert.Equal(golden.Logits([1, 2]), only.Logits([1, 2]));
        config["tie_word_embeddings"] = false;
        Assert.Contains("'wte.weight' is missing", Refused());
    }

    [Theory]
    [InlineData("h.2.ln_1.weight")]
    [InlineData("h.01.ln_1.weight")]
    [InlineData("h.0.crossattention.c_attn.weight")]
    [InlineData("score.weight")]
    [InlineData("v_head.summary.weight")]
    public void A_tensor_that_nothing_reads_is_named(string name)
    {
        weights.Add(new SafetensorsTensor(name, [48], new float[48]));
        Assert.Contains($"tensor '{name}' is no weight of the GPT-2 with 2 layers", Refused());
    }

    [Fact]
    public void Masks_are_passed_over()
    {
        weights.Add(new SafetensorsTensor("h.0.attn.bias", [1, 1, 24, 24], new float[24 * 24]));
        weights.Add(new SafetensorsTensor("h.0.attn.masked_bias", [1], [float.NegativeInfinity]));
        using LanguageModel golden = LanguageModel.Load(TinyModels.Golden, device), model = Load();
        Assert.Equal(golden.Identity, model.Identity);
    }

    [Theory]
    [InlineData("{\"weight_map\": {\"wte.weight\": null}}", "the shard of 'wte.weight' is 'null'; expected a file name")]
    [InlineData("{\"weight_map\": {\"wte.weight\": 3}}", "the shard of 'wte.weight' is '3'; expected a file name")]
    [InlineData("{\"weight_map\": {\"wte.weight\": \"../../../../etc/passwd\"}}", "not a plain file name")]
    [InlineData("{\"weight_map\": {\"wte.weight\": \"..\"}}", "not a plain file name")]
    [InlineData("{\"weight_map\": {\"wte.weight\": \"a\\\\b\"}}", "not a plain file name")]
    [InlineData("{\"weight_map\": {\"wte.weight\": \"\"}}", "not a plain file name")]
    [InlineData("{\"weight_map\": {\"wte.weight\": \"a\", \"wte.weight\": \"b\"}}", "there twice")]
    [InlineData("{\"weight_map\": {\"\\ud83d\": \"a\"}}", "half of a character")]
    [InlineData("{\"weight_map\": []}", "not a valid index")]
    [InlineData("[]", "not a valid index")]
    [InlineData("{\"weight_map\": {}}", "'wte.weight' is missing")]
    public void An_index_that_names_no_files_is_refused(string index, string expected)
    {
        File.WriteAllText(Path.Combine(directory, "config.json"), config.ToJsonString());
        File.WriteAllText(Path.Combine(directory, "model.safetensors.index.json"), index);
        long before = device.Pool.LiveBytes;
        Assert.Contains(expected, Assert.Throws<NolaException>(() => LanguageModel.Load(directory, device)).Message);
        Assert.Equal(before, device.Pool.LiveBytes);
    }

    [Theory]
    [InlineData("h.1.mlp.c_proj.bias")]
    [InlineData("ln_f.bias")]
    [InlineData("wpe.weight")]
    public void A_failed_load_leaves_no_memory_taken(string missing)
    {
        weights.RemoveAll(w => w.Name == missing);
        Assert.Contains($"'{missing}' is missing", Refused());
        Assert.Contains($"'{missing}' is missing", Refused(trainable: true));
    }

    [Fact]
    public void Sizes_that_no_model_can_have_are_refused_before_anything_is_made()
    {
        Assert.Contains("n_head must divide", Create(new(1, 5, 24, 61, 40)));
        Assert.Contains("n_layer is 0", Create(new(0, 3, 24, 61, 40)));
        Assert.Contains("vocab_size is -1", Create(new(1, 3, 24, -1, 40)));
        Assert.Contains("layer_norm_epsilon is NaN", Create(new(1, 3, 24, 61, 40) { LayerNormEpsilon = float.NaN }));
        Assert.Contains("these sizes make a weight", Create(new(1, 1, 100_000, 61, 40)));

        string Create(Gpt2Config sizes) => Assert.Throws<NolaException>(() => LanguageModel.Create(sizes, device, 1)).Message;
    }

    [Fact]
    public void A_created_model_speaks_with_GPT2_s_vocabulary_and_without_it_says_so()
    {
        Gpt2Config small = new(1, 1, 8, 50257, 40);
        using LanguageModel model = LanguageModel.Create(small, device, 1, trainable: false), other = TinyModels.Create(device);
        Assert.Same(Gpt2Tokenizer.Default, model.Tokenizer);
        string text = model.Generate("a b", null, new GenerateOptions { MaxNewTokens = 3, StopTokens = [] });
        int[] ids = model.Generate(
            [.. Gpt2Tokenizer.Default.Encode("a b"), 50256], null, new GenerateOptions { MaxNewTokens = 3, StopTokens = [] });
        Assert.Equal(Gpt2Tokenizer.Default.Decode(ids).TrimStart(), text);
        Assert.Contains("its vocabulary is 61 and not GPT-2's 50257", Assert.Throws<NolaException>(() => other.Generate("a b")).Message);
    }

    private void Write(DType type = DType.Float32)
    {
        File.WriteAllText(Path.Combine(directory, "config.json"), config.ToJsonString());
        SafetensorsWriter.Write(Path.Combine(directory, "model.safetensors"), weights.Select(w => w with { Type = type }));
    }

    private LanguageModel Load()
    {
        Write();
        return LanguageModel.Load(directory, device);
    }

    private string Refused(DType type = DType.Float32, bool trainable = false)
    {
        Write(type);
        long before = device.Pool.LiveBytes;
        string message = Assert.Throws<NolaException>(() => LanguageModel.Load(directory, device, trainable)).Message;
        Assert.Equal(before, device.Pool.LiveBytes);
        return message;
    }
}
