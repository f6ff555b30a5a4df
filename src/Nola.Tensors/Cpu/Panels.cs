namespace Nola.Tensors;

/// <summary>
/// The packed right operand of a product: float32 panels as they lie; or a weight that is kept otherwise, or read across its
/// panels, and made float32 panel by panel in the cache, and then perhaps rounded; or pairs of bfloat16, which
/// <see cref="PairKernels"/> multiply.
/// </summary>
internal readonly unsafe struct Panels
{
    private readonly PackedWeight? weight;
    private readonly bool transposed;

    private Panels(float* floats) => Floats = floats;

    private Panels(uint* pairs) => Pairs = pairs;

    /// <summary>W, or Wᵀ, of a packed weight.</summary>
    public Panels(PackedWeight weight, bool transposed) => (this.weight, this.transposed) = (weight, transposed);

    /// <summary>The panels, where they are float32 and lie as they are read.</summary>
    public float* Floats { get; }

    /// <summary>The panels, where they are pairs of bfloat16.</summary>
    public uint* Pairs { get; }

    /// <summary>Whether panels are made when they are read.</summary>
    public bool AreMade => weight is not null;

    /// <summary>Whether panels that are made are rounded to pairs of bfloat16.</summary>
    public bool AreRounded { get; private init; }

    /// <summary>The same, rounded to pairs of bfloat16 when they are made.</summary>
    public Panels Rounded => new(weight!, transposed) { AreRounded = true };

    /// <summary>The weight, where one row can be multiplied with it as it lies.</summary>
    public PackedWeight? Straight => transposed ? null : weight;

    public static implicit operator Panels(float* floats) => new(floats);

    public static implicit operator Panels(uint* pairs) => new(pairs);

    /// <summary>
    /// Some steps of a panel as float32; sums with them are multiplied with <see cref="Scales"/>. to: (steps,
    /// <see cref="Gemm.PanelWidth"/>)
    /// </summary>
    public void Make(int panel, int step, int steps, float* to)
    {
        if (transposed) weight!.MakeTransposed(panel, step, steps, to);
        else weight!.MakeUnscaled(panel, step, steps, to);
    }

    /// <summary>What the sums of a panel's columns are multiplied with; null for nothing.</summary>
    public float* Scales(int panel) => transposed || weight is null ? null : weight.Scales(panel);
}
