using System.Globalization;
using System.Text.Json;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// Sizes of a model of LLaMA's kind, with the names of Hugging Face's <c>config.json</c> in the remarks of each.
/// </summary>
/// <param name="ModelType"><c>llama</c>, <c>mistral</c>, <c>qwen2</c> or <c>qwen3</c> (<c>model_type</c>).</param>
/// <param name="Layers">Number of blocks (<c>num_hidden_layers</c>).</param>
/// <param name="Heads">Heads of queries, H (<c>num_attention_heads</c>).</param>
/// <param name="KeyValueHeads">Heads of keys and of values, G, which divides H (<c>num_key_value_heads</c>).</param>
/// <param name="HeadSize">Columns of a head, D, an even number (<c>head_dim</c>).</param>
/// <param name="Channels">Width of the residual stream, C (<c>hidden_size</c>).</param>
/// <param name="Inner">Width of the MLP, I (<c>intermediate_size</c>).</param>
/// <param name="Vocabulary">Number of tokens, V (<c>vocab_size</c>).</param>
/// <param name="Positions">Longest sequence (<c>max_position_embeddings</c>).</param>
public sealed record LlamaConfig(
    string ModelType, int Layers, int Heads, int KeyValueHeads, int HeadSize, int Channels, int Inner, int Vocabulary, int Positions)
    : ModelConfig
{
    /// <summary>ε of the norms (<c>rms_norm_eps</c>).</summary>
    public float NormEpsilon { get; init; } = 1e-6f;

    /// <summary>The rotary position embedding (<c>rope_theta</c> and <c>rope_scaling</c>, or <c>rope_parameters</c>).</summary>
    public LlamaRotary Rotary { get; init; } = new();

    /// <summary>The most tokens that one sees, itself included; 0 for no limit (<c>sliding_window</c>).</summary>
    public int Window { get; init; }

    /// <summary>Whether the linear maps of attention have biases, in llama and qwen3 (<c>attention_bias</c>).</summary>
    public bool AttentionBias { get; init; }

    /// <summary>Whether the linear maps of the MLP have biases, in llama (<c>mlp_bias</c>).</summary>
    public bool MlpBias { get; init; }

    /// <summary>Whether the head is the token embedding (<c>tie_word_embeddings</c>).</summary>
    public bool TiedHead { get; init; }

    /// <inheritdoc/>
    public override ModelFamily Family => LlamaFamily.All.First(family => family.ModelType == ModelType);

    /// <inheritdoc/>
    public override LanguageShape Shape => new(Layers, Channels, Vocabulary, Positions, Attention);

    /// <inheritdoc/>
    public override string Description => string.Create(
        CultureInfo.InvariantCulture,
        $"{ModelType} {Layers} {Heads} {KeyValueHeads} {HeadSize} {Channels} {Inner} {Vocabulary} {Positions} "
        + $"{BitConverter.SingleToUInt32Bits(NormEpsilon):x8} {Rotary.Description} {Window} {(TiedHead ? "tied" : "untied")}");

    /// <inheritdoc/>
    public override (string Embedding, string Head)? Tied => TiedHead ? ("model.embed_tokens.weight", "lm_head.weight") : null;

    /// <inheritdoc/>
    public override ModelConfig Untied => this with { TiedHead = false };

    /// <inheritdoc/>
    public override long ParameterCount
    {
        get
        {
            long c = Channels, i = Inner, wide = Attention.Width, narrow = Attention.QueryWidth;
            long attention = c * wide + narrow * c + (QueryBias ? wide : 0) + (AttentionBias ? c : 0);
            long mlp = 3 * c * i + (MlpBias ? 2 * i + c : 0), norms = 2 * c + (NormalizesHeads ? 2 * HeadSize : 0);
            return (TiedHead ? 1 : 2) * Vocabulary * c + Layers * (attention + mlp + norms) + c;
        }
    }

    /// <summary>Rows of H heads of queries, then G of keys and G of values; each token sees those before it in its window.</summary>
    internal AttentionLayout Attention => new(Heads, KeyValueHeads, HeadSize, causal: true, Window);

    internal RotaryFrequencies Frequencies => Rotary.Frequencies(HeadSize);

    /// <summary>Whether q, k and v have biases.</summary>
    internal bool QueryBias => AttentionBias || ModelType == "qwen2";

    /// <summary>Whether each head of q and of k is normalized before it is turned.</summary>
    internal bool NormalizesHeads => ModelType == "qwen3";

    /// <inheritdoc/>
    public override ILanguageNetwork Build(ModelBuilder make) => new Llama(this, make);

    /// <summary>N(0, 0.02²), with norms of 1 and biases of 0, as Hugging Face begins.</summary>
    /// <inheritdoc/>
    public override float Deviation(string name, out float mean)
    {
        bool norm = name.EndsWith("norm.weight", StringComparison.Ordinal);
        mean = norm ? 1 : 0;
        return norm || name.EndsWith(".bias", StringComparison.Ordinal) ? 0 : 0.02f;
    }

    /// <inheritdoc/>
    public override void Check(string place)
    {
        if (!LlamaFamily.All.Any(family => family.ModelType == ModelType))
            throw new NolaException(
                $"{place}: model_type is {Quoted.Of(ModelType)}; expected {string.Join(", ", LlamaFamily.All.Select(f => f.ModelType))}.");
        (string, int)[] sizes =
        [
            ("num_hidden_layers", Layers), ("num_attention_heads", Heads), ("num_key_value_heads", KeyValueHeads), ("head_dim", HeadSize),
            ("hidden_size", Channels), ("intermediate_size", Inner), ("vocab_size", Vocabulary), ("max_position_embeddings", Positions),
        ];
        foreach ((string name, int size) in sizes) ConfigFields.CheckSize(size, name, place);
        if (Heads % KeyValueHeads != 0)
            throw new NolaException(
                $"{place}: num_attention_heads is {Heads} and num_key_value_heads {KeyValueHeads}; "
                + "num_key_value_heads must divide num_attention_heads.");
        if (HeadSize % 2 != 0)
            throw new NolaException(
                $"{place}: head_dim is {HeadSize}; rotary position embedding turns pairs of columns, so that it must be even.");
        if (Window < 0) throw new NolaException($"{place}: sliding_window is {Window}; expected at least 1 token, or none.");
        if (!(NormEpsilon >= 0 && float.IsFinite(NormEpsilon)))
            throw new NolaException($"{place}: rms_norm_eps is {NormEpsilon}; expected a finite number from 0.");
        Rotary.Check(place);
        long widest = Math.Max(Math.Max(Vocabulary, (Heads + 2L * KeyValueHeads) * HeadSize), 2L * Inner);
        if (widest * Channels > int.MaxValue)
            throw new NolaException(
                $"{place}: these sizes make a weight of {widest * Channels} elements; this version holds at most {int.MaxValue} in one.");
    }

    /// <inheritdoc/>
    public override string ToJson()
    {
        Dictionary<string, object?> fields = new()
        {
            ["model_type"] = ModelType,
            ["architectures"] = new[] { char.ToUpperInvariant(ModelType[0]) + ModelType[1..] + "ForCausalLM" },
            ["num_hidden_layers"] = Layers,
            ["num_attention_heads"] = Heads,
            ["num_key_value_heads"] = KeyValueHeads,
            ["head_dim"] = HeadSize,
            ["hidden_size"] = Channels,
            ["intermediate_size"] = Inner,
            ["vocab_size"] = Vocabulary,
            ["max_position_embeddings"] = Positions,
            ["hidden_act"] = "silu",
            ["rms_norm_eps"] = StrictNumber.Shortest(NormEpsilon),
            ["rope_theta"] = Rotary.Theta,
            ["rope_scaling"] = Rotary.Scaling(),
            ["tie_word_embeddings"] = TiedHead,
            ["bos_token_id"] = BeginToken,
            ["eos_token_id"] = EndTokens.Count switch { 0 => null, 1 => EndTokens[0], _ => EndTokens },
        };
        if (ModelType is "llama" or "qwen3") fields["attention_bias"] = AttentionBias;
        if (ModelType == "llama") fields["mlp_bias"] = MlpBias;
        else fields["sliding_window"] = Window > 0 ? Window : null;
        if (ModelType is "qwen2" or "qwen3")
        {
            fields["use_sliding_window"] = Window > 0;
            fields["max_window_layers"] = Window > 0 ? 0 : Layers;
        }
        return JsonSerializer.Serialize(fields, JsonForms.Indented);
    }

    internal static LlamaConfig Parse(JsonElement root, string path, LlamaFamily family) =>
        LlamaConfigReader.Read(new(root, path), family.ModelType);
}

/// <summary>How fast the pairs of a head's columns turn from one position to the next.</summary>
/// <param name="Theta">The base (<c>rope_theta</c>).</param>
/// <param name="Type"><c>default</c>, <c>linear</c> or <c>llama3</c> (<c>rope_type</c>).</param>
/// <param name="Factor">How much longer contexts are than those first trained on; linear and llama3 (<c>factor</c>).</param>
/// <param name="Low">llama3: <c>low_freq_factor</c>.</param>
/// <param name="High">llama3: <c>high_freq_factor</c>.</param>
/// <param name="Original">llama3: tokens of the contexts first trained on (<c>original_max_position_embeddings</c>).</param>
public sealed record LlamaRotary(
    double Theta = 10000, string Type = LlamaRotary.Default, double Factor = 1, double Low = 1, double High = 4, double Original = 8192)
{
    internal const string Default = "default", Linear = "linear", Llama3 = "llama3";

    // Far beyond any model's, and near enough for frequencies to be finite.
    private const double Smallest = 1e-9, Largest = 1e30;

    internal static readonly string[] Types = [Default, Linear, Llama3];

    /// <summary>One text with all that shapes the output, to the bit.</summary>
    internal string Description => Type switch
    {
        Default => $"{Type} {Bits(Theta)}",
        Linear => $"{Type} {Bits(Theta)} {Bits(Factor)}",
        _ => $"{Type} {Bits(Theta)} {Bits(Factor)} {Bits(Low)} {Bits(High)} {Bits(Original)}",
    };

    internal RotaryFrequencies Frequencies(int headSize)
    {
        RotaryFrequencies plain = RotaryFrequencies.Default(Theta, headSize);
        return Type switch
        {
            Default => plain,
            Linear => plain.Linear(Factor),
            _ => plain.Llama3(Factor, Low, High, Original),
        };
    }

    /// <summary>Refuses what is no rotary position embedding.</summary>
    internal void Check(string place)
    {
        if (!Types.Contains(Type))
            throw new NolaException($"{place}: rope_type is {Quoted.Of(Type)}; supported are {string.Join(", ", Types)}.");
        (string, double)[] numbers =
        [
            ("rope_theta", Theta), ("factor", Factor), ("low_freq_factor", Low), ("high_freq_factor", High),
            ("original_max_position_embeddings", Original),
        ];
        foreach ((string name, double number) in numbers)
            if (!(number is >= Smallest and <= Largest))
                throw new NolaException(
                    string.Create(CultureInfo.InvariantCulture, $"{place}: {name} is {number}; expected {Smallest} to {Largest}."));
        if (Type == Llama3 && !(High > Low))
            throw new NolaException($"{place}: low_freq_factor is {Low} and high_freq_factor {High}; high_freq_factor must be the larger.");
    }

    /// <summary>What is written as <c>rope_scaling</c>; null where nothing is scaled.</summary>
    internal Dictionary<string, object>? Scaling()
    {
        if (Type == Default) return null;
        Dictionary<string, object> fields = new() { ["rope_type"] = Type, ["factor"] = Factor };
        if (Type == Linear) return fields;
        (fields["low_freq_factor"], fields["high_freq_factor"], fields["original_max_position_embeddings"]) = (Low, High, Original);
        return fields;
    }

    private static string Bits(double value) => BitConverter.DoubleToUInt64Bits(value).ToString("x16", CultureInfo.InvariantCulture);
}
