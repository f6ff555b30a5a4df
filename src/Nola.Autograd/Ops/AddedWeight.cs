using Nola.Tensors;

namespace Nola.Autograd;

/// <summary>
/// A whole weight: y[:, Column … Column + out) += x · ΔW, where ΔW (in, out) is layer <paramref name="layer"/> of stacked ones. For
/// methods whose ΔW has full rank, which two factors would make dearer (FourierFT, RandLoRA).
/// </summary>
/// <param name="w">Stacked ΔW. (L, in, out)</param>
/// <param name="layer">Which of the L.</param>
/// <param name="column">First column of y that it writes.</param>
public sealed class AddedWeight(Variable w, int layer, int column = 0) : Delta
{
    private int Out => w.Shape[2];

    /// <inheritdoc/>
    public override IReadOnlyList<Variable> Inputs => [w];

    /// <inheritdoc/>
    public override void Check(int inputs, int outputs)
    {
        if (w.Shape.Rank != 3 || w.Shape[1] != inputs || layer < 0 || layer >= w.Shape[0] || column < 0 || column + Out > outputs)
        {
            throw new ShapeException(
                $"Linear: an added weight is {w.Shape}, layer {layer}, column {column} on a map ({inputs}, {outputs}); "
                + "expected (L, in, out) with out columns inside the map.");
        }
    }

    /// <summary>y[:, columns] += x · ΔW.</summary>
    public override Tensor? Forward(Device device, Matrix x, Matrix y)
    {
        device.MatMul(x, false, LayerOf(w.Value), false, y.SliceColumns(column, Out), 1, 1);
        return null;
    }

    /// <summary>dΔW += xᵀ · dy, and dx += dy · ΔWᵀ.</summary>
    public override void Backward(
        Device device, Matrix x, Tensor? saved, Matrix dy, Matrix? dx, IReadOnlyList<Tensor?> gradients)
    {
        Matrix columns = dy.SliceColumns(column, Out);                            // (n, out)
        if (gradients[0] is { } dw) device.MatMul(x, true, columns, false, LayerOf(dw), 1, 1);
        if (dx is { } gradient) device.MatMul(columns, false, LayerOf(w.Value), true, gradient, 1, 1);
    }

    /// <inheritdoc/>
    public override void AddTo(Device device, Matrix weight, Tensor? bias)
    {
        Matrix own = LayerOf(w.Value), window = weight.SliceColumns(column, Out);
        using Tensor ones = device.Empty([1, Out]);
        device.Fill(ones, 1);
        device.ScaleColumns(own, ones, window, 1);
    }

    // One layer of the stacked weights. (in, out)
    private Matrix LayerOf(Tensor stacked)
    {
        (int rows, int columns) = (stacked.Shape[1], stacked.Shape[2]);
        return new(stacked, rows, columns, layer * rows * columns, columns);
    }
}
