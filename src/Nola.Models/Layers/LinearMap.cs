using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// One of the model's linear maps, y = x · W + b: packed and frozen, or an ordinary parameter when the whole model is
/// trained. W keeps the checkpoint's orientation (in, out).
/// </summary>
public sealed class LinearMap : IDisposable
{
    private WeightDigest? digest;

    /// <summary>Takes over weight and bias; they are the caller's still when it throws.</summary>
    internal LinearMap(string name, Tensor weight, Tensor bias, bool trainable, DType storage, WeightDigest? digest)
    {
        Name = name;
        Bias = new Parameter(name + ".bias", bias, trainable);
        (In, Out) = (weight.Shape[0], weight.Shape[1]);
        if (trainable)
        {
            Weight = new Parameter(name + ".weight", weight);
            return;
        }
        Frozen = weight.Device.Freeze(weight, storage: storage);
        this.digest = digest;
        weight.Dispose();
    }

    /// <summary>The checkpoint's name without its suffix, for example <c>h.3.attn.c_attn</c>.</summary>
    public string Name { get; }

    /// <summary>Inputs.</summary>
    public int In { get; }

    /// <summary>Outputs.</summary>
    public int Out { get; }

    /// <summary>The packed weight, when the model is frozen.</summary>
    public FrozenMatrix? Frozen { get; private set; }

    /// <summary>The weight, when the model is trained. (in, out)</summary>
    public Parameter? Weight { get; }

    /// <summary>The bias. (out)</summary>
    public Parameter Bias { get; }

    /// <summary>y = x · W + b + adapters. x: (N, in), y: (N, out).</summary>
    public Variable Forward(Variable x, DeltaRows[] adapters) => Weight is null
        ? Ops.Linear(x, Frozen!, Bias.Value, adapters)
        : Ops.Linear(x, x.Tape.Read(Weight), x.Tape.Read(Bias), adapters);

    /// <summary>residual + y. residual: (N, out).</summary>
    public Variable AddTo(Variable residual, Variable x, DeltaRows[] adapters) => Weight is null
        ? Ops.Linear(x, Frozen!, Bias.Value, residual, adapters)
        : residual + Forward(x, adapters);

    /// <summary>gelu(y), in one with the product unless weight or adapter need the product's own gradient.</summary>
    public Variable Activated(Variable x, DeltaRows[] adapters) => Weight is null && adapters.Length == 0
        ? Ops.LinearGelu(x, Frozen!, Bias.Value)
        : Ops.Gelu(Forward(x, adapters));

    /// <summary>A copy of W in row-major form; the caller owns it.</summary>
    public Tensor CopyWeight()
    {
        Tensor copy = Bias.Value.Device.Empty([In, Out]);
        if (Weight is null) copy.Device.Unpack(Frozen!, copy);
        else copy.Device.Axpby(1, Weight.Value, 0, copy);
        return copy;
    }

    /// <summary>W = <paramref name="weight"/>, for merging an adapter.</summary>
    public void Replace(Tensor weight)
    {
        IsReplaced = true;
        digest = null;
        if (Weight is not null)
        {
            weight.Device.Axpby(1, weight, 0, Weight.Value);
            return;
        }
        DType storage = Frozen!.Storage;
        Frozen.Dispose();
        Frozen = weight.Device.Freeze(weight, storage: storage);
    }

    /// <summary>Whether W is another one than the model was made with.</summary>
    internal bool IsReplaced { get; private set; }

    /// <summary>The digest of a frozen W: of the values that it was made of, before they were rounded for storage.</summary>
    internal WeightDigest Digest()
    {
        if (digest is not null) return digest;
        using Tensor copy = CopyWeight();
        return digest = WeightDigest.Of([In, Out], copy.ToArray());
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Frozen?.Dispose();
        Weight?.Dispose();
        Bias.Dispose();
    }
}
