using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// One of the model's linear maps, y = x · W + b, with what the batch's adapters add to it: packed and frozen, or an ordinary
/// parameter when the whole model is trained. In memory W is (in, out), whichever way the checkpoint has it. A fused map holds
/// several modules of the checkpoint side by side in its columns, so that one product makes them all.
/// </summary>
public sealed class LinearMap : AdaptableLayer, IDisposable
{
    private readonly Device device;

    /// <summary>Takes over weight and bias; they are the caller's still when it throws.</summary>
    /// <param name="name">The checkpoint's name without its suffix; of a fused map a name of its own.</param>
    /// <param name="modules">The checkpoint's modules that its columns are, one unless it is fused.</param>
    /// <param name="weight">(in, out), or (out, in) when <paramref name="transposed"/>.</param>
    /// <param name="bias">(out), or null.</param>
    /// <param name="transposed">Whether the checkpoint has W as (out, in).</param>
    /// <param name="trainable">Whether W and b are trained.</param>
    /// <param name="format">How a frozen W is kept.</param>
    internal LinearMap(
        string name, IReadOnlyList<LinearModule> modules, Tensor weight, Tensor? bias, bool transposed, bool trainable, WeightFormat format)
    {
        (Name, Modules, Transposed, device) = (name, modules, transposed, weight.Device);
        (In, Out) = transposed ? (weight.Shape[1], weight.Shape[0]) : (weight.Shape[0], weight.Shape[1]);
        if (bias is not null) Bias = new Parameter(name + ".bias", bias, trainable);
        if (trainable)
        {
            Weight = new Parameter(name + ".weight", transposed ? Turned(weight) : weight);
            if (transposed) weight.Dispose();
            return;
        }
        Frozen = device.Freeze(weight, transposed, format);
        weight.Dispose();
    }

    /// <summary>A frozen map whose weight is in codes; takes over the bias, which is the caller's still when it throws.</summary>
    /// <param name="device">Where it is put.</param>
    /// <param name="name">The checkpoint's name without its suffix; of a fused map a name of its own.</param>
    /// <param name="modules">The checkpoint's modules that its columns are, one unless it is fused.</param>
    /// <param name="parts">The weight of each module. (out, in)</param>
    /// <param name="bias">(out), or null.</param>
    /// <param name="transposed">Whether the checkpoint has W as (out, in).</param>
    internal LinearMap(
        Device device, string name, IReadOnlyList<LinearModule> modules, IReadOnlyList<QuantizedMatrix> parts, Tensor? bias,
        bool transposed)
    {
        (Name, Modules, Transposed, this.device) = (name, modules, transposed, device);
        (In, Out) = (parts[0].Inputs, parts.Sum(part => part.Outputs));
        if (bias is not null) Bias = new Parameter(name + ".bias", bias, trainable: false);
        Frozen = device.Freeze(parts);
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

    /// <summary>Whether it is a classifier, which an adapter trains as a whole or not at all.</summary>
    internal bool IsClassifier { get; init; }

    internal override IReadOnlyList<LayerBias> Biases =>
        Bias is null ? [] : [.. Modules.Select(module => new LayerBias(this, module.Name, module.Column, module.Out))];

    /// <summary>The checkpoint's modules that its columns are, in their order.</summary>
    internal IReadOnlyList<LinearModule> Modules { get; }

    /// <summary>y = x · W + b + what the batch's adapters add. x: (N, in), y: (N, out).</summary>
    public Variable Forward(Variable x, StreamTensors batch) => Forward(x, batch, StreamRows.Tokens);

    /// <summary>The same for some rows of the batch.</summary>
    /// <param name="x">The rows. (n, in)</param>
    /// <param name="batch">The batch, whose sequences may name adapters.</param>
    /// <param name="rows">Which rows they are.</param>
    public Variable Forward(Variable x, StreamTensors batch, StreamRows rows) => Forward(x, batch.On(this, x.Tape, rows));

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

    /// <summary>
    /// W = <paramref name="weight"/> (in, out), for merging an adapter. A map that was kept in 8 or 4 bits is kept in bfloat16 from then
    /// on, since rounding it to codes again would round away most of what was merged.
    /// </summary>
    public void Replace(Tensor weight)
    {
        MarkReplaced();
        if (Weight is not null)
        {
            device.Axpby(1, weight, 0, Weight.Value);
            return;
        }
        WeightFormat format = Frozen!.Format;
        Frozen.Dispose();
        Frozen = device.Freeze(weight, format: format.IsQuantized() ? WeightFormat.BFloat16 : format);
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
        bool biasAlone = true;
        foreach (Delta delta in deltas)
        {
            delta.AddTo(device, weight, Bias?.Value);
            biasAlone &= delta is AddedBias;
        }
        // W is as it was then, and what is kept in codes stays so.
        if (biasAlone) MarkReplaced();
        else Replace(weight);
    }

    private void MarkReplaced()
    {
        IsReplaced = true;
        foreach (LinearModule module in Modules) module.Digest = null;
    }

    internal override IReadOnlyList<HeadTensor> HeadTensors =>
    [
        new(Name + ".weight", [Out, In], () => StoredWeight(Modules[0])),
        .. Bias is null ? (IEnumerable<HeadTensor>)[] : [new(Name + ".bias", [Out], Bias.Value.ToArray)],
    ];

    /// <summary>A module's weight as the checkpoint has it.</summary>
    internal float[] StoredWeight(LinearModule module)
    {
        using Tensor copy = CopyWeight();                                         // (in, out)
        float[] whole = copy.ToArray();
        if (!Transposed && module.Out == Out) return whole;
        float[] own = new float[In * module.Out];
        for (int i = 0; i < In; i++)
            for (int o = 0; o < module.Out; o++)
                own[Transposed ? o * In + i : i * module.Out + o] = whole[i * Out + module.Column + o];
        return own;
    }

    /// <summary>A module's weight in the checkpoint's dimensions.</summary>
    internal Shape StoredShape(LinearModule module) => module.Stored ?? (Transposed ? [module.Out, In] : [In, module.Out]);

    /// <summary>
    /// The digest of a module's weight as the checkpoint has it: when frozen, of the values that it was made of, before they were
    /// rounded.
    /// </summary>
    internal WeightDigest Digest(LinearModule module) => Weight is null
        ? module.Digest ??= WeightDigest.Of(StoredShape(module), StoredWeight(module))
        : WeightDigest.Of(StoredShape(module), StoredWeight(module));

    private Variable Forward(Variable x, DeltaRows[] deltas) => Weight is null
        ? Ops.Linear(x, Frozen!, Bias?.Value, deltas)
        : Ops.Linear(x, x.Tape.Read(Weight), Bias is null ? null : x.Tape.Read(Bias), deltas);

    private Tensor Turned(Tensor matrix)
    {
        (int rows, int columns) = (matrix.Shape[0], matrix.Shape[1]);
        return device.From(HostMatrix.Transpose(matrix.ToArray(), rows, columns), [columns, rows]);
    }
}

/// <summary>A module of the checkpoint as columns of a linear map: all of them, or those of its part of a fused map.</summary>
/// <param name="name">The checkpoint's name without its suffix, for example <c>model.layers.3.self_attn.q_proj</c>.</param>
/// <param name="column">Its first column.</param>
/// <param name="outputs">Number of columns.</param>
/// <param name="digest">The weight's, where it is known.</param>
internal sealed class LinearModule(string name, int column, int outputs, WeightDigest? digest)
{
    public string Name => name;

    public int Column => column;

    public int Out => outputs;

    public WeightDigest? Digest { get; set; } = digest;

    /// <summary>The weight's dimensions in the checkpoint, where they are not the matrix's: a convolution has four.</summary>
    public Shape? Stored { get; init; }
}
