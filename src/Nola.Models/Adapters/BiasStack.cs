using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>What is added to one bias of the model. It starts at zero, and has the bias's name.</summary>
internal sealed class BiasStack(LayerBias bias, Device device) : DeltaStack
{
    private readonly Parameter added = new(bias.Name, device.Zeros([1, bias.Out])) { Decays = false };

    public override IReadOnlyList<AdaptableLayer> Layers { get; } = [bias.Layer];

    public override IReadOnlyList<Parameter> Parameters => [added];

    /// <summary>The model's own.</summary>
    public LayerBias Bias => bias;

    public override IEnumerable<Delta> On(Tape tape, int row) => [new AddedBias(tape.Read(added), 0, bias.Column)];

    public override void Freeze() => added.Trainable = false;

    /// <summary>The values on the host. (out)</summary>
    public float[] Values() => added.Value.ToArray();

    protected override void Release() => added.Dispose();
}
