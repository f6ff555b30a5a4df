using System.Text.Json;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// Reads the <c>config.json</c> of LLaMA and its kin, as version 4 of Hugging Face's transformers writes it and as version 5 does.
/// What would change the output is either understood or refused by name.
/// </summary>
internal static class LlamaConfigReader
{
    // Keys that change the output where relatives of the family have them, and the value at which they change nothing; off is
    // always plain: false, or an empty list or object.
    private static readonly (string Name, string Plain)[] plainKeys =
    [
        ("hidden_activation", "\"silu\""), ("partial_rotary_factor", "1"), ("rotary_pct", "1"), ("rope_waveform", "\"sinusoid\""),
        ("rope_interleave", "false"), ("rope_interleaved", "false"), ("no_rope_layers", "[]"), ("use_mrope", "false"), ("alibi", "false"),
        ("rope_local_base_freq", "null"),
        ("embedding_multiplier", "1"), ("residual_multiplier", "1"), ("logits_scaling", "1"), ("logit_scale", "1"), ("scale_emb", "1"),
        ("attention_multiplier", "null"), ("query_pre_attn_scalar", "null"), ("attention_chunk_size", "null"), ("clip_qkv", "null"),
        ("final_logit_softcapping", "null"), ("attn_logit_softcapping", "null"), ("sliding_window_pattern", "null"),
        ("qk_norm", "false"), ("use_qk_norm", "false"), ("qk_layernorm", "false"), ("use_parallel_residual", "false"),
        ("use_bidirectional_attention", "false"), ("num_experts", "0"), ("num_local_experts", "0"), ("n_routed_experts", "0"),
        ("add_cross_attention", "false"), ("is_encoder_decoder", "false"), ("pruned_heads", "{}"), ("vision_config", "{}"),
    ];

    private static readonly string[] rotaryKeys = ["rope_type", "type", "rope_theta", "partial_rotary_factor"];

    private static readonly string[] llama3Keys = ["low_freq_factor", "high_freq_factor", "original_max_position_embeddings"];

    public static LlamaConfig Read(ConfigFields fields, string type)
    {
        CheckPlain(fields);
        int heads = Needed("num_attention_heads"), channels = Needed("hidden_size");
        LlamaConfig config = new(
            type, Needed("num_hidden_layers"), heads, KeyValueHeads(), HeadSize(), channels, Needed("intermediate_size"),
            Needed("vocab_size"), Needed("max_position_embeddings"))
        {
            Rotary = Rotary(fields),
            // The key is inert in the others.
            AttentionBias = type is "llama" or "qwen3" && (fields.Flag("attention_bias") ?? false),
            MlpBias = type == "llama" && (fields.Flag("mlp_bias") ?? false),
            TiedHead = fields.Flag("tie_word_embeddings") ?? false,
            BeginToken = BeginToken(),
            EndTokens = fields.Tokens("eos_token_id"),
        };
        config = config with
        {
            NormEpsilon = fields.Epsilon("rms_norm_eps") ?? config.NormEpsilon,
            Window = Window(fields, type, config.Layers),
        };
        config.Check(fields.Path);
        return config;

        int Needed(string name) => fields.Size(name) ?? throw fields.Missing(name, $"the config.json of a {type} model gives it");

        int? BeginToken() => fields.Tokens("bos_token_id") switch
        {
            [] => null,
            [int only] => only,
            _ => throw fields.Bad("bos_token_id", "expected one token id"),
        };

        // A null stands for as many as there are of queries, and so does silence in the oldest LLaMAs.
        int KeyValueHeads() => fields.Size("num_key_value_heads")
            ?? (type == "llama" || fields.Has("num_key_value_heads") ? heads : Needed("num_key_value_heads"));

        int HeadSize()
        {
            if (fields.Size("head_dim") is { } given) return given;
            if (type == "qwen3") return Needed("head_dim");
            return channels % heads == 0 ? channels / heads : throw new NolaException(
                $"{fields.Path}: hidden_size is {channels} and num_attention_heads {heads}, and head_dim is missing; "
                + "without it num_attention_heads must divide hidden_size.");
        }
    }

    private static void CheckPlain(ConfigFields fields)
    {
        if (fields.Text("hidden_act") is { } activation && activation is not ("silu" or "swish"))
            throw fields.Bad("hidden_act", "supported is silu");
        QuantizationConfig.Check(fields);
        foreach ((string name, string plain) in plainKeys)
            if (fields.Given(name) is { } value && !IsOff(value) && !IsPlain(value, plain))
                throw fields.Bad(name, plain == "null" ? "models with it are not supported" : $"only {plain} is supported");
    }

    private static bool IsOff(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.False => true,
        JsonValueKind.Array => value.GetArrayLength() == 0,
        JsonValueKind.Object => value.GetPropertyCount() == 0,
        _ => false,
    };

    private static bool IsPlain(JsonElement value, string plain) => value.ValueKind == JsonValueKind.Number
        ? StrictNumber.TryReal(plain, out double number) && value.TryGetDouble(out double given) && given == number
        : value.GetRawText() == plain;

    // Version 4 has theta at the top and the rest in rope_scaling, version 5 all of it in rope_parameters; some files have both.
    private static LlamaRotary Rotary(ConfigFields fields)
    {
        double? theta = fields.Positive("rope_theta");
        List<(string Name, LlamaRotary Rotary)> found = [];
        foreach (string name in (ReadOnlySpan<string>)["rope_scaling", "rope_parameters"])
            if (fields.Within(name) is { } within) found.Add((name, Rotary(within, fields, theta)));
        if (found.Count == 0) return theta is { } only ? new(only) : new();
        if (found.Count == 2 && found[0].Rotary != found[1].Rotary)
            throw new NolaException(
                $"{fields.Path}: rope_scaling and rope_parameters differ; the two are one thing, so remove one of them.");
        return found[0].Rotary;
    }

    private static LlamaRotary Rotary(ConfigFields within, ConfigFields fields, double? outer)
    {
        (string? type, string? old) = (within.Text("rope_type"), within.Text("type"));
        if (type is not null && old is not null && type != old)
            throw within.Bad("rope_type", $"and type is {within.Shown("type")}; the two are one");
        string key = type is null ? "type" : "rope_type", kind = type ?? old ?? LlamaRotary.Default;
        if (!LlamaRotary.Types.Contains(kind)) throw within.Bad(key, $"supported are {string.Join(", ", LlamaRotary.Types)}");
        string[] known =
        [
            .. rotaryKeys, .. kind == LlamaRotary.Default ? (string[])[] : ["factor"], .. kind == LlamaRotary.Llama3 ? llama3Keys : [],
        ];
        if (within.Names.FirstOrDefault(name => !known.Contains(name)) is { } stranger)
            throw within.Bad(stranger, $"the rope type {kind} has no such setting");
        if (within.Positive("partial_rotary_factor") is { } part && part != 1)
            throw within.Bad("partial_rotary_factor", "only 1 is supported");
        double? inner = within.Positive("rope_theta");
        if (inner is not null && outer is not null && inner != outer)
            throw within.Bad("rope_theta", $"and outside of it {fields.Shown("rope_theta")}; the two are one");
        LlamaRotary plain = (inner ?? outer) is { } theta ? new(theta) : new();
        if (kind == LlamaRotary.Default) return plain;
        plain = plain with { Type = kind, Factor = Needed("factor") };
        return kind == LlamaRotary.Linear
            ? plain
            : plain with { Low = Needed(llama3Keys[0]), High = Needed(llama3Keys[1]), Original = Needed(llama3Keys[2]) };

        double Needed(string name) => within.Positive(name) ?? throw within.Missing(name, $"the rope type {kind} needs it");
    }

    // The sliding window of all layers, or 0; one layout of attention holds for all of them.
    private static int Window(ConfigFields fields, string type, int layers)
    {
        const int Usual = 4096;
        int window = fields.Size("sliding_window") ?? (type == "llama" || fields.Has("sliding_window") ? 0 : Usual);
        if (type == "llama" && window > 0) throw fields.Bad("sliding_window", "a llama model has none; is it a mistral?");
        if (type is "qwen2" or "qwen3" && !(fields.Flag("use_sliding_window") ?? false)) window = 0;
        int full = FullLayers(fields, type, layers) ?? (window > 0 ? 0 : layers);
        if (full == layers) return 0;
        string sort = fields.Given("layer_types") is null ? "max_window_layers" : "layer_types";
        if (full > 0) throw fields.Bad(sort, $"of {layers} layers {full} see everything and the others a window, which is not supported");
        return window > 0 ? window : throw fields.Bad(sort, "its sliding_window is missing or switched off");
    }

    // Layers without a window, where the configuration says it layer by layer.
    private static int? FullLayers(ConfigFields fields, string type, int layers)
    {
        const int Usual = 28;
        if (fields.Given("layer_types") is { } kinds)
        {
            const string Full = "full_attention", Sliding = "sliding_attention";
            string?[] all = kinds.ValueKind == JsonValueKind.Array
                ? [.. kinds.EnumerateArray().Select(kind => kind.ValueKind == JsonValueKind.String ? kind.GetString() : null)]
                : [];
            return all.Length == layers && all.All(kind => kind is Full or Sliding)
                ? all.Count(kind => kind == Full)
                : throw fields.Bad("layer_types", $"expected {Full} or {Sliding} for each of {layers} layers");
        }
        bool off = fields.Has("sliding_window") && fields.Given("sliding_window") is null;
        if (type is not ("qwen2" or "qwen3") || fields.Flag("use_sliding_window") is not true || off) return null;
        return Math.Min(layers, MaxWindowLayers());

        int MaxWindowLayers() => fields.Given("max_window_layers") switch
        {
            null => Usual,
            { ValueKind: JsonValueKind.Number } value when value.TryGetInt32(out int number) && number >= 0 => number,
            _ => throw fields.Bad("max_window_layers", "expected a whole number from 0"),
        };
    }
}
