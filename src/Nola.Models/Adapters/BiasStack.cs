using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>What is added to the bias of one layer. It starts at zero.</summary>
internal sealed class BiasStack(AdaptableLayer layer, Device device) : DeltaStack
{
    private readonly Parameter added = new(NameOf(layer), device.Zeros([1, layer.Bias!.Shape.Length])) { Decays = false };

    public override IReadOnlyList<AdaptableLayer> Layers { get; } = [layer];

    public override IReadOnlyList<Parameter> Parameters => [added];

    /// <summary>The layer whose bias it is.</summary>
    public AdaptableLayer Layer => layer;

    public override IEnumerable<Delta> On(Tape tape, int row) => [new AddedBias(tape.Read(added), 0)];

    public override void Freeze() => added.Trainable = false;

    /// <summary>The name of the tensor.</summary>
    public static string NameOf(AdaptableLayer layer) => layer.Name + ".bias";

    /// <summary>The values on the host. (out)</summary>
    public float[] Values() => added.Value.ToArray();

    protected override void Release() => added.Dispose();
}
