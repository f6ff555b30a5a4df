using Nola.Tensors;

namespace Nola.Autograd;

/// <summary>
/// A low-rank product: y[:, Column … Column + out) += Scale · (x · A) · B, where A (in, r) and B (r, out) are layer
/// <paramref name="layer"/> of stacked factors.
/// </summary>
/// <param name="a">Stacked left factors. (L, in, r)</param>
/// <param name="b">Stacked right factors. (L, r, out)</param>
/// <param name="layer">Which of the L.</param>
/// <param name="scale">For example alpha / r.</param>
/// <param name="column">First column of y that it writes: queries, keys and values are parts of one fused map.</param>
public sealed class LowRank(Variable a, Variable b, int layer, float scale, int column = 0) : Delta
{
    private int In => a.Shape[1];

    private int Rank => a.Shape[2];

    private int Out => b.Shape[2];

    /// <inheritdoc/>
    public override IReadOnlyList<Variable> Inputs => [a, b];

    /// <inheritdoc/>
    public override void Check(int inputs, int outputs)
    {
        if (a.Shape.Rank != 3 || b.Shape.Rank != 3 || a.Shape[1] != inputs || a.Shape[2] != b.Shape[1] || a.Shape[0] != b.Shape[0]
            || layer < 0 || layer >= a.Shape[0] || column < 0 || column + Out > outputs)
        {
            throw new ShapeException(
                $"Linear: adapter A is {a.Shape}, B {b.Shape}, layer {layer}, column {column} on a map ({inputs}, {outputs}); "
                + "expected (L, in, r), (L, r, out) with out columns inside the map.");
        }
    }

    /// <summary>y[:, columns] += scale · u · B with u = x · A, which is kept for the gradient. u: (n, r).</summary>
    public override Tensor Forward(Device device, Matrix x, Matrix y)
    {
        Tensor u = device.Empty([x.Rows, Rank]);
        device.MatMul(x, false, LayerOf(a.Value), false, u);
        device.MatMul(u, false, LayerOf(b.Value), false, y.SliceColumns(column, Out), scale, 1);
        return u;
    }

    internal override LowRankTerm? TermFor(int first, int count) =>
        new(first, count, LayerOf(a.Value), LayerOf(b.Value), scale, column);

    /// <summary>du = scale · dy · Bᵀ, dB += scale · uᵀ · dy, dA += xᵀ · du, and dx += du · Aᵀ.</summary>
    public override void Backward(
        Device device, Matrix x, Tensor? saved, Matrix dy, Matrix? dx, IReadOnlyList<Tensor?> gradients)
    {
        Tensor u = saved!;                                                        // (n, r)
        Matrix columns = dy.SliceColumns(column, Out);                            // (n, out)
        if (gradients[1] is { } db) device.MatMul(u, true, columns, false, LayerOf(db), scale, 1);
        if (dx is null && gradients[0] is null) return;
        using Tensor du = device.Empty(u.Shape);                                  // (n, r)
        device.MatMul(columns, false, LayerOf(b.Value), true, du, scale);
        if (gradients[0] is { } da) device.MatMul(x, true, du, false, LayerOf(da), 1, 1);
        if (dx is { } gradient) device.MatMul(du, false, LayerOf(a.Value), true, gradient, 1, 1);
    }

    /// <summary>y[:, columns] += scale · u · B with u = the rows of A that the ids name, of the whole batch. u: (N, r).</summary>
    public override Tensor Lookup(Device device, Tensor ids, int first, Matrix y)
    {
        if (a.Shape[0] != 1)
            throw new ShapeException($"Lookup: adapter A is {a.Shape}; expected (1, in, r), since a model has one token embedding.");
        Tensor u = device.Empty([ids.Length, Rank]);
        device.GatherRows(a.Value, ids, u);
        device.MatMul(((Matrix)u).SliceRows(first, y.Rows), false, LayerOf(b.Value), false, y.SliceColumns(column, Out), scale, 1);
        return u;
    }

    /// <summary>dB += scale · uᵀ · dy, and dA[ids[n]] += du[n] with du = scale · dy · Bᵀ.</summary>
    public override void BackwardLookup(
        Device device, Tensor ids, int first, Tensor? saved, Matrix dy, IReadOnlyList<Tensor?> gradients)
    {
        Matrix u = ((Matrix)saved!).SliceRows(first, dy.Rows), columns = dy.SliceColumns(column, Out);
        if (gradients[1] is { } db) device.MatMul(u, true, columns, false, LayerOf(db), scale, 1);
        if (gradients[0] is not { } da) return;
        using Tensor du = device.Empty([ids.Length, Rank]);                       // (N, r), nothing outside the window
        if (dy.Rows < ids.Length) device.Fill(du, 0);
        device.MatMul(columns, false, LayerOf(b.Value), true, ((Matrix)du).SliceRows(first, dy.Rows), scale);
        device.ScatterAddRows(du, ids, da);
    }

    /// <inheritdoc/>
    public override void AddTo(Device device, Matrix weight, Tensor? bias) =>
        device.MatMul(LayerOf(a.Value), false, LayerOf(b.Value), false, weight.SliceColumns(column, Out), scale, 1);

    // One layer of stacked factors, (in, r) or (r, out).
    private Matrix LayerOf(Tensor stacked) => Matrix.OfStack(stacked, layer);
}
