using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TorchSharpBench;

/// <summary>
/// GPT-2 with random frozen weights and LoRA on q and v, as one would write it with TorchSharp: sequences padded to one length, libtorch's
/// own attention, logits only where the loss counts. Sizes in the margins: B sequences of T tokens, C channels.
/// </summary>
internal sealed class Gpt2
{
    private const int Layers = 12, Heads = 12, Channels = 768, Inner = 3072, Vocabulary = 50257, Positions = 1024, Rank = 8;

    private readonly ScalarType type;
    private readonly Tensor tokens, positions;
    private readonly Block[] blocks;
    private readonly Tensor scale, shift;

    public Gpt2(ScalarType type)
    {
        this.type = type;
        (tokens, positions) = (Frozen(Vocabulary, Channels), Frozen(Positions, Channels));
        (scale, shift) = (ones(Channels, dtype: type), zeros(Channels, dtype: type));
        blocks = [.. Enumerable.Range(0, Layers).Select(_ => new Block(this))];
        Trained = [.. blocks.SelectMany(block => block.Trained)];
    }

    /// <summary>The adapters' factors, in float32.</summary>
    public IReadOnlyList<Parameter> Trained { get; }

    /// <summary>The mean loss at some positions.</summary>
    /// <param name="ids">Tokens. (B, T)</param>
    /// <param name="rows">Positions of B · T at which the loss counts. (P)</param>
    /// <param name="targets">What comes next there. (P)</param>
    public Tensor Loss(Tensor ids, Tensor rows, Tensor targets)
    {
        Tensor x = tokens.index_select(0, ids.flatten()).view(ids.shape[0], ids.shape[1], Channels)
            + positions.narrow(0, 0, ids.shape[1]);                                                 // (B, T, C)
        foreach (Block block in blocks) x = block.Forward(x);
        x = Norm(x, scale, shift).view(-1, Channels).index_select(0, rows);                         // (P, C)
        return functional.cross_entropy(functional.linear(x, tokens).to(ScalarType.Float32), targets);
    }

    private Tensor Frozen(params long[] shape) => (randn(shape) * 0.02).to(type);

    private static Tensor Norm(Tensor x, Tensor scale, Tensor shift) => functional.layer_norm(x, [Channels], scale, shift, 1e-5);

    private sealed class Block
    {
        private readonly Gpt2 model;
        private readonly Tensor ln1, ln1b, ln2, ln2b, attention, attentionBias, output, outputBias, up, upBias, down, downBias;
        private readonly Parameter qa, qb, va, vb;

        public Block(Gpt2 model)
        {
            this.model = model;
            (ln1, ln1b, ln2, ln2b) = (One(), Zero(Channels), One(), Zero(Channels));
            (attention, attentionBias) = (model.Frozen(3 * Channels, Channels), Zero(3 * Channels));
            (output, outputBias) = (model.Frozen(Channels, Channels), Zero(Channels));
            (up, upBias) = (model.Frozen(Inner, Channels), Zero(Inner));
            (down, downBias) = (model.Frozen(Channels, Inner), Zero(Channels));
            (qa, va) = (new Parameter(randn(Rank, Channels) * 0.02), new Parameter(randn(Rank, Channels) * 0.02));
            (qb, vb) = (new Parameter(zeros(Channels, Rank)), new Parameter(zeros(Channels, Rank)));
            Trained = [qa, qb, va, vb];

            Tensor One() => ones(Channels, dtype: model.type);

            Tensor Zero(long size) => zeros(size, dtype: model.type);
        }

        public Parameter[] Trained { get; }

        public Tensor Forward(Tensor x)
        {
            (long b, long t) = (x.shape[0], x.shape[1]);
            Tensor h = Norm(x, ln1, ln1b);                                                          // (B, T, C)
            Tensor[] parts = functional.linear(h, attention, attentionBias).chunk(3, -1);
            Tensor q = Split(parts[0] + Lora(h, qa, qb)), k = Split(parts[1]), v = Split(parts[2] + Lora(h, va, vb));
            Tensor a = functional.scaled_dot_product_attention(q, k, v, is_casual: true);           // (B, H, T, C / H)
            x = x + functional.linear(a.transpose(1, 2).reshape(b, t, Channels), output, outputBias);
            h = functional.gelu(functional.linear(Norm(x, ln2, ln2b), up, upBias));                 // (B, T, 4C)
            return x + functional.linear(h, down, downBias);

            Tensor Split(Tensor part) => part.view(b, t, Heads, Channels / Heads).transpose(1, 2);
        }

        private Tensor Lora(Tensor x, Tensor a, Tensor b) =>
            functional.linear(functional.linear(x, a.to(model.type)), b.to(model.type));
    }
}
