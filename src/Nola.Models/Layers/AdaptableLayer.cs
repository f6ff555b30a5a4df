using Nola.Autograd;

namespace Nola.Models;

/// <summary>
/// A layer that an adapter of the batch may add something to: a linear map, a norm with a bias, the token embedding, or the head.
/// </summary>
public abstract class AdaptableLayer
{
    /// <summary>
    /// The checkpoint's name without its suffix, for example <c>h.3.attn.c_attn</c> or <c>ln_f</c>; of a fused map a name of its own.
    /// </summary>
    public abstract string Name { get; }

    /// <summary>The bias; null where the layer has none.</summary>
    public abstract Parameter? Bias { get; }

    /// <summary>
    /// The checkpoint's biases that <see cref="Bias"/> is made of, in the order of their columns; one unless the layer is fused.
    /// </summary>
    internal virtual IReadOnlyList<LayerBias> Biases => Bias is null ? [] : [new(this, Name, 0, Bias.Shape.Length)];

    /// <summary>Whether its weight is another one than the model was made with.</summary>
    internal bool IsReplaced { get; private protected set; }

    /// <summary>The checkpoint's tensors of it, of which an adapter with a head of its own has others; of a head alone.</summary>
    internal virtual IReadOnlyList<HeadTensor> HeadTensors => [];

    /// <summary>Adds deltas to the layer's own weights.</summary>
    internal abstract void Merge(IEnumerable<Delta> deltas);

    /// <summary>Of the values of its token table; null where it has none.</summary>
    internal virtual WeightDigest? TableDigest() => null;
}

/// <summary>A tensor of a classifier or of a language-model head.</summary>
/// <param name="Name">The checkpoint's name.</param>
/// <param name="Shape">(out, in), or (out) of a bias.</param>
/// <param name="Values">The model's own values.</param>
internal sealed record HeadTensor(string Name, int[] Shape, Func<float[]> Values);

/// <summary>A bias of the checkpoint: the whole of a layer's, or some columns of a fused one.</summary>
/// <param name="Layer">The layer that adds it.</param>
/// <param name="Module">The checkpoint's name of the module that it is of.</param>
/// <param name="Column">Its first column in the layer's bias.</param>
/// <param name="Out">Number of columns.</param>
internal sealed record LayerBias(AdaptableLayer Layer, string Module, int Column, int Out)
{
    /// <summary>The checkpoint's name of it.</summary>
    public string Name => Module + ".bias";

    /// <summary>The model's own values. (out)</summary>
    public float[] Values() => Layer.Bias!.Value.ToArray()[Column..(Column + Out)];
}
