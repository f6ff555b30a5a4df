namespace Nola.Tensors;

/// <summary>A low-rank product for some rows of a batch: y[rows, columns] += scale · (x[rows] · A) · B.</summary>
/// <param name="First">The first row.</param>
/// <param name="Count">Number of rows.</param>
/// <param name="A">(in, r)</param>
/// <param name="B">(r, out)</param>
/// <param name="Scale">For example alpha / r.</param>
/// <param name="Column">The first column of y that it writes.</param>
public readonly record struct LowRankTerm(int First, int Count, Matrix A, Matrix B, float Scale, int Column);

public abstract partial class Device
{
    /// <summary>
    /// Adds low-rank products of few rows each, for example those of a batch in which every sequence has its own adapter. What a row gets
    /// is, to the bit, what two products by <see cref="MatMul(Matrix, bool, Matrix, bool, Matrix, float, float, Tensor?)"/> give, and does
    /// not depend on the other terms; terms of the same rows are neighbors and are added in their order. x: (N, in), y: (N, out).
    /// </summary>
    /// <exception cref="ShapeException">A term does not fit.</exception>
    public void AddLowRank(Matrix x, Matrix y, IReadOnlyList<LowRankTerm> terms)
    {
        foreach (LowRankTerm t in terms)
            if (x.Rows != y.Rows || t.First < 0 || t.Count < 0 || t.First + t.Count > x.Rows || t.A.Rows != x.Columns
                || t.A.Columns != t.B.Rows || t.Column < 0 || t.Column + t.B.Columns > y.Columns)
                throw new ShapeException(
                    $"AddLowRank: x is {x}, y {y}, and a term has A {t.A}, B {t.B}, rows {t.First} … {t.First + t.Count - 1} and columns "
                    + $"from {t.Column}; expected (N, in), (N, out), (in, r) and (r, columns) inside them.");
        if (terms.Count > 0) AddLowRankCore(x, y, terms);
    }

    private protected abstract void AddLowRankCore(Matrix x, Matrix y, IReadOnlyList<LowRankTerm> terms);
}
