using System.Text.Json;
using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// GPT-2 (Radford et al. 2019), from tokens to hidden states. Sizes in the margins: N tokens of all sequences laid end to end,
/// C channels, H heads of D = C/H, V tokens of vocabulary. Names are the checkpoint's.
/// </summary>
internal sealed class Gpt2 : ILanguageNetwork
{
    private readonly TokenEmbedding wte;                                          // (V, C)
    private readonly Parameter wpe;                                               // (positions, C)
    private readonly Block[] blocks;
    private readonly LayerNorm lnF;

    public Gpt2(Gpt2Config config, ModelBuilder make)
    {
        int c = config.Channels;
        wte = make.Embedding("wte", config.Vocabulary, c);
        wpe = make.Parameter("wpe.weight", [config.Positions, c]);
        blocks = [.. Enumerable.Range(0, config.Layers).Select(layer => new Block(config, layer, make))];
        lnF = make.LayerNorm("ln_f", c, config.LayerNormEpsilon);
        Head = config.TiedHead ? make.TiedHead("lm_head", wte) : make.Head("lm_head", config.Vocabulary, c);
        // The numbers enter the random bases (docs/basis.md): never change them.
        make.Adaptable("wte", 7, wte);
        make.Adaptable(8, Head);
    }

    public TokenHead Head { get; }

    public Variable Hidden(Tape tape, StreamTensors batch, Attend attend)
    {
        Variable x = tape.Scope(() =>                                             // (N, C)
            wte.Forward(tape, batch) + Ops.GatherRows(tape.Read(wpe), batch.Positions));
        foreach (Block block in blocks) x = tape.Block(x, input => block.Forward(input, batch, attend));
        return lnF.Forward(x, batch);
    }

    /// <summary>x + attention(ln_1 x), then + mlp(ln_2 x).</summary>
    private sealed class Block
    {
        private readonly int layer;
        private readonly LayerNorm ln1, ln2;
        private readonly LinearMap cAttn, cProj, cFc, mlpProj;

        public Block(Gpt2Config config, int layer, ModelBuilder make)
        {
            int c = config.Channels;
            string h = $"h.{layer}";
            this.layer = layer;
            ln1 = make.LayerNorm(h + ".ln_1", c, config.LayerNormEpsilon);
            cAttn = make.Linear(h + ".attn.c_attn", c, 3 * c);
            cProj = make.Linear(h + ".attn.c_proj", c, c);
            ln2 = make.LayerNorm(h + ".ln_2", c, config.LayerNormEpsilon);
            cFc = make.Linear(h + ".mlp.c_fc", c, config.Inner);
            mlpProj = make.Linear(h + ".mlp.c_proj", config.Inner, c);
            // The numbers enter the random bases (docs/basis.md): never change them.
            make.Adaptable(h, "attn.q", layer, 0, cAttn, 0, c, isModule: false);
            make.Adaptable(h, "attn.k", layer, 1, cAttn, c, c, isModule: false);
            make.Adaptable(h, "attn.v", layer, 2, cAttn, 2 * c, c, isModule: false);
            make.Adaptable(h, "attn.c_attn", layer, 6, cAttn);
            make.Adaptable(h, "attn.c_proj", layer, 3, cProj);
            make.Adaptable(h, "mlp.c_fc", layer, 4, cFc);
            make.Adaptable(h, "mlp.c_proj", layer, 5, mlpProj);
        }

        public Variable Forward(Variable x, StreamTensors batch, Attend attend)
        {
            Variable qkv = cAttn.Forward(ln1.Forward(x, batch), batch);               // (N, 3C)
            x = cProj.AddTo(x, attend(layer, qkv), batch);                            // (N, C)
            Variable inner = cFc.Activated(ln2.Forward(x, batch), batch);             // (N, 4C)
            return mlpProj.AddTo(x, inner, batch);                                    // (N, C)
        }
    }
}

/// <summary>How checkpoints of GPT-2 are read.</summary>
internal sealed class Gpt2Family : ModelFamily
{
    public static readonly Gpt2Family Instance = new();

    private Gpt2Family() { }

    public override string ModelType => "gpt2";

    public override string Title => "GPT-2";

    public override string Prefix => "transformer.";

    public override ModelConfig Parse(JsonElement root, string path) => Gpt2Config.Parse(root, path);

    // Causal masks, which old checkpoints hold.
    public override bool Skips(string name) =>
        name.EndsWith(".attn.bias", StringComparison.Ordinal) || name.EndsWith(".attn.masked_bias", StringComparison.Ordinal);

    // Early configurations do not say their type.
    public override bool Recognizes(JsonElement root) => root.TryGetProperty("n_embd", out _) || root.TryGetProperty("n_layer", out _);
}
