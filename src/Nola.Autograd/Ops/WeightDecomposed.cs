using Nola.Tensors;

namespace Nola.Autograd;

/// <summary>
/// A low-rank product added to a frozen weight, whose columns are then brought to trained lengths (DoRA, Liu et al. 2024): in place of
/// x · W the columns Column … Column + out of y get (x · V) ∘ g, where V = W + Scale · A · B and g = m / n, n being the lengths of V's
/// columns. What is added to x · W is (x · W) ∘ (g − 1) + (Scale · (x · A) · B) ∘ g. n is a constant in the gradient, as in PEFT.
/// </summary>
/// <param name="w">The whole frozen weight, of which some columns are adapted. (in, columns)</param>
/// <param name="a">Stacked left factors. (L, in, r)</param>
/// <param name="b">Stacked right factors. (L, r, out)</param>
/// <param name="lengths">m of every layer. (L, out)</param>
/// <param name="gains">Of this layer: the rows g, g − 1 and 1 / n. (3, out)</param>
/// <param name="layer">Which of the L.</param>
/// <param name="scale">For example alpha / r.</param>
/// <param name="column">First column of y that it writes.</param>
public sealed class WeightDecomposed(
    FrozenMatrix w, Variable a, Variable b, Variable lengths, Matrix gains, int layer, float scale, int column = 0) : Delta
{
    private int Rank => a.Shape[2];

    private int Out => b.Shape[2];

    private Matrix Gain => gains.SliceRows(0, 1);

    private Matrix Excess => gains.SliceRows(1, 1);

    private Matrix Inverse => gains.SliceRows(2, 1);

    /// <inheritdoc/>
    public override IReadOnlyList<Variable> Inputs => [a, b, lengths];

    /// <inheritdoc/>
    public override void Check(int inputs, int outputs)
    {
        if (a.Shape.Rank != 3 || b.Shape.Rank != 3 || lengths.Shape.Rank != 2 || w.Rows != inputs || w.Columns != outputs
            || a.Shape[1] != inputs || a.Shape[2] != b.Shape[1] || a.Shape[0] != b.Shape[0] || lengths.Shape[0] != a.Shape[0]
            || lengths.Shape[1] != Out || gains.Rows != 3 || gains.Columns != Out || layer < 0 || layer >= a.Shape[0]
            || column < 0 || column + Out > outputs)
        {
            throw new ShapeException(
                $"Linear: a decomposed weight has W ({w.Rows}, {w.Columns}), A {a.Shape}, B {b.Shape}, m {lengths.Shape}, gains {gains}, "
                + $"layer {layer}, column {column} on a map ({inputs}, {outputs}); expected (in, columns), (L, in, r), (L, r, out), "
                + "(L, out) and (3, out) with out columns inside the map.");
        }
    }

    /// <summary>u = x · A and v = x · V are kept for the gradient, side by side. (n, r + out)</summary>
    public override Tensor Forward(Device device, Matrix x, Matrix y)
    {
        Tensor kept = device.Empty([x.Rows, Rank + Out]);
        Matrix u = ((Matrix)kept).SliceColumns(0, Rank), v = ((Matrix)kept).SliceColumns(Rank, Out), own = y.SliceColumns(column, Out);
        using Tensor whole = device.Empty([x.Rows, w.Columns]);
        Product(device, x, whole);
        Matrix product = ((Matrix)whole).SliceColumns(column, Out);                // (n, out) of x · W
        device.MatMul(x, false, LayerOf(a.Value), false, u);
        device.MatMul(u, false, LayerOf(b.Value), false, v, scale);
        device.ScaleColumns(product, Excess, own, 1);
        device.ScaleColumns(v, Gain, own, 1);
        Add(device, product, v);
        return kept;
    }

    /// <summary>
    /// dm += Σ dy ∘ v / n, e = dy ∘ g, dB += scale · uᵀ · e, du = scale · e · Bᵀ, dA += xᵀ · du, and
    /// dx += du · Aᵀ + (dy ∘ (g − 1)) · Wᵀ.
    /// </summary>
    public override void Backward(
        Device device, Matrix x, Tensor? saved, Matrix dy, Matrix? dx, IReadOnlyList<Tensor?> gradients)
    {
        Matrix u = ((Matrix)saved!).SliceColumns(0, Rank), v = ((Matrix)saved!).SliceColumns(Rank, Out);
        Matrix columns = dy.SliceColumns(column, Out);                            // (n, out)
        if (gradients[2] is { } dm)
        {
            using Tensor sums = device.Empty([1, Out]);
            device.ScaleColumnsGrad(v, columns, sums);
            device.ScaleColumns(sums, Inverse, ((Matrix)dm).SliceRows(layer, 1), 1);
        }
        using Tensor e = device.Empty([dy.Rows, Out]), du = device.Empty([dy.Rows, Rank]);
        device.ScaleColumns(columns, Gain, e);
        if (gradients[1] is { } db) device.MatMul(u, true, e, false, LayerOf(db), scale, 1);
        device.MatMul(e, false, LayerOf(b.Value), true, du, scale);
        if (gradients[0] is { } da) device.MatMul(x, true, du, false, LayerOf(da), 1, 1);
        if (dx is not { } gradient) return;
        device.MatMul(du, false, LayerOf(a.Value), true, gradient, 1, 1);
        AddProductGradient(device, columns, gradient);
    }

    /// <inheritdoc/>
    public override void AddTo(Device device, Matrix weight, Tensor? bias)
    {
        Matrix own = weight.SliceColumns(column, Out);
        device.MatMul(LayerOf(a.Value), false, LayerOf(b.Value), false, own, scale, 1);
        using Tensor scaled = device.Empty([own.Rows, Out]);
        device.ScaleColumns(own, Gain, scaled);
        device.CopyColumns(scaled, own);
    }

    // Rows of x · W. A frozen matrix multiplies whole tensors.
    private void Product(Device device, Matrix x, Tensor y)
    {
        if (IsWhole(x))
        {
            device.MatMul(x.Tensor, w, null, y);
            return;
        }
        using Tensor copy = device.Empty([x.Rows, x.Columns]);
        device.CopyColumns(x, copy);
        device.MatMul(copy, w, null, y);
    }

    // dx += (dy ∘ (g − 1)) · Wᵀ.
    private void AddProductGradient(Device device, Matrix dy, Matrix dx)
    {
        using Tensor wide = device.Empty([dy.Rows, w.Columns]);
        if (Out < w.Columns) device.Fill(wide, 0);
        device.ScaleColumns(dy, Excess, ((Matrix)wide).SliceColumns(column, Out));
        if (IsWhole(dx))
        {
            device.MatMulTransposed(wide, w, dx.Tensor, 1);
            return;
        }
        using Tensor part = device.Empty([dx.Rows, dx.Columns]);
        device.MatMulTransposed(wide, w, part);
        Add(device, part, dx);
    }

    private static bool IsWhole(Matrix x) => x.Offset == 0 && x.Rows * x.Columns == x.Tensor.Length;

    // y += x, windows of one size.
    private static void Add(Device device, Matrix x, Matrix y)
    {
        using Tensor ones = device.Empty([1, x.Columns]);
        device.Fill(ones, 1);
        device.ScaleColumns(x, ones, y, 1);
    }

    // One layer of stacked factors, (in, r) or (r, out).
    private Matrix LayerOf(Tensor stacked)
    {
        (int rows, int columns) = (stacked.Shape[1], stacked.Shape[2]);
        return new(stacked, rows, columns, layer * rows * columns, columns);
    }
}
