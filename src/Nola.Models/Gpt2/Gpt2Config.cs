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
public sealed record Gpt2Config(int Layers, int Heads, int Channels, int Vocabulary = 50257, int Positions = 1024)
{
    private static readonly string[] geluNames = ["gelu_new", "gelu_pytorch_tanh", "gelu_fast"];

    /// <summary>ε of the layer norms (<c>layer_norm_epsilon</c>).</summary>
    public float LayerNormEpsilon { get; init; } = 1e-5f;

    /// <summary>Width of the MLP (<c>n_inner</c>), 4C unless given.</summary>
    public int Inner { get; init; } = 4 * Channels;

    /// <summary>Whether the head is the token embedding (<c>tie_word_embeddings</c>).</summary>
    public bool TiedHead { get; init; } = true;

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
    public long ParameterCount
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
    /// <exception cref="NolaException">It is not JSON, lacks a size, or asks for something that GPT-2 does not have.</exception>
    public static Gpt2Config Parse(ReadOnlyMemory<byte> json, string path)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(json);
            return Parse(document.RootElement, path);
        }
        catch (JsonException error)
        {
            throw new NolaException($"{path}: not valid JSON ({error.Message})", error);
        }
    }

    /// <summary>The configuration as Hugging Face writes it.</summary>
    public string ToJson() => JsonSerializer.Serialize(
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
            ["layer_norm_epsilon"] = (double)(decimal)LayerNormEpsilon,
            ["activation_function"] = "gelu_new",
            ["tie_word_embeddings"] = TiedHead,
            ["bos_token_id"] = Vocabulary - 1,
            ["eos_token_id"] = Vocabulary - 1,
        },
        new JsonSerializerOptions { WriteIndented = true });

    private static Gpt2Config Parse(JsonElement root, string path)
    {
        if (root.ValueKind != JsonValueKind.Object) throw new NolaException($"{path}: expected a JSON object.");
        if (Text(root, "model_type") is { } type && type != "gpt2")
            throw new NolaException($"{path}: model_type is \"{type}\"; only \"gpt2\" is supported.");
        if (Text(root, "activation_function") is { } activation && !geluNames.Contains(activation))
            throw new NolaException($"{path}: activation_function is \"{activation}\"; supported are {string.Join(", ", geluNames)}.");
        foreach (string flag in (string[])["scale_attn_by_inverse_layer_idx", "add_cross_attention"])
            if (root.TryGetProperty(flag, out JsonElement set) && set.ValueKind == JsonValueKind.True)
                throw new NolaException($"{path}: {flag} is set; GPT-2 checkpoints with it are not supported.");
        Gpt2Config config = new(Size("n_layer"), Size("n_head"), Size("n_embd"), Size("vocab_size"), Size("n_positions", "n_ctx"));
        if (config.Channels % config.Heads != 0)
            throw new NolaException($"{path}: n_embd is {config.Channels} and n_head {config.Heads}; n_head must divide n_embd.");
        return config with
        {
            LayerNormEpsilon = root.TryGetProperty("layer_norm_epsilon", out JsonElement e) && e.ValueKind == JsonValueKind.Number ? e.GetSingle() : 1e-5f,
            Inner = root.TryGetProperty("n_inner", out JsonElement n) && n.ValueKind == JsonValueKind.Number ? Positive(n, "n_inner") : 4 * config.Channels,
            TiedHead = !(root.TryGetProperty("tie_word_embeddings", out JsonElement t) && t.ValueKind == JsonValueKind.False),
        };

        int Size(params string[] names)
        {
            foreach (string name in names)
                if (root.TryGetProperty(name, out JsonElement value)) return Positive(value, name);
            throw new NolaException($"{path}: {names[0]} is missing; a GPT-2 config.json gives n_layer, n_head, n_embd, vocab_size and n_positions.");
        }

        int Positive(JsonElement value, string name) =>
            value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int number) && number is > 0 and < 10_000_000
                ? number
                : throw new NolaException($"{path}: {name} is {value.GetRawText()}; expected a positive whole number.");
    }

    private static string? Text(JsonElement root, string name) =>
        root.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;
}
