using Nola.Tensors;

namespace Nola.Autograd;

/// <summary>
/// What an adapter adds to a linear map: y[:, Column … Column + out) += Scale · (x · A) · B, where A (in, r) and
/// B (r, out) are layer <see cref="Layer"/> of stacked factors.
/// </summary>
/// <param name="A">Stacked left factors. (L, in, r)</param>
/// <param name="B">Stacked right factors. (L, r, out)</param>
/// <param name="Layer">Which of the L.</param>
/// <param name="Scale">alpha / r.</param>
/// <param name="Column">First column of y that the adapter writes: q, k and v are thirds of one fused map.</param>
public readonly record struct LowRank(Variable A, Variable B, int Layer, float Scale, int Column = 0)
{
    /// <summary>Inputs of the map.</summary>
    public int In => A.Shape[1];

    /// <summary>r.</summary>
    public int Rank => A.Shape[2];

    /// <summary>Outputs of the adapter.</summary>
    public int Out => B.Shape[2];

    internal Matrix FactorA(Tensor stacked) => new(stacked, In, Rank, Layer * In * Rank, Rank);

    internal Matrix FactorB(Tensor stacked) => new(stacked, Rank, Out, Layer * Rank * Out, Out);

    internal void Check(int inputs, int outputs)
    {
        if (A.Shape.Rank != 3 || B.Shape.Rank != 3 || A.Shape[1] != inputs || A.Shape[2] != B.Shape[1] || A.Shape[0] != B.Shape[0]
            || Layer < 0 || Layer >= A.Shape[0] || Column < 0 || Column + Out > outputs)
            throw new ShapeException($"Linear: adapter A is {A.Shape}, B {B.Shape}, layer {Layer}, column {Column} on a map ({inputs}, {outputs}); expected (L, in, r), (L, r, out) with out columns inside the map.");
    }

    /// <summary>y[:, columns] += Scale · u · B with u = x · A, which is returned for the gradient. u: (N, r).</summary>
    internal Tensor Forward(Device device, Tensor x, Tensor y)
    {
        Tensor u = device.Empty([x.Shape.Rows, Rank]);
        device.MatMul(x, false, FactorA(A.Value), false, u);
        device.MatMul(u, false, FactorB(B.Value), false, ((Matrix)y).SliceColumns(Column, Out), Scale, 1);
        return u;
    }

    /// <summary>
    /// forward: u = x·A, y += s·u·B; so du = s·dy·Bᵀ, dB = s·uᵀ·dy, dA = xᵀ·du, and dx += du·Aᵀ when dx is given.
    /// </summary>
    internal void Backward(Device device, Tensor x, Tensor u, Tensor dy, Tensor? dx)
    {
        Matrix columns = ((Matrix)dy).SliceColumns(Column, Out);                  // (N, out)
        if (B.TakesPartialGradient(out Tensor db)) device.MatMul(u, true, columns, false, FactorB(db), Scale, 1);
        if (dx is null && !A.NeedsGradient) return;
        using Tensor du = device.Empty(u.Shape);                                  // (N, r)
        device.MatMul(columns, false, FactorB(B.Value), true, du, Scale);
        if (A.TakesPartialGradient(out Tensor da)) device.MatMul(x, true, du, false, FactorA(da), 1, 1);
        if (dx is not null) device.MatMul(du, false, FactorA(A.Value), true, dx, 1, 1);
    }
}
