using Nola.Tensors;

namespace Nola.Autograd;

/// <summary>
/// A frozen low-rank product between two trained diagonals: y[:, Column … Column + out) += (((x · A) ∘ d) · B) ∘ b, where A (in, r)
/// and B (r, out) are frozen and d (r) and b (out) are row <paramref name="layer"/> of stacked vectors (VeRA, Kopiczko et al. 2024).
/// </summary>
/// <param name="a">The frozen left factor; a window of a larger one, where maps of several sizes share it. (in, r)</param>
/// <param name="b">The frozen right factor. (r, out)</param>
/// <param name="inner">d of every layer. (L, r)</param>
/// <param name="outer">b of every layer. (L, out)</param>
/// <param name="layer">Which of the L.</param>
/// <param name="column">First column of y that it writes.</param>
public sealed class ScaledLowRank(Matrix a, Matrix b, Variable inner, Variable outer, int layer, int column = 0) : Delta
{
    private int Rank => a.Columns;

    private int Out => b.Columns;

    /// <inheritdoc/>
    public override IReadOnlyList<Variable> Inputs => [inner, outer];

    /// <inheritdoc/>
    public override void Check(int inputs, int outputs)
    {
        if (a.Rows != inputs || b.Rows != Rank || inner.Shape.Rank != 2
            || outer.Shape.Rank != 2 || inner.Shape[1] != Rank || outer.Shape[1] != Out
            || inner.Shape[0] != outer.Shape[0] || layer < 0 || layer >= inner.Shape[0] || column < 0 || column + Out > outputs)
        {
            throw new ShapeException(
                $"Linear: a scaled product has A {a}, B {b}, d {inner.Shape}, b {outer.Shape}, layer {layer}, column {column} on a map "
                + $"({inputs}, {outputs}); expected (in, r), (r, out), (L, r) and (L, out) with out columns inside the map.");
        }
    }

    /// <summary>u = x · A, v = (u ∘ d) · B, y[:, columns] += v ∘ b; u and v are kept for the gradient, side by side. (n, r + out)</summary>
    public override Tensor Forward(Device device, Matrix x, Matrix y)
    {
        Tensor kept = device.Empty([x.Rows, Rank + Out]);
        Matrix u = ((Matrix)kept).SliceColumns(0, Rank), v = ((Matrix)kept).SliceColumns(Rank, Out);
        device.MatMul(x, false, a, false, u);
        using Tensor scaled = device.Empty([x.Rows, Rank]);
        device.ScaleColumns(u, Row(inner.Value), scaled);
        device.MatMul(scaled, false, b, false, v);
        device.ScaleColumns(v, Row(outer.Value), y.SliceColumns(column, Out), 1);
        return kept;
    }

    /// <summary>db += Σ dy ∘ v, e = (dy ∘ b) · Bᵀ, dd += Σ e ∘ u, and dx += (e ∘ d) · Aᵀ.</summary>
    public override void Backward(
        Device device, Matrix x, Tensor? saved, Matrix dy, Matrix? dx, IReadOnlyList<Tensor?> gradients)
    {
        Matrix u = ((Matrix)saved!).SliceColumns(0, Rank), v = ((Matrix)saved!).SliceColumns(Rank, Out);
        Matrix columns = dy.SliceColumns(column, Out);                            // (n, out)
        if (gradients[1] is { } db) device.ScaleColumnsGrad(v, columns, Row(db), 1);
        if (dx is null && gradients[0] is null) return;
        using Tensor dv = device.Empty([dy.Rows, Out]), e = device.Empty([dy.Rows, Rank]);
        device.ScaleColumns(columns, Row(outer.Value), dv);
        device.MatMul(dv, false, b, true, e);                                     // (n, r)
        if (gradients[0] is { } dd) device.ScaleColumnsGrad(u, e, Row(dd), 1);
        if (dx is not { } gradient) return;
        using Tensor du = device.Empty([dy.Rows, Rank]);
        device.ScaleColumns(e, Row(inner.Value), du);
        device.MatMul(du, false, a, true, gradient, 1, 1);
    }

    /// <inheritdoc/>
    public override void AddTo(Device device, Matrix weight, Tensor? bias)
    {
        using Tensor left = device.Empty([a.Rows, Rank]), right = device.Empty([Rank, Out]);
        device.ScaleColumns(a, Row(inner.Value), left);
        device.ScaleColumns(b, Row(outer.Value), right);
        device.MatMul(left, false, right, false, weight.SliceColumns(column, Out), 1, 1);
    }

    private Matrix Row(Tensor stacked) => ((Matrix)stacked).SliceRows(layer, 1);
}
