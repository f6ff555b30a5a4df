namespace Nola.Tensors;

/// <summary>
/// A frozen weight W (in, out) in panels of <see cref="Gemm.PanelWidth"/> columns, each of in steps, in some format. One copy serves
/// x·W and dy·Wᵀ: a product reads it through a panel that is made float32 in the cache, of W or of Wᵀ.
/// </summary>
/// <param name="rows">in.</param>
/// <param name="columns">out.</param>
internal abstract unsafe class PackedWeight(int rows, int columns) : IDisposable
{
    /// <summary>in.</summary>
    public int Rows => rows;

    /// <summary>out.</summary>
    public int Columns => columns;

    public abstract WeightFormat Format { get; }

    /// <summary>Bytes held.</summary>
    public abstract long Bytes { get; }

    /// <summary>The right operand of x·W.</summary>
    public virtual Panels Forward => new(this, transposed: false);

    /// <summary>The right operand of dy·Wᵀ.</summary>
    public virtual Panels Backward => new(this, transposed: true);

    /// <summary>Steps <paramref name="step"/> … of a panel of W. to: (steps, width); columns that W does not have are zeros.</summary>
    public abstract void Make(int panel, int step, int steps, float* to);

    /// <summary>
    /// The same of Wᵀ, whose panels are of W's rows and whose steps are W's columns. to: (steps, width); what stands for rows that
    /// W does not have is finite.
    /// </summary>
    public abstract void MakeTransposed(int panel, int step, int steps, float* to);

    /// <summary>
    /// The same as <see cref="Make"/>, without what all values of a column have in common: sums of products with them are multiplied
    /// with <see cref="Scales"/>, once for a sum in place of once for a value. to: (steps, width)
    /// </summary>
    public virtual void MakeUnscaled(int panel, int step, int steps, float* to) => Make(panel, step, steps, to);

    /// <summary>What all values of a column have in common, for the columns from a panel on; null for nothing.</summary>
    public virtual float* Scales(int panel) => null;

    /// <summary>
    /// sums = Σ x[p] · W[step + p] over steps p, one after the other, for all columns of some panels, of unscaled values. The bits are
    /// those of <see cref="MicroKernels"/>. sums: (panels, width)
    /// </summary>
    public abstract void Row(int panel, int panels, int step, int steps, float* x, nint stride, float* sums);

    /// <summary>Column o of W, which for a head is a token's embedding.</summary>
    public virtual void Column(int o, float* to)
    {
        const int Steps = 64;
        int width = Gemm.PanelWidth, panel = o / width;
        float* some = stackalloc float[Steps * 32];
        for (int i = 0; i < rows; i += Steps)
        {
            int steps = Math.Min(Steps, rows - i);
            Make(panel, i, steps, some);
            for (int p = 0; p < steps; p++) to[i + p] = some[p * width + o % width];
        }
    }

    public abstract void Dispose();
}
