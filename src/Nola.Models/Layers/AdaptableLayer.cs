using Nola.Autograd;

namespace Nola.Models;

/// <summary>A layer that an adapter of the batch may add something to: a linear map, or a norm with a bias.</summary>
public abstract class AdaptableLayer
{
    /// <summary>The checkpoint's name without its suffix, for example <c>h.3.attn.c_attn</c> or <c>ln_f</c>.</summary>
    public abstract string Name { get; }

    /// <summary>The bias; null where the layer has none.</summary>
    public abstract Parameter? Bias { get; }

    /// <summary>Adds deltas to the layer's own weights.</summary>
    internal abstract void Merge(IEnumerable<Delta> deltas);
}
