namespace Nola.Tensors;

public abstract partial class Device
{
    /// <summary>
    /// c = alpha · op(a) · op(b) (+ bias) + beta · c, where op transposes when its flag is set. a: (M, K), b: (K, N),
    /// c: (M, N) after op; bias: (N), added to every row. beta is 0 (c may hold anything, NaN included) or 1.
    /// </summary>
    /// <exception cref="ShapeException">The inner or outer sizes do not fit.</exception>
    public void MatMul(Matrix a, bool transposeA, Matrix b, bool transposeB, Matrix c, float alpha = 1, float beta = 0, Tensor? bias = null)
    {
        (int m, int k) = transposeA ? (a.Columns, a.Rows) : (a.Rows, a.Columns);
        (int kb, int n) = transposeB ? (b.Columns, b.Rows) : (b.Rows, b.Columns);
        if (k != kb || c.Rows != m || c.Columns != n)
            throw new ShapeException(
                $"MatMul: op(a) is ({m}, {k}), op(b) is ({kb}, {n}) and c is {c}; expected (M, K), (K, N) and (M, N).");
        if (bias is not null && bias.Length != n)
            throw new ShapeException($"MatMul: bias is {bias.Shape}; expected ({n}).");
        CheckBeta(nameof(MatMul), beta);
        MatMulCore(a, transposeA, b, transposeB, c, alpha, beta, bias);
    }

    /// <summary>
    /// Packs a weight that will not change for both of its products. The result copies: the tensor may be disposed.
    /// </summary>
    /// <param name="weight">
    /// W (in, out); or Wᵀ (out, in), as an embedding matrix is for the head, with <paramref name="transposed"/>.
    /// </param>
    /// <param name="transposed">Whether <paramref name="weight"/> holds Wᵀ.</param>
    /// <param name="format">
    /// Float32; BFloat16 for half the memory; Int8, Nf4 or Nf4Double for less, with scales along the rows of Wᵀ. W is rounded, products
    /// accumulate in float32 all the same.
    /// </param>
    /// <exception cref="ArgumentException">There is no such format.</exception>
    public FrozenMatrix Freeze(Matrix weight, bool transposed = false, WeightFormat format = WeightFormat.Float32)
    {
        // Said before anything is allocated.
        _ = format.ElementType();
        if (!format.IsQuantized()) return FreezeCore(weight, transposed, format);
        (int rows, int columns) = transposed ? (weight.Columns, weight.Rows) : (weight.Rows, weight.Columns);
        return FreezeCore([QuantizedMatrix.Of(format, OutIn(weight, transposed), columns, rows)]);
    }

    /// <summary>Packs matrices (out, in) in 8 or 4 bits that lie side by side in the columns of W, all of one format.</summary>
    internal FrozenMatrix Freeze(IReadOnlyList<QuantizedMatrix> parts)
    {
        if (parts.Any(part => part.Format != parts[0].Format || part.Inputs != parts[0].Inputs))
            throw new ShapeException("Freeze: matrices of different formats or numbers of inputs cannot lie side by side.");
        return FreezeCore(parts);
    }

    /// <summary>Packs Wᵀ (out, in) row by row as it comes, so that it never exists twice: float32 or bfloat16.</summary>
    /// <param name="rows">in.</param>
    /// <param name="columns">out.</param>
    /// <param name="format">Float32 or BFloat16.</param>
    /// <param name="compact">Whether memory counts more than time, so that there is never a copy for the second product.</param>
    internal FrozenRows FreezeRows(int rows, int columns, WeightFormat format, bool compact) =>
        FreezeRowsCore(rows, columns, format, compact);

    /// <summary>
    /// y = x · W (+ bias) (+ residual) + beta · y, and activated = gelu(y) when it is given: what follows a product is done
    /// while its tiles are in the cache. x: (N, in), bias: (out), all others (N, out).
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public void MatMul(Tensor x, FrozenMatrix w, Tensor? bias, Tensor y, float beta = 0, Tensor? residual = null, Tensor? activated = null)
    {
        if (x.Shape.Columns != w.Rows || y.Shape.Columns != w.Columns || x.Shape.Rows != y.Shape.Rows)
            throw new ShapeException(
                $"MatMul: x is {x.Shape}, the frozen matrix ({w.Rows}, {w.Columns}) and y {y.Shape}; "
                + "expected (N, in), (in, out) and (N, out).");
        if (bias is not null && bias.Length != w.Columns)
            throw new ShapeException($"MatMul: bias is {bias.Shape}; expected ({w.Columns}).");
        if (residual is not null) CheckSame(nameof(MatMul), y, residual);
        if (activated is not null) CheckSame(nameof(MatMul), y, activated);
        CheckBeta(nameof(MatMul), beta);
        MatMulCore(x, w, bias, y, beta, residual, activated);
    }

    /// <summary>
    /// dx = dy · Wᵀ + beta · dx; with <paramref name="preactivation"/> u, (dy · gelu′(u)) · Wᵀ + beta · dx, where u is used up.
    /// dy and u: (N, out), dx: (N, in).
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public void MatMulTransposed(Tensor dy, FrozenMatrix w, Tensor dx, float beta = 0, Tensor? preactivation = null)
    {
        if (dy.Shape.Columns != w.Columns || dx.Shape.Columns != w.Rows || dy.Shape.Rows != dx.Shape.Rows)
            throw new ShapeException(
                $"MatMulTransposed: dy is {dy.Shape}, the frozen matrix ({w.Rows}, {w.Columns}) and dx {dx.Shape}; "
                + "expected (N, out), (in, out) and (N, in).");
        if (preactivation is not null) CheckSame(nameof(MatMulTransposed), dy, preactivation);
        CheckBeta(nameof(MatMulTransposed), beta);
        MatMulTransposedCore(dy, w, dx, beta, preactivation);
    }

    /// <summary>Writes W (in, out), or Wᵀ (out, in) with <paramref name="transposed"/>, back into row-major form; exact.</summary>
    public abstract void Unpack(FrozenMatrix w, Tensor weight, bool transposed = false);

    private protected abstract FrozenMatrix FreezeCore(Matrix weight, bool transposed, WeightFormat format);

    private protected abstract FrozenMatrix FreezeCore(IReadOnlyList<QuantizedMatrix> parts);

    private protected abstract FrozenRows FreezeRowsCore(int rows, int columns, WeightFormat format, bool compact);

    private protected abstract void MatMulCore(
        Matrix a, bool transposeA, Matrix b, bool transposeB, Matrix c, float alpha, float beta, Tensor? bias);

    private protected abstract void MatMulCore(
        Tensor x, FrozenMatrix w, Tensor? bias, Tensor y, float beta, Tensor? residual, Tensor? activated);

    private protected abstract void MatMulTransposedCore(Tensor dy, FrozenMatrix w, Tensor dx, float beta, Tensor? preactivation);

    // A rectangle on the host, as (out, in).
    private static float[] OutIn(Matrix weight, bool transposed)
    {
        float[] all = weight.Tensor.ToArray(), values = new float[weight.Rows * weight.Columns];
        for (int i = 0; i < weight.Rows; i++)
            for (int j = 0; j < weight.Columns; j++)
                values[transposed ? i * weight.Columns + j : j * weight.Rows + i] = all[weight.Offset + i * weight.Stride + j];
        return values;
    }

    private protected static void CheckBeta(string call, float beta)
    {
        if (beta is not (0 or 1)) throw new ArgumentException($"{call}: beta is {beta}; expected 0 or 1.");
    }
}

/// <summary>
/// A weight of the frozen base model in the device's packed form, able to do x·W and dy·Wᵀ, and nothing else: it has
/// no gradient and does not change. The only form in which base weights live while adapters train.
/// </summary>
/// <param name="rows">in: columns of x.</param>
/// <param name="columns">out: columns of y.</param>
/// <param name="format">How its elements are kept.</param>
public abstract class FrozenMatrix(int rows, int columns, WeightFormat format) : IDisposable
{
    /// <summary>in: the number of inputs.</summary>
    public int Rows => rows;

    /// <summary>out: the number of outputs.</summary>
    public int Columns => columns;

    /// <summary>How its elements are kept.</summary>
    public WeightFormat Format => format;

    /// <summary>Bytes held; float32's second packed form is counted as far as it exists.</summary>
    public abstract long Bytes { get; }

    /// <summary>Gives the packed memory back.</summary>
    public abstract void Dispose();
}

/// <summary>A weight that is being frozen, row of (out, in) by row.</summary>
internal abstract class FrozenRows : IDisposable
{
    /// <summary>Takes the next values in row-major order.</summary>
    public abstract void Add(ReadOnlySpan<float> values);

    /// <summary>The weight, when all have come. It owns the memory from then on.</summary>
    public abstract FrozenMatrix Finish();

    /// <summary>Gives the memory back, where it came to no end.</summary>
    public abstract void Dispose();
}
