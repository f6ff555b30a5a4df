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

    /// <summary>The same in pieces of whole rows, one after the other, for what need not exist whole.</summary>
    /// <param name="name">Without a prefix.</param>
    /// <param name="shape">What the configuration makes it.</param>
    /// <param name="take">Gets each piece, which is valid until it returns.</param>
    /// <param name="digest">The digest of its values, where it costs nothing more to have it.</param>
    void Stream(string name, Shape shape, TakeValues take, out WeightDigest? digest);

    /// <summary>The weight of a linear map, where the checkpoint has it in 8 or 4 bits; else null.</summary>
    /// <param name="name">Without a prefix.</param>
    /// <param name="outputs">Number of outputs.</param>
    /// <param name="inputs">Number of inputs.</param>
    QuantizedMatrix? Quantized(string name, int outputs, int inputs) => null;

    /// <summary>Whether bfloat16 holds every value of a tensor, because the checkpoint has it so.</summary>
    /// <param name="name">Without a prefix.</param>
    bool IsBFloat16(string name) => false;
}

/// <summary>Takes the next values of a tensor, in row-major order.</summary>
internal delegate void TakeValues(ReadOnlySpan<float> values);
