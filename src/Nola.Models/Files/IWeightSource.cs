using Nola.Tensors;

namespace Nola.Models;

/// <summary>Where a model's weights come from.</summary>
internal interface IWeightSource
{
    /// <summary>The tensor of that checkpoint name and shape, on the device, owned by the caller.</summary>
    /// <param name="name">Without a prefix.</param>
    /// <param name="shape">What the configuration makes it.</param>
    /// <param name="digest">The digest of its values, where it costs nothing more to have it.</param>
    Tensor Read(string name, Shape shape, out WeightDigest? digest);
}
