using Nola.Autograd;

namespace Nola.Models;

/// <summary>What a sequence of a batch may name: something that adds to the outputs of layers.</summary>
public interface IAdapter
{
    /// <summary>What it adds to a layer, which may be several deltas on different columns, or none.</summary>
    /// <param name="layer">One of the model's layers.</param>
    /// <param name="tape">The step that reads the adapter's tensors.</param>
    IReadOnlyList<Delta> On(AdaptableLayer layer, Tape tape);
}
