using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// One of the model's linear maps, y = x · W + b, with what the batch's adapters add to it: packed and frozen, or an ordinary
/// parameter when the whole model is trained. In memory W is (in, out), whichever way the checkpoint has it.
/// </summary>
public sealed class LinearMap : AdaptableLayer, IDisposable
{
    private readonly Device device;
    private WeightDigest? digest;

    /// <summary>Takes over weight and bias; they are the caller's still when it throws.</summary>
    /// <param name="name">The checkpoint's name without its suffix.</param>
    /// <param name="weight">(in, out), or (out, in) when <paramref name="transposed"/>.</param>
    /// <param name="bias">(out), or null.</param>
    /// <param name="transposed">Whether the checkpoint has W as (out, in).</param>
    /// <param name="trainable">Whether W and b are trained.</param>
    /// <param name="format">How a frozen W is kept.</param>
    /// <param name="digest">The weight's, where it is known.</param>
    internal LinearMap(string name, Tensor weight, Tensor? bias, bool transposed, bool trainable, WeightFormat format, WeightDigest? digest)
    {
        (Name, Transposed, device) = (name, transposed, weight.Device);
        (In, Out) = transposed ? (weight.Shape[1], weight.Shape[0]) : (weight.Shape[0], weight.Shape[1]);
        if (bias is not null) Bias = new Parameter(name + ".bias", bias, trainable);
        if (trainable)
        {
            Weight = new Parameter(WeightName, transposed ? Turned(weight) : weight);
            if (transposed) weight.Dispose();
            return;
        }
        Frozen = device.Freeze(weight, transposed, format);
        this.digest = digest;
        weight.Dispose();
    }

    /// <inheritdoc/>
    public override string Name { get; }

    /// <summary>Number of inputs.</summary>
    public int In { get; }

    /// <summary>Number of outputs.</summary>
    public int Out { get; }

    /// <summary>Whether the checkpoint has W as (out, in), as PyTorch's Linear does.</summary>
    public bool Transposed { get; }

    /// <summary>The packed weight, when the model is frozen.</summary>
    public FrozenMatrix? Frozen { get; private set; }

    /// <summary>The weight, when the model is trained. (in, out)</summary>
    public Parameter? Weight { get; }

    /// <inheritdoc/>
    public override Parameter? Bias { get; }

    internal string WeightName => Name + ".weight";

    /// <summary>The weight's dimensions in the checkpoint.</summary>
    internal Shape StoredShape => Transposed ? [Out, In] : [In, Out];

    /// <summary>y = x · W + b + what the batch's adapters add. x: (N, in), y: (N, out).</summary>
    public Variable Forward(Variable x, StreamTensors batch) => Forward(x, batch.On(this, x.Tape));

    /// <summary>residual + y. residual: (N, out).</summary>
    public Variable AddTo(Variable residual, Variable x, StreamTensors batch)
    {
        DeltaRows[] deltas = batch.On(this, x.Tape);
        return Weight is null ? Ops.Linear(x, Frozen!, Bias?.Value, residual, deltas) : residual + Forward(x, deltas);
    }

    /// <summary>gelu(y), in one with the product unless weight or adapter need the product's own gradient.</summary>
    public Variable Activated(Variable x, StreamTensors batch)
    {
        DeltaRows[] deltas = batch.On(this, x.Tape);
        return Weight is null && Bias is not null && deltas.Length == 0
            ? Ops.LinearGelu(x, Frozen!, Bias.Value)
            : Ops.Gelu(Forward(x, deltas));
    }

    /// <summary>A copy of W as (in, out) in row-major form; the caller owns it.</summary>
    public Tensor CopyWeight()
    {
        Tensor copy = device.Empty([In, Out]);
        if (Weight is null) device.Unpack(Frozen!, copy);
        else device.Axpby(1, Weight.Value, 0, copy);
        return copy;
    }

    /// <summary>W = <paramref name="weight"/> (in, out), for merging an adapter.</summary>
    public void Replace(Tensor weight)
    {
        IsReplaced = true;
        digest = null;
        if (Weight is not null)
        {
            device.Axpby(1, weight, 0, Weight.Value);
            return;
        }
        WeightFormat format = Frozen!.Format;
        Frozen.Dispose();
        Frozen = device.Freeze(weight, format: format);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Frozen?.Dispose();
        Weight?.Dispose();
        Bias?.Dispose();
    }

    internal override void Merge(IEnumerable<Delta> deltas)
    {
        using Tensor weight = CopyWeight();                                       // (in, out)
        foreach (Delta delta in deltas) delta.AddTo(device, weight, Bias?.Value);
        Replace(weight);
    }

    /// <summary>Whether W is another one than the model was made with.</summary>
    internal bool IsReplaced { get; private set; }

    /// <summary>W as the checkpoint has it.</summary>
    internal float[] StoredWeight()
    {
        using Tensor copy = CopyWeight();
        if (!Transposed) return copy.ToArray();
        using Tensor turned = Turned(copy);
        return turned.ToArray();
    }

    /// <summary>The digest of W as the checkpoint has it: when frozen, of the values that it was made of, before they were rounded.</summary>
    internal WeightDigest Digest() => Weight is null
        ? digest ??= WeightDigest.Of(StoredShape, StoredWeight())
        : WeightDigest.Of(StoredShape, StoredWeight());

    private Variable Forward(Variable x, DeltaRows[] deltas) => Weight is null
        ? Ops.Linear(x, Frozen!, Bias?.Value, deltas)
        : Ops.Linear(x, x.Tape.Read(Weight), Bias is null ? null : x.Tape.Read(Bias), deltas);

    private Tensor Turned(Tensor matrix)
    {
        (int rows, int columns) = (matrix.Shape[0], matrix.Shape[1]);
        float[] from = matrix.ToArray(), to = new float[from.Length];
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < columns; j++)
                to[j * rows + i] = from[i * columns + j];
        return device.From(to, [columns, rows]);
    }
}
