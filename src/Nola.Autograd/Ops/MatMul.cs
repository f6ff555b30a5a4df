using Nola.Tensors;

namespace Nola.Autograd;

public static partial class Ops
{
    /// <summary>y = a · b. a: (…, K) read as (M, K); b: (K, N); y: (…, N). da = dy · bᵀ, db = aᵀ · dy.</summary>
    /// <exception cref="ShapeException">a's last dimension is not b's first.</exception>
    public static Variable MatMul(Variable a, Variable b)
    {
        if (b.Shape.Rank != 2 || a.Shape.Rank < 1 || a.Shape[^1] != b.Shape[0])
            throw new ShapeException(
                $"MatMul: a is {a.Shape} and b {b.Shape}; a's last dimension must equal b's first, and b must have two.");
        return Linear(a, b);
    }

    // The shape of x with its last dimension replaced.
    private static Shape WithColumns(Shape x, int columns) => x.Rank switch
    {
        1 => [columns],
        2 => [x[0], columns],
        3 => [x[0], x[1], columns],
        _ => [x[0], x[1], x[2], columns],
    };
}
