using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>Layer normalization with scale and bias, and with what the batch's adapters add to it.</summary>
/// <param name="name">The checkpoint's name without its suffix.</param>
/// <param name="weight">The scale. (C)</param>
/// <param name="bias">The bias. (C)</param>
/// <param name="epsilon">What is added to the variance.</param>
public sealed class LayerNorm(string name, Parameter weight, Parameter bias, float epsilon) : AdaptableLayer
{
    /// <inheritdoc/>
    public override string Name => name;

    /// <inheritdoc/>
    public override Parameter Bias => bias;

    /// <summary>y = (x − mean) / √(variance + ε) · weight + bias + what the batch's adapters add. x, y: (N, C).</summary>
    public Variable Forward(Variable x, StreamTensors batch) =>
        Ops.WithDeltas(Ops.LayerNorm(x, x.Tape.Read(weight), x.Tape.Read(bias), epsilon), batch.On(this, x.Tape));

    internal override void Merge(IEnumerable<Delta> deltas)
    {
        Device device = bias.Value.Device;
        foreach (Delta delta in deltas) delta.AddTo(device, weight.Value, bias.Value);
    }
}
