using System.Globalization;
using System.Text.Json;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// Sizes of a GPT-2 (Radford et al. 2019), with the names of Hugging Face's <c>config.json</c> in the remarks of each.
/// </summary>
/// <param name="Layers">Number of blocks (<c>n_layer</c>).</param>
/// <param name="Heads">Attention heads (<c>n_head</c>).</param>
/// <param name="Channels">Width of the residual stream, C (<c>n_embd</c>).</param>
/// <param name="Vocabulary">Number of tokens, V (<c>vocab_size</c>).</param>
/// <param name="Positions">Longest sequence (<c>n_positions</c>).</param>
public sealed record Gpt2Config(int Layers, int Heads, int Channels, int Vocabulary = 50257, int Positions = 1024) : ModelConfig
{
    private static readonly string[] geluNames = ["gelu_new", "gelu_pytorch_tanh", "gelu_fast"];

    // Flags that change the output, and what they are in GPT-2.
    private static readonly (string Name, bool Plain)[] plainFlags =
    [
        ("scale_attn_weights", true), ("scale_attn_by_inverse_layer_idx", false),
        ("add_cross_attention", false), ("is_encoder_decoder", false),
    ];

    /// <summary>ε of the layer norms (<c>layer_norm_epsilon</c>).</summary>
    public float LayerNormEpsilon { get; init; } = 1e-5f;

    /// <summary>Width of the MLP (<c>n_inner</c>), 4C unless given.</summary>
    public int Inner { get; init; } = 4 * Channels;

    /// <summary>Whether the head is the token embedding (<c>tie_word_embeddings</c>).</summary>
    public bool TiedHead { get; init; } = true;

    /// <summary>
    /// The token that begins and ends texts (<c>eos_token_id</c>); where a file does not say, the last one of GPT-2's vocabulary, or of a
    /// smaller one that was made for pretraining. A larger one is padded.
    /// </summary>
    internal int EndToken { get; init; } = Math.Min(Vocabulary, Gpt2Tokenizer.GptVocabulary) - 1;

    /// <inheritdoc/>
    public override ModelFamily Family => Gpt2Family.Instance;

    /// <inheritdoc/>
    public override LanguageShape Shape => new(Layers, Channels, Vocabulary, Positions, Attention);

    /// <inheritdoc/>
    public override string Description => string.Create(
        CultureInfo.InvariantCulture,
        $"{SampledDescription} {BitConverter.SingleToUInt32Bits(LayerNormEpsilon):x8} {(TiedHead ? "tied" : "untied")}");

    /// <inheritdoc/>
    public override (string Embedding, string Head)? Tied => TiedHead ? ("wte.weight", "lm_head.weight") : null;

    /// <inheritdoc/>
    public override ModelConfig Untied => this with { TiedHead = false };

    /// <inheritdoc/>
    internal override string SampledDescription => string.Create(
        CultureInfo.InvariantCulture, $"gpt2 {Layers} {Heads} {Channels} {Inner} {Vocabulary} {Positions}");

    /// <summary>Rows of 3C columns, each token seeing those before it.</summary>
    internal AttentionLayout Attention => AttentionLayout.Of(Channels, Heads);

    /// <summary>The published sizes: <c>gpt2</c>, <c>gpt2-medium</c>, <c>gpt2-large</c>, <c>gpt2-xl</c>; null for another name.</summary>
    public static Gpt2Config? ByName(string name) => name switch
    {
        "gpt2" => new(12, 12, 768),
        "gpt2-medium" => new(24, 16, 1024),
        "gpt2-large" => new(36, 20, 1280),
        "gpt2-xl" => new(48, 25, 1600),
        _ => null,
    };

    /// <summary>Number of trained values: embeddings, blocks, final norm, and the head when it is not tied.</summary>
    public override long ParameterCount
    {
        get
        {
            long c = Channels, block = 4 * c + (c * 3 * c + 3 * c) + (c * c + c) + (c * Inner + Inner) + (Inner * c + c);
            return (Vocabulary + Positions) * c + Layers * block + 2 * c + (TiedHead ? 0 : Vocabulary * c);
        }
    }

    /// <summary>Reads a Hugging Face <c>config.json</c>.</summary>
    /// <param name="json">Its UTF-8 text.</param>
    /// <param name="path">Where it came from, for messages.</param>
    /// <exception cref="NolaException">
    /// It is not JSON, lacks a size, contradicts itself, or asks for something that GPT-2 does not have.
    /// </exception>
    public static Gpt2Config Parse(ReadOnlyMemory<byte> json, string path)
    {
        using JsonDocument document = JsonInput.Parse(json, path);
        if (document.RootElement.ValueKind != JsonValueKind.Object) throw new NolaException($"{path}: expected a JSON object.");
        return Parse(document.RootElement, path);
    }

    /// <inheritdoc/>
    public override ILanguageNetwork Build(ModelBuilder make) => new Gpt2(this, make);

    /// <summary>
    /// GPT-2's initial values: N(0, 0.02²), with the projections into the residual stream divided by √(2 · layers) (Radford et al.
    /// 2019, section 2.3); positions N(0, 0.01²).
    /// </summary>
    /// <inheritdoc/>
    public override float Deviation(string name, out float mean)
    {
        bool bias = name.EndsWith(".bias", StringComparison.Ordinal), norm = name.Contains("ln_", StringComparison.Ordinal);
        mean = norm && !bias ? 1 : 0;
        if (bias || norm) return 0;
        if (name == "wpe.weight") return 0.01f;
        return name.EndsWith("c_proj.weight", StringComparison.Ordinal) ? 0.02f / MathF.Sqrt(2 * Layers) : 0.02f;
    }

    /// <inheritdoc/>
    public override void Check(string place)
    {
        (string, int)[] sizes =
        [
            ("n_layer", Layers), ("n_head", Heads), ("n_embd", Channels), ("n_inner", Inner), ("vocab_size", Vocabulary),
            ("n_positions", Positions),
        ];
        foreach ((string name, int size) in sizes)
            ConfigFields.CheckSize(size, name, place);
        if (Channels % Heads != 0) throw new NolaException($"{place}: n_embd is {Channels} and n_head {Heads}; n_head must divide n_embd.");
        if (!(LayerNormEpsilon >= 0 && float.IsFinite(LayerNormEpsilon)))
            throw new NolaException($"{place}: layer_norm_epsilon is {LayerNormEpsilon}; expected a finite number from 0.");
        long largest = (long)Channels * Math.Max(Math.Max(Vocabulary, Positions), Math.Max(3 * Channels, Inner));
        if (largest > int.MaxValue)
            throw new NolaException(
                $"{place}: these sizes make a weight of {largest} elements; this version holds at most {int.MaxValue} in one.");
    }

    /// <inheritdoc/>
    public override string ToJson() => JsonSerializer.Serialize(
        new Dictionary<string, object>
        {
            ["model_type"] = "gpt2",
            ["architectures"] = new[] { "GPT2LMHeadModel" },
            ["n_layer"] = Layers,
            ["n_head"] = Heads,
            ["n_embd"] = Channels,
            ["n_inner"] = Inner,
            ["vocab_size"] = Vocabulary,
            ["n_positions"] = Positions,
            ["n_ctx"] = Positions,
            ["layer_norm_epsilon"] = StrictNumber.Shortest(LayerNormEpsilon),
            ["activation_function"] = "gelu_new",
            ["tie_word_embeddings"] = TiedHead,
            ["bos_token_id"] = EndToken,
            ["eos_token_id"] = EndToken,
        },
        JsonForms.Indented);

    internal static Gpt2Config Parse(JsonElement root, string path)
    {
        ConfigFields fields = new(root, path);
        CheckKind(fields);
        Gpt2Config config = new(
            Size("n_layer", "num_hidden_layers"), Size("n_head", "num_attention_heads"), Size("n_embd", "hidden_size"),
            Size("vocab_size"), Size("n_positions", "n_ctx", "max_position_embeddings"));
        config = config with
        {
            LayerNormEpsilon = fields.Epsilon("layer_norm_epsilon") ?? config.LayerNormEpsilon,
            Inner = fields.Size("n_inner") ?? config.Inner,
            TiedHead = fields.Flag("tie_word_embeddings") ?? true,
        };
        config.Check(path);
        if (root.TryGetProperty("eos_token_id", out JsonElement end) && end.ValueKind == JsonValueKind.Number
            && end.TryGetInt32(out int token) && token >= 0 && token < config.Vocabulary)
            config = config with { EndToken = token };
        return config;

        // Of the names that a size goes by; all that are given say the same.
        int Size(params string[] names)
        {
            List<(string Name, int Value)> given = [];
            foreach (string name in names)
                if (fields.Size(name) is { } value) given.Add((name, value));
            if (given.Count == 0)
                throw new NolaException(
                    $"{path}: {names[0]} is missing; a GPT-2 config.json gives n_layer, n_head, n_embd, vocab_size and n_positions.");
            foreach ((string name, int value) in given)
                if (value != given[0].Value)
                    throw new NolaException(
                        $"{path}: {given[0].Name} is {given[0].Value} and {name} is {value}; the two are one size.");
            return given[0].Value;
        }
    }

    // What would change the output, and is another thing than GPT-2's.
    private static void CheckKind(ConfigFields fields)
    {
        if (fields.Text("model_type") is { } type && type != "gpt2")
            throw new NolaException($"{fields.Path}: model_type is {fields.Shown("model_type")}; only \"gpt2\" is supported.");
        if (fields.Text("activation_function") is { } activation && !geluNames.Contains(activation))
            throw fields.Bad("activation_function", $"supported are {string.Join(", ", geluNames)}");
        foreach ((string flag, bool plain) in plainFlags)
            if (fields.Flag(flag) is { } set && set != plain)
                throw fields.Bad(flag, "GPT-2 checkpoints with it are not supported");
        QuantizationConfig.Check(fields);
        const string Pruned = "pruned_heads";
        if (fields.Given(Pruned) is { } value && !(value.ValueKind == JsonValueKind.Object && value.GetPropertyCount() == 0))
            throw new NolaException($"{fields.Path}: {Pruned} is given; only GPT-2 checkpoints with all their heads are supported.");
    }
}
