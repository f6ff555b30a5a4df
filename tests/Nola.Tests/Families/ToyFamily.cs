using System.Text.Json;
using Nola.Autograd;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Tests;

/// <summary>
/// A family that is not GPT-2's: RMS norm, no bias, grouped heads, weights as (out, in), no positions, and bidirectional attention
/// where the configuration says so. All that a family needs is in this file.
/// </summary>
internal sealed class ToyFamily : ModelFamily
{
    public static readonly ToyFamily Instance = new();

    public override string ModelType => "toy";

    public override string Title => "Toy";

    public override string Prefix => "model.";

    public override ModelConfig Parse(JsonElement root, string path)
    {
        ToyConfig config = new(
            Size("layers"), Size("heads"), Size("kv_heads"), Size("head_dim"), Size("vocab_size"), root.GetProperty("causal").GetBoolean());
        config.Check(path);
        return config;

        int Size(string name) => root.TryGetProperty(name, out JsonElement value) && value.TryGetInt32(out int size)
            ? size
            : throw new NolaException($"{path}: {name} is missing.");
    }
}

/// <summary>The sizes of a toy model.</summary>
internal sealed record ToyConfig(int Layers, int Heads, int KeyValueHeads, int HeadSize, int Vocabulary, bool Causal) : ModelConfig
{
    public int Channels => 2 * HeadSize;

    public override ModelFamily Family => ToyFamily.Instance;

    public override LanguageShape Shape => new(Layers, Channels, Vocabulary, 64, new(Heads, KeyValueHeads, HeadSize, Causal));

    public override long ParameterCount =>
        2L * Vocabulary * Channels + Channels
            + Layers * (2L * Channels + (Shape.Attention.Width + Shape.Attention.QueryWidth + 6L * Channels) * Channels);

    public override string Description => $"toy {Layers} {Heads} {KeyValueHeads} {HeadSize} {Vocabulary} {Causal}";

    public override ILanguageNetwork Build(ModelBuilder make) => new Toy(this, make);

    public override void Check(string place)
    {
        if (Layers < 1 || Heads % KeyValueHeads != 0)
            throw new NolaException($"{place}: {Layers} layers, {Heads} heads in {KeyValueHeads} groups.");
    }

    public override float Deviation(string name, out float mean)
    {
        mean = name.Contains("norm") ? 1 : 0;
        return name.Contains("norm") ? 0 : 0.2f;
    }

    public override string ToJson() => JsonSerializer.Serialize(new
    {
        model_type = "toy",
        layers = Layers,
        heads = Heads,
        kv_heads = KeyValueHeads,
        head_dim = HeadSize,
        vocab_size = Vocabulary,
        causal = Causal,
    });
}

/// <summary>From tokens to hidden states. N tokens, C channels, H heads in G groups of D.</summary>
internal sealed class Toy : ILanguageNetwork
{
    private readonly TokenEmbedding embedding;                                    // (V, C)
    private readonly Block[] blocks;
    private readonly Parameter norm;                                              // (C)

    public Toy(ToyConfig config, ModelBuilder make)
    {
        embedding = make.Embedding("embed", config.Vocabulary, config.Channels);
        blocks = [.. Enumerable.Range(0, config.Layers).Select(layer => new Block(config, layer, make))];
        norm = make.Parameter("norm.weight", [config.Channels]);
        Head = make.Head("head", config.Vocabulary, config.Channels);
    }

    public TokenHead Head { get; }

    public Variable Hidden(Tape tape, StreamTensors batch, Attend attend)
    {
        Variable x = tape.Scope(() => embedding.Forward(tape, batch));           // (N, C)
        foreach (Block block in blocks) x = tape.Block(x, input => block.Forward(input, batch, attend));
        return Ops.RmsNorm(x, tape.Read(norm));
    }

    private sealed class Block
    {
        private readonly int layer;
        private readonly Parameter norm1, norm2;                                  // (C)
        private readonly LinearMap qkv, output, up, down;

        public Block(ToyConfig config, int layer, ModelBuilder make)
        {
            (AttentionLayout a, int c) = (config.Shape.Attention, config.Channels);
            string b = $"layers.{layer}";
            this.layer = layer;
            norm1 = make.Parameter(b + ".norm1.weight", [c]);
            qkv = make.Linear(b + ".qkv", c, a.Width, bias: false, transposed: true);
            output = make.Linear(b + ".o", a.QueryWidth, c, bias: false, transposed: true);
            norm2 = make.Parameter(b + ".norm2.weight", [c]);
            up = make.Linear(b + ".up", c, 3 * c, bias: false, transposed: true);
            down = make.Linear(b + ".down", 3 * c, c, bias: false, transposed: true);
            make.Adaptable(b, "q", layer, 0, qkv, 0, a.QueryWidth, isModule: false);
            make.Adaptable(b, "k", layer, 1, qkv, a.KeyColumn, a.KeyWidth, isModule: false);
            make.Adaptable(b, "v", layer, 2, qkv, a.ValueColumn, a.KeyWidth, isModule: false);
            make.Adaptable(b, "qkv", layer, 3, qkv);
            make.Adaptable(b, "o", layer, 4, output);
            make.Adaptable(b, "up", layer, 5, up);
            make.Adaptable(b, "down", layer, 6, down);
        }

        public Variable Forward(Variable x, StreamTensors batch, Attend attend)
        {
            Variable a = Ops.RmsNorm(x, x.Tape.Read(norm1));                      // (N, C)
            x = output.AddTo(x, attend(layer, qkv.Forward(a, batch)), batch);     // (N, C)
            Variable m = Ops.RmsNorm(x, x.Tape.Read(norm2));                      // (N, C)
            return down.AddTo(x, up.Activated(m, batch), batch);                  // (N, C)
        }
    }
}
