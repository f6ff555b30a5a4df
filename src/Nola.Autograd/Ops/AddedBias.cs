using Nola.Tensors;

namespace Nola.Autograd;

/// <summary>
/// A bias of the adapter's own: y[:, Column … Column + out) += b, where b (out) is row <paramref name="layer"/> of stacked ones.
/// </summary>
/// <param name="b">Stacked biases. (L, out)</param>
/// <param name="layer">Which of the L.</param>
/// <param name="column">First column of y that it writes.</param>
public sealed class AddedBias(Variable b, int layer, int column = 0) : Delta
{
    private int Out => b.Shape[1];

    /// <inheritdoc/>
    public override IReadOnlyList<Variable> Inputs => [b];

    /// <inheritdoc/>
    public override bool ReadsInput => false;

    /// <inheritdoc/>
    public override void Check(int inputs, int outputs)
    {
        if (b.Shape.Rank != 2 || layer < 0 || layer >= b.Shape[0] || column < 0 || column + Out > outputs)
        {
            throw new ShapeException(
                $"Linear: an added bias is {b.Shape}, layer {layer}, column {column} on a map ({inputs}, {outputs}); "
                + "expected (L, out) with out columns inside the map.");
        }
    }

    /// <summary>y[:, columns] += 1 · b, a product of rank one.</summary>
    public override Tensor? Forward(Device device, Matrix x, Matrix y)
    {
        using Tensor ones = Ones(device, y.Rows);                                 // (n, 1)
        device.MatMul(ones, false, Row(b.Value), false, y.SliceColumns(column, Out), 1, 1);
        return null;
    }

    /// <summary>db += column sums of dy.</summary>
    public override void Backward(
        Device device, Matrix x, Tensor? saved, Matrix dy, Matrix? dx, IReadOnlyList<Tensor?> gradients)
    {
        if (gradients[0] is not { } db) return;
        AddColumnSums(device, dy.SliceColumns(column, Out), Row(db));
    }

    /// <inheritdoc/>
    public override void AddTo(Device device, Matrix weight, Tensor? bias)
    {
        if (bias is null)
            throw new NolaException("Merging: a bias was trained for a linear map that has none, so there is no place for it.");
        using Tensor one = Ones(device, 1);
        device.MatMul(one, false, Row(b.Value), false, new Matrix(bias, 1, Out, column, bias.Length), 1, 1);
    }

    private Matrix Row(Tensor stacked) => new(stacked, 1, Out, layer * Out, Out);
}
