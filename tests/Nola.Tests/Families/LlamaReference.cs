using Nola.Models;
using Nola.Tensors;

namespace Nola.Tests;

/// <summary>The logits of a model of LLaMA's kind in double precision, from its weights by their checkpoint names.</summary>
internal sealed class LlamaReference(LlamaConfig config, IReadOnlyDictionary<string, (Shape Shape, double[] Values)> weights)
{
    public static LlamaReference Of(LanguageModel model) => new(
        (LlamaConfig)model.Config, model.Weights().ToDictionary(w => w.Name, w => (w.Shape, OpCheck.Wide(w.Values()))));

    /// <summary>(T, V).</summary>
    public double[] Logits(int[] ids)
    {
        AttentionLayout layout = config.Attention;
        int[] positions = [.. Enumerable.Range(0, ids.Length)];
        double[] x = Reference.GatherRows(weights["model.embed_tokens.weight"].Values, ids, config.Channels);
        for (int l = 0; l < config.Layers; l++)
        {
            string b = $"model.layers.{l}.", a = b + "self_attn.";
            double[] h = Norm(x, b + "input_layernorm");
            double[] qkv = SideBySide(ids.Length, Linear(h, a + "q_proj"), Linear(h, a + "k_proj"), Linear(h, a + "v_proj"));
            if (weights.TryGetValue(a + "q_norm.weight", out (Shape, double[] Values) queries))
                qkv = Reference.RmsNormHeads(qkv, queries.Values, weights[a + "k_norm.weight"].Values, layout, config.NormEpsilon);
            qkv = Reference.Rotary(qkv, positions, config.Frequencies, layout);
            x = Reference.Add(x, Linear(Reference.Attention(qkv, [0, ids.Length], layout), a + "o_proj"));
            double[] m = Norm(x, b + "post_attention_layernorm");
            double[] gateUp = SideBySide(ids.Length, Linear(m, b + "mlp.gate_proj"), Linear(m, b + "mlp.up_proj"));
            x = Reference.Add(x, Linear(Reference.SiluMultiply(gateUp, config.Inner), b + "mlp.down_proj"));
        }
        return Linear(Norm(x, "model.norm"), config.TiedHead ? "model.embed_tokens" : "lm_head");
    }

    private double[] Norm(double[] x, string name) => Reference.RmsNorm(x, weights[name + ".weight"].Values, config.NormEpsilon);

    // PyTorch's: weights are (out, in).
    private double[] Linear(double[] x, string name)
    {
        (Shape shape, double[] w) = weights[name + ".weight"];
        double[] y = Reference.MatMul(x, Reference.Transpose(w, shape[0], shape[1]), x.Length / shape[1], shape[1], shape[0]);
        return weights.TryGetValue(name + ".bias", out (Shape, double[] Values) bias) ? Reference.AddRow(y, bias.Values) : y;
    }

    private static double[] SideBySide(int rows, params double[][] parts)
    {
        return [.. Enumerable.Range(0, rows).SelectMany(row => parts.SelectMany(part => Row(part, row, part.Length / rows)))];

        static double[] Row(double[] part, int row, int columns) => part[(row * columns)..((row + 1) * columns)];
    }
}
