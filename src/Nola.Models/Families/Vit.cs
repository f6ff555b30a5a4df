using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// ViT (Dosovitskiy et al. 2021), DeiT (Touvron et al. 2021) with its second token and classifier, and DINOv2 (Oquab et al. 2023) with
/// its layer scales, from pixels to logits. Sizes in the margins: S images of P patches, T = P + 1 tokens of each (DeiT: P + 2),
/// N = S · T rows, C channels, H heads of C/H columns, I inner columns, K classes. Names are those of Hugging Face's files.
/// </summary>
internal sealed class Vit
{
    private readonly VitConfig config;
    private readonly Parameter clsToken;                                          // (1, 1, C)
    private readonly Parameter? distillationToken;                                // (1, 1, C)
    private readonly Parameter positions;                                         // (1, T, C)
    private readonly LinearMap projection;
    private readonly Block[] blocks;
    private readonly LayerNorm norm;
    private readonly LinearMap[] classifiers;

    public Vit(VitConfig config, ModelBuilder make)
    {
        (this.config, int c) = (config, config.Channels);
        clsToken = make.Parameter("embeddings.cls_token", [1, 1, c]);
        if (config.Prefix > 1) distillationToken = make.Parameter("embeddings.distillation_token", [1, 1, c]);
        positions = make.Parameter("embeddings.position_embeddings", [1, config.Tokens, c]);
        projection = make.Patches("embeddings.patch_embeddings.projection", VitConfig.Colors, config.PatchSize, c);
        blocks = [.. Enumerable.Range(0, config.Layers).Select(layer => new Block(config, layer, make))];
        norm = make.LayerNorm("layernorm", c, config.NormEpsilon);
        classifiers = [.. config.Classifiers.Select(name => make.Classifier(name, config.ClassifierInputs, config.Labels.Count))];
    }

    /// <summary>The tokens after the last norm. (N, C)</summary>
    public Variable Hidden(Tape tape, StreamTensors batch)
    {
        Variable x = tape.Scope(() => Embedded(tape, batch));                     // (N, C)
        foreach (Block block in blocks) x = tape.Block(x, input => block.Forward(input, batch));
        return norm.Forward(x, batch);
    }

    /// <summary>
    /// The classifier of the class token; of DeiT the mean of its two; of DINOv2 that of the class token and the patches' mean. (S, K)
    /// </summary>
    public Variable Logits(Tape tape, StreamTensors batch) => tape.Scope(() =>
    {
        Variable x = Hidden(tape, batch);
        Variable[] logits = [.. classifiers.Select((classifier, i) => Classified(x, batch, classifier, i))];
        return logits.Length == 1 ? logits[0] : 0.5f * (logits[0] + logits[1]);
    });

    /// <summary>What one classifier says of the token that it reads. (S, K)</summary>
    public Variable Logits(Tape tape, StreamTensors batch, int classifier) =>
        tape.Scope(() => Classified(Hidden(tape, batch), batch, classifiers[classifier], classifier));

    private Variable Classified(Variable x, StreamTensors batch, LinearMap classifier, int token)
    {
        Variable read = Ops.GatherRows(x, batch.PrefixRows(token));               // (S, C)
        if (config.IsDinov2) read = Ops.Concat(read, PatchMeans(x, batch.Sequences));
        return classifier.Forward(read, batch, StreamRows.LossPositions);
    }

    // The mean of each image's patches, as a product with the weights of all tokens. (S, C)
    private Variable PatchMeans(Variable x, int images)
    {
        int tokens = config.Tokens, all = images * tokens;
        float[] weights = new float[images * all];
        for (int s = 0; s < images; s++)
            weights.AsSpan(s * all + s * tokens + config.Prefix, config.Patches).Fill(1f / config.Patches);
        Variable means = x.Tape.New([images, all]);                               // (S, N)
        x.Tape.Device.Upload(weights, means.Value);
        return Ops.MatMul(means, x);
    }

    private Variable Embedded(Tape tape, StreamTensors batch)
    {
        Variable patches = projection.Forward(tape.Constant(batch.Patches!), batch, StreamRows.Patches);   // (S · P, C)
        Variable[] prefix = distillationToken is null
            ? [tape.Read(clsToken)]
            : [tape.Read(clsToken), tape.Read(distillationToken)];
        Variable tokens = Ops.WithPrefix(patches, batch.Sequences, prefix);       // (N, C)
        return tokens + Ops.GatherRows(tape.Read(positions), batch.Positions);
    }

    /// <summary>x + attention(layernorm_before x), then + mlp(layernorm_after x); of DINOv2 each added part ∘ a trained λ.</summary>
    private sealed class Block
    {
        private readonly AttentionLayout layout;
        private readonly LayerNorm before, after;
        private readonly LinearMap qkv, output, fc1, fc2;
        private readonly Parameter? scale1, scale2;                               // (C)

        public Block(VitConfig config, int layer, ModelBuilder make)
        {
            (int c, int i, layout) = (config.Channels, config.Inner, config.Attention);
            string b = $"encoder.layer.{layer}", a = b + ".attention.attention";
            (string norm1, string norm2, string up, string down) = config.IsDinov2
                ? ("norm1", "norm2", "mlp.fc1", "mlp.fc2")
                : ("layernorm_before", "layernorm_after", "intermediate.dense", "output.dense");
            before = make.LayerNorm($"{b}.{norm1}", c, config.NormEpsilon);
            qkv = make.Fused(a + ".qkv", c, [(a + ".query", c), (a + ".key", c), (a + ".value", c)], config.QueryBias);
            output = make.Linear(b + ".attention.output.dense", c, c, transposed: true);
            after = make.LayerNorm($"{b}.{norm2}", c, config.NormEpsilon);
            fc1 = make.Linear($"{b}.{up}", c, i, transposed: true);
            fc2 = make.Linear($"{b}.{down}", i, c, transposed: true);
            if (config.IsDinov2)
            {
                scale1 = make.Parameter(b + ".layer_scale1.lambda1", [c]);
                scale2 = make.Parameter(b + ".layer_scale2.lambda1", [c]);
            }
            // The numbers enter the random bases (docs/basis.md): never change them.
            make.Adaptable(b, "attention.attention.query", layer, 0, qkv, "attn.q", "attention.q_proj");
            make.Adaptable(b, "attention.attention.key", layer, 1, qkv, "attn.k", "attention.k_proj");
            make.Adaptable(b, "attention.attention.value", layer, 2, qkv, "attn.v", "attention.v_proj");
            make.Adaptable(b, "attention.output.dense", layer, 3, output, "attn.proj", "attention.o_proj");
            make.Adaptable(b, up, layer, 4, fc1, config.IsDinov2 ? "intermediate.dense" : "mlp.fc1");
            make.Adaptable(b, down, layer, 5, fc2, config.IsDinov2 ? "output.dense" : "mlp.fc2");
        }

        public Variable Forward(Variable x, StreamTensors batch)
        {
            Variable h = qkv.Forward(before.Forward(x, batch), batch);                     // (N, 3C)
            x = Add(x, output, Ops.Attention(h, batch.Starts, layout), scale1, batch);     // (N, C)
            Variable inner = Ops.GeluErf(fc1.Forward(after.Forward(x, batch), batch));     // (N, I)
            return Add(x, fc2, inner, scale2, batch);                                      // (N, C)
        }

        private static Variable Add(Variable x, LinearMap map, Variable input, Parameter? scale, StreamTensors batch) => scale is null
            ? map.AddTo(x, input, batch)
            : x + Ops.ScaleColumns(map.Forward(input, batch), x.Tape.Read(scale));
    }
}
