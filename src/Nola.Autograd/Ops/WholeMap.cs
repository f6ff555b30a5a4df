using Nola.Tensors;

namespace Nola.Autograd;

/// <summary>
/// A map of the adapter's own in place of the model's: y = x · Wᵀ + b, whatever the map itself gives. For a map that is trained as a
/// whole, such as a classifier or a language-model head. It comes before other deltas of its map.
/// </summary>
/// <param name="w">W, as checkpoints have it. (out, in)</param>
/// <param name="b">b (out); null where the map has none.</param>
public sealed class WholeMap(Variable w, Variable? b = null) : Delta
{
    /// <inheritdoc/>
    public override IReadOnlyList<Variable> Inputs { get; } = b is { } bias ? [w, bias] : [w];

    /// <inheritdoc/>
    public override void Check(int inputs, int outputs)
    {
        if (w.Shape.Rank != 2 || w.Shape[0] != outputs || w.Shape[1] != inputs || (b is { } bias && bias.Value.Length != outputs))
            throw new ShapeException(
                $"Linear: a map of an adapter's own is {w.Shape}{(b is { } own ? $" with a bias {own.Shape}" : "")} "
                + $"on a map ({inputs}, {outputs}); expected (out, in) and (out).");
    }

    /// <summary>y = x · Wᵀ + b, over what is there.</summary>
    public override Tensor? Forward(Device device, Matrix x, Matrix y)
    {
        device.MatMul(x, false, w.Value, true, y, 1, 0, b?.Value);
        return null;
    }

    /// <summary>dW += dyᵀ · x, db += column sums of dy, and dx = dy · W, over what the model's own map gave.</summary>
    public override void Backward(
        Device device, Matrix x, Tensor? saved, Matrix dy, Matrix? dx, IReadOnlyList<Tensor?> gradients)
    {
        if (gradients[0] is { } dw) device.MatMul(dy, true, x, false, dw, 1, 1);
        if (b is not null && gradients[1] is { } db) AddColumnSums(device, dy, new Matrix(db, 1, dy.Columns, 0, dy.Columns));
        if (dx is { } gradient) device.MatMul(dy, false, w.Value, false, gradient);
    }

    /// <inheritdoc/>
    public override void AddTo(Device device, Matrix weight, Tensor? bias)
    {
        if ((bias is null) == b.HasValue)
            throw new NolaException(bias is null
                ? "Merging: a map with a bias is in place of one that has none, so there is no place for it; keep it as an adapter."
                : "Merging: a map without a bias is in place of one that has a bias; keep it as an adapter.");
        if (weight.Offset != 0 || weight.Stride != weight.Columns)
            throw new ShapeException($"Merging: a map of its own takes the place of a whole one, and the weight is a window {weight}.");
        (int inputs, int outputs) = (weight.Rows, weight.Columns);
        float[] own = w.Value.ToArray(), turned = new float[own.Length];
        for (int o = 0; o < outputs; o++)
            for (int i = 0; i < inputs; i++) turned[i * outputs + o] = own[o * inputs + i];
        device.Upload(turned, weight.Tensor);
        if (b is { } to) device.Axpby(1, to.Value, 0, bias!);
    }
}
