using System.Text;
using System.Text.Json.Nodes;
using Nola.Models;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>Configurations of LLaMA and its kin: what is understood has its value, and the rest is refused by name.</summary>
public sealed class LlamaConfigTests
{
    private const string Sizes =
        """
        "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 16, "hidden_size": 72,
        "intermediate_size": 112, "vocab_size": 199, "max_position_embeddings": 128
        """;

    [Theory]
    [InlineData("llama", "")]
    [InlineData("llama", "\"hidden_act\": \"swish\", \"pretraining_tp\": 2, \"attention_dropout\": 0.1, \"torch_dtype\": \"float16\"")]
    [InlineData("llama", "\"rope_scaling\": null, \"sliding_window\": null, \"quantization_config\": null, \"pruned_heads\": {}")]
    [InlineData("llama", "\"rope_scaling\": {\"type\": \"default\", \"rope_type\": \"default\"}, \"partial_rotary_factor\": 1.0")]
    [InlineData("llama", "\"rope_parameters\": {\"rope_theta\": 10000.0, \"rope_type\": \"default\"}, \"rope_theta\": 10000")]
    [InlineData("llama", "\"layer_types\": [\"full_attention\", \"full_attention\", \"full_attention\"], \"num_experts\": 0")]
    [InlineData("llama", "\"quantization_config\": {\"_load_in_4bit\": true, \"load_in_4bit\": true, \"bnb_4bit_quant_type\": \"nf4\", "
        + "\"bnb_4bit_use_double_quant\": true, \"bnb_4bit_quant_storage\": \"uint8\", \"quant_method\": \"bitsandbytes\"}")]
    [InlineData("llama", "\"quantization_config\": {\"load_in_8bit\": true, \"llm_int8_threshold\": 6.0}")]
    public void What_changes_nothing_is_passed_over(string type, string extra)
    {
        LlamaConfig config = Parse(type, extra);
        Assert.Equal(new LlamaConfig(type, 3, 6, 2, 16, 72, 112, 199, 128).Description, config.Description);
        Assert.Equal(config.Description, ((LlamaConfig)ModelFamilies.Parse(Encoding.UTF8.GetBytes(config.ToJson()), "x")).Description);
    }

    [Theory]
    [InlineData("mistral", "", 4096)]
    [InlineData("mistral", "\"sliding_window\": null", 0)]
    [InlineData("mistral", "\"sliding_window\": 16", 16)]
    [InlineData("qwen2", "\"sliding_window\": 16", 0)]
    [InlineData("qwen2", "\"sliding_window\": 16, \"use_sliding_window\": false", 0)]
    [InlineData("qwen2", "\"sliding_window\": 16, \"use_sliding_window\": true", 0)]
    [InlineData("qwen2", "\"sliding_window\": 16, \"use_sliding_window\": true, \"max_window_layers\": 3", 0)]
    [InlineData("qwen3", "\"sliding_window\": 16, \"use_sliding_window\": true, \"max_window_layers\": 0", 16)]
    [InlineData("qwen3", "\"use_sliding_window\": true, \"max_window_layers\": 0", 4096)]
    [InlineData("qwen3", "\"sliding_window\": null, \"use_sliding_window\": true, \"max_window_layers\": 0", 0)]
    [InlineData("mistral", "\"sliding_window\": 5, \"layer_types\": [\"sliding_attention\", \"sliding_attention\", \"sliding_attention\"]",
        5)]
    public void The_window_is_that_of_transformers(string type, string extra, int window)
    {
        LlamaConfig config = Parse(type, extra);
        Assert.Equal(window, config.Window);
        Assert.Equal(window, ((LlamaConfig)ModelFamilies.Parse(Encoding.UTF8.GetBytes(config.ToJson()), "x")).Window);
    }

    [Fact]
    public void Sizes_that_are_not_given_follow_from_others()
    {
        JsonObject json = JsonNode.Parse("{" + Sizes + ", \"model_type\": \"llama\"}")!.AsObject();
        json.Remove("head_dim");
        json.Remove("num_key_value_heads");
        json["eos_token_id"] = new JsonArray(5, 6);
        json["bos_token_id"] = 4;
        LlamaConfig config = Parse(json);
        Assert.Equal((6, 12, 4), (config.KeyValueHeads, config.HeadSize, config.BeginToken));
        Assert.Equal([5, 6], config.EndTokens);
        Assert.Equal((1e-6f, 10000d), (config.NormEpsilon, config.Rotary.Theta));
        json["eos_token_id"] = 7;
        Assert.Equal([7], Parse(json).EndTokens);
        json["hidden_size"] = 71;
        Assert.Contains("without it num_attention_heads must divide hidden_size", Refused(json));
        json["hidden_size"] = 72;
        json["model_type"] = "mistral";
        Assert.Contains("num_key_value_heads is missing; the config.json of a mistral model gives it", Refused(json));
        json["num_key_value_heads"] = null;
        Assert.Equal(6, Parse(json).KeyValueHeads);
        json["model_type"] = "qwen3";
        Assert.Contains("head_dim is missing", Refused(json));
    }

    [Theory]
    [InlineData("llama", "\"hidden_act\": \"gelu\"", "hidden_act is \"gelu\"; supported is silu.")]
    [InlineData("llama", "\"head_dim\": 15", "head_dim is 15; rotary position embedding turns pairs of columns")]
    [InlineData("llama", "\"head_dim\": \"16\"", "head_dim is \"16\"; expected a positive whole number")]
    [InlineData("llama", "\"num_key_value_heads\": 4", "num_attention_heads is 6 and num_key_value_heads 4")]
    [InlineData("llama", "\"vocab_size\": 0", "vocab_size is 0")]
    [InlineData("llama", "\"hidden_size\": 9000000, \"intermediate_size\": 9000000", "these sizes make a weight of")]
    [InlineData("llama", "\"rms_norm_eps\": -1", "rms_norm_eps is -1; expected a finite number from 0")]
    [InlineData("llama", "\"rope_theta\": 0", "rope_theta is 0; expected a finite number above 0")]
    [InlineData("llama", "\"rope_theta\": 1e999", "rope_theta is 1e999")]
    [InlineData("llama", "\"rope_theta\": 1e-320", "rope_theta is 1E-320; expected 1E-09 to 1E+30")]
    [InlineData("qwen2", "\"num_hidden_layers\": 30, \"use_sliding_window\": true", "max_window_layers is not given; of 30 layers 28 see")]
    [InlineData("llama", "\"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 2}",
        "rope_scaling: type is \"dynamic\"; supported are default, linear, llama3.")]
    [InlineData("qwen2", "\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4}", "rope_scaling: rope_type is \"yarn\"")]
    [InlineData("llama", "\"rope_parameters\": {\"full_attention\": {}}",
        "rope_parameters: full_attention is {}; the rope type default has no such")]
    [InlineData("llama", "\"rope_scaling\": {\"rope_type\": \"linear\"}", "rope_scaling: factor is missing; the rope type linear needs it")]
    [InlineData("llama", "\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": \"2\"}",
        "factor is \"2\"; expected a finite number above 0")]
    [InlineData("llama", "\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 2, \"mscale\": 1}",
        "mscale is 1; the rope type linear has no such")]
    [InlineData("llama", "\"rope_scaling\": {\"rope_type\": \"linear\", \"type\": \"llama3\"}",
        "rope_type is \"linear\"; and type is \"llama3\"")]
    [InlineData("llama", "\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8}", "low_freq_factor is missing")]
    [InlineData("llama",
        "\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": "
        + "4, \"high_freq_factor\": 4, \"original_max_position_embeddings\": 64}",
        "high_freq_factor must be the larger")]
    [InlineData("llama", "\"rope_scaling\": \"linear\"", "rope_scaling is \"linear\"; expected an object")]
    [InlineData("llama", "\"rope_theta\": 10, \"rope_parameters\": {\"rope_theta\": 20}",
        "rope_parameters: rope_theta is 20; and outside of it 10")]
    [InlineData("llama",
        "\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 2}, \"rope_parameters\": {\"rope_type\": \"linear\", \"factor\": 3}",
        "rope_scaling and rope_parameters differ")]
    [InlineData("llama", "\"rope_parameters\": {\"partial_rotary_factor\": 0.5}", "partial_rotary_factor is 0.5; only 1 is supported")]
    [InlineData("llama", "\"partial_rotary_factor\": 0.25", "partial_rotary_factor is 0.25; only 1 is supported")]
    [InlineData("qwen3", "\"rope_waveform\": \"square\"", "rope_waveform is \"square\"; only \"sinusoid\" is supported")]
    [InlineData("llama", "\"embedding_multiplier\": 12.0", "embedding_multiplier is 12.0; only 1 is supported")]
    [InlineData("llama", "\"final_logit_softcapping\": 30.0", "final_logit_softcapping is 30.0; models with it are not supported")]
    [InlineData("llama", "\"use_qk_norm\": true", "use_qk_norm is true; only false is supported")]
    [InlineData("llama", "\"num_local_experts\": 8", "num_local_experts is 8")]
    [InlineData("llama", "\"quantization_config\": {\"load_in_4bit\": true}", "not given, which means fp4; of 4-bit types only nf4")]
    [InlineData(
        "llama", "\"quantization_config\": {\"load_in_4bit\": true, \"bnb_4bit_quant_type\": \"fp4\"}",
        "bnb_4bit_quant_type of quantization_config is \"fp4\"; of 4-bit types only nf4")]
    [InlineData(
        "qwen2", "\"quantization_config\": {\"quant_method\": \"gptq\", \"bits\": 4}",
        "quantization_config is of the method gptq; of quantized checkpoints only NF4 and int8 of bitsandbytes can be read")]
    [InlineData("llama", "\"quantization_config\": {\"quant_method\": \"awq\"}", "quantization_config is of the method awq")]
    [InlineData(
        "llama",
        "\"quantization_config\": {\"load_in_4bit\": true, \"bnb_4bit_quant_type\": \"nf4\", \"bnb_4bit_quant_storage\": \"bfloat16\"}",
        "bnb_4bit_quant_storage is \"bfloat16\"; only uint8")]
    [InlineData("llama", "\"sliding_window\": 16", "sliding_window is 16; a llama model has none")]
    [InlineData("mistral", "\"sliding_window\": 0", "sliding_window is 0; expected a positive whole number")]
    [InlineData("mistral", "\"layer_types\": [\"full_attention\"]", "expected full_attention or sliding_attention for each of 3 layers")]
    [InlineData("llama", "\"layer_types\": [\"full_attention\", \"full_attention\", \"chunked\"]", "for each of 3 layers")]
    [InlineData("mistral", "\"layer_types\": [\"full_attention\", \"full_attention\", \"sliding_attention\"]",
        "of 3 layers 2 see everything")]
    [InlineData("qwen2", "\"sliding_window\": 16, \"use_sliding_window\": true, \"max_window_layers\": 1",
        "max_window_layers is 1; of 3 layers 1 see everything")]
    [InlineData("qwen2", "\"layer_types\": [\"sliding_attention\", \"sliding_attention\", \"sliding_attention\"]",
        "its sliding_window is missing or switched off")]
    [InlineData("llama", "\"tie_word_embeddings\": 1", "tie_word_embeddings is 1; expected true or false")]
    [InlineData("llama", "\"eos_token_id\": [1, \"2\"]", "eos_token_id is [1, \"2\"]; expected a token id, or a list of them")]
    [InlineData("llama", "\"bos_token_id\": [1, 2]", "bos_token_id is [1, 2]; expected one token id")]
    [InlineData("gemma", "", "model_type is \"gemma\"; supported is \"gpt2\", \"llama\", \"mistral\", \"qwen2\", \"qwen3\"")]
    public void What_would_change_the_output_is_refused_by_name(string type, string extra, string expected)
    {
        string message = Assert.Throws<NolaException>(() => Parse(type, extra)).Message;
        Assert.StartsWith("config.json: ", message);
        Assert.Contains(expected, message);
    }

    [Fact]
    public void Sizes_of_one_s_own_are_checked_too()
    {
        using CpuDevice device = new(1);
        LlamaConfig config = new("llama", 1, 2, 1, 4, 8, 8, 10, 16);
        LlamaConfig[] all =
        [
            config with { ModelType = "gemma" }, config with { HeadSize = 3 },
            config with { Window = -1 }, config with { NormEpsilon = float.NaN },
            config with { Rotary = new(Type: "yarn") }, config with { Rotary = new(double.NaN) },
        ];
        foreach (LlamaConfig bad in all)
            Assert.StartsWith("LanguageModel.Create: ", Assert.Throws<NolaException>(() => LanguageModel.Create(bad, device, 1)).Message);
    }

    private static LlamaConfig Parse(string type, string extra)
    {
        JsonObject sizes = JsonNode.Parse("{" + Sizes + "}")!.AsObject();
        // What is said twice is said as the extra says it.
        foreach ((string name, _) in JsonNode.Parse("{" + extra + "}")!.AsObject()) sizes.Remove(name);
        string json = sizes.ToJsonString()[..^1] + $", \"model_type\": \"{type}\"" + (extra.Length > 0 ? ", " + extra : "") + "}";
        return (LlamaConfig)ModelFamilies.Parse(Encoding.UTF8.GetBytes(json), "config.json");
    }

    private static LlamaConfig Parse(JsonObject json) =>
        (LlamaConfig)ModelFamilies.Parse(Encoding.UTF8.GetBytes(json.ToJsonString()), "config.json");

    private static string Refused(JsonObject json) => Assert.Throws<NolaException>(() => Parse(json)).Message;
}
