using Nola.Autograd;

namespace Nola.Models;

/// <summary>What a sequence of a batch may name: something that adds to the outputs of linear maps.</summary>
public interface IAdapter
{
    /// <summary>What it adds to a linear map, which may be several deltas on different columns, or none.</summary>
    /// <param name="map">One of the model's linear maps.</param>
    /// <param name="tape">The step that reads the adapter's tensors.</param>
    IReadOnlyList<Delta> On(LinearMap map, Tape tape);
}
