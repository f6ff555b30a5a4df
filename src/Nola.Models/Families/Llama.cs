using System.Text.Json;
using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// LLaMA (Touvron et al. 2023) and its kin, from tokens to hidden states: Mistral with a sliding window, Qwen2 with biases on q, k
/// and v, Qwen3 with norms on the heads of q and k. Sizes in the margins: N tokens of all sequences laid end to end, C channels,
/// H heads of queries and G of keys and values, of D columns each, I inner columns, V tokens of vocabulary. Names are the checkpoint's.
/// </summary>
internal sealed class Llama : ILanguageNetwork
{
    private readonly TokenEmbedding embedTokens;                                  // (V, C)
    private readonly Block[] blocks;
    private readonly Parameter norm;                                              // (C)
    private readonly float epsilon;

    public Llama(LlamaConfig config, ModelBuilder make)
    {
        (int v, int c) = (config.Vocabulary, config.Channels);
        epsilon = config.NormEpsilon;
        embedTokens = make.Embedding("model.embed_tokens", v, c);
        Tensor angles = make.Angles(config.Frequencies, config.Positions);
        blocks = [.. Enumerable.Range(0, config.Layers).Select(layer => new Block(config, layer, angles, make))];
        norm = make.Parameter("model.norm.weight", [c]);
        Head = config.TiedHead ? make.TiedHead("lm_head", embedTokens) : make.Head("lm_head", v, c);
        // The numbers enter the random bases (docs/basis.md): never change them.
        make.Adaptable("embed_tokens", 7, embedTokens);
        make.Adaptable(8, Head);
    }

    public TokenHead Head { get; }

    public Variable Hidden(Tape tape, StreamTensors batch, Attend attend)
    {
        Variable x = tape.Scope(() => embedTokens.Forward(tape, batch));         // (N, C)
        foreach (Block block in blocks) x = tape.Block(x, input => block.Forward(input, batch, attend));
        return Ops.RmsNorm(x, tape.Read(norm), epsilon);
    }

    /// <summary>x + attention(input_layernorm x), then + mlp(post_attention_layernorm x).</summary>
    private sealed class Block
    {
        private readonly int layer;
        private readonly float epsilon;
        private readonly AttentionLayout layout;
        private readonly Tensor angles;
        private readonly Parameter norm1, norm2;                                  // (C)
        private readonly Parameter? queryNorm, keyNorm;                           // (D)
        private readonly LinearMap qkv, output, gateUp, down;

        public Block(LlamaConfig config, int layer, Tensor angles, ModelBuilder make)
        {
            (AttentionLayout a, int c, int i) = (config.Attention, config.Channels, config.Inner);
            (this.layer, this.angles, layout, epsilon) = (layer, angles, a, config.NormEpsilon);
            string b = $"model.layers.{layer}", q = b + ".self_attn.q_proj", k = b + ".self_attn.k_proj", v = b + ".self_attn.v_proj";
            string gate = b + ".mlp.gate_proj", up = b + ".mlp.up_proj";
            norm1 = make.Parameter(b + ".input_layernorm.weight", [c]);
            qkv = make.Fused(b + ".self_attn.qkv_proj", c, [(q, a.QueryWidth), (k, a.KeyWidth), (v, a.KeyWidth)], config.QueryBias);
            if (config.NormalizesHeads) queryNorm = make.Parameter(b + ".self_attn.q_norm.weight", [a.HeadSize]);
            if (config.NormalizesHeads) keyNorm = make.Parameter(b + ".self_attn.k_norm.weight", [a.HeadSize]);
            output = make.Linear(b + ".self_attn.o_proj", a.QueryWidth, c, config.AttentionBias, transposed: true);
            norm2 = make.Parameter(b + ".post_attention_layernorm.weight", [c]);
            gateUp = make.Fused(b + ".mlp.gate_up_proj", c, [(gate, i), (up, i)], config.MlpBias);
            down = make.Linear(b + ".mlp.down_proj", i, c, config.MlpBias, transposed: true);
            // The numbers enter the random bases (docs/basis.md): never change them.
            make.Adaptable(b, "self_attn.q_proj", layer, 0, qkv);
            make.Adaptable(b, "self_attn.k_proj", layer, 1, qkv);
            make.Adaptable(b, "self_attn.v_proj", layer, 2, qkv);
            make.Adaptable(b, "self_attn.o_proj", layer, 3, output);
            make.Adaptable(b, "mlp.gate_proj", layer, 4, gateUp);
            make.Adaptable(b, "mlp.up_proj", layer, 5, gateUp);
            make.Adaptable(b, "mlp.down_proj", layer, 6, down);
        }

        public Variable Forward(Variable x, StreamTensors batch, Attend attend)
        {
            Tape tape = x.Tape;
            Variable h = qkv.Forward(Ops.RmsNorm(x, tape.Read(norm1), epsilon), batch);      // (N, (H + 2G) · D)
            if (queryNorm is not null) h = Ops.RmsNormHeads(h, tape.Read(queryNorm), tape.Read(keyNorm!), layout, epsilon);
            h = Ops.Rotary(h, batch.Positions, angles, layout);                              // (N, (H + 2G) · D)
            x = output.AddTo(x, attend(layer, h), batch);                                    // (N, C)
            Variable m = gateUp.Forward(Ops.RmsNorm(x, tape.Read(norm2), epsilon), batch);   // (N, 2I)
            return down.AddTo(x, Ops.SiluMultiply(m), batch);                                // (N, C)
        }
    }
}

/// <summary>How checkpoints of LLaMA and its kin are read: one family for each model type, of one network.</summary>
internal sealed class LlamaFamily : ModelFamily
{
    private LlamaFamily(string type, string title) => (ModelType, Title) = (type, title);

    public static IReadOnlyList<LlamaFamily> All { get; } =
        [new("llama", "LLaMA"), new("mistral", "Mistral"), new("qwen2", "Qwen2"), new("qwen3", "Qwen3")];

    public override string ModelType { get; }

    public override string Title { get; }

    public override bool HasGpt2Tokens => false;

    public override ModelConfig Parse(JsonElement root, string path) => LlamaConfig.Parse(root, path, this);

    // Frequencies, which old checkpoints hold; they follow from the configuration.
    public override bool Skips(string name) => name.EndsWith(".rotary_emb.inv_freq", StringComparison.Ordinal);
}
