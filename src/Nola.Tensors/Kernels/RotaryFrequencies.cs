namespace Nola.Tensors;

/// <summary>
/// How fast the pairs of a head's columns turn in rotary position embedding (Su et al. 2021): the pair j, which is columns j and
/// j + D/2, by Inverse[j] radians from one position to the next. Computed in double precision.
/// </summary>
public sealed class RotaryFrequencies
{
    // Angles are sums of a far and a near part, so that a table for any length is short: position = Step · far + near. A power of two.
    internal const int Step = 256;

    private readonly double[] inverse;

    /// <summary>Frequencies of any origin.</summary>
    /// <param name="inverse">Radians from one position to the next, for each of D/2 pairs.</param>
    /// <param name="attentionScaling">What rotated queries and keys are multiplied by.</param>
    /// <exception cref="ArgumentException">There are none, or a number is not finite.</exception>
    public RotaryFrequencies(ReadOnlySpan<double> inverse, double attentionScaling = 1)
    {
        this.inverse = inverse.ToArray();
        AttentionScaling = attentionScaling;
        if (inverse.Length == 0 || !Array.TrueForAll(this.inverse, double.IsFinite) || !double.IsFinite(attentionScaling))
        {
            throw new ArgumentException(
                $"RotaryFrequencies: {inverse.Length} frequencies and attention scaling {attentionScaling}; "
                + "expected at least one, all finite.");
        }
    }

    /// <summary>D: columns of a head.</summary>
    public int HeadSize => 2 * inverse.Length;

    /// <summary>Radians from one position to the next, for each of D/2 pairs.</summary>
    public ReadOnlySpan<double> Inverse => inverse;

    /// <summary>What rotated queries and keys are multiplied by; 1 but for types that stretch attention.</summary>
    public double AttentionScaling { get; }

    /// <summary>The type <c>default</c>: theta^(−2j/D).</summary>
    /// <param name="theta">The base, 10,000 in the paper.</param>
    /// <param name="headSize">D, even.</param>
    /// <exception cref="ArgumentException">The head's columns are no pairs, or theta is not above 0.</exception>
    public static RotaryFrequencies Default(double theta, int headSize)
    {
        if (headSize < 2 || headSize % 2 != 0 || !(theta > 0))
        {
            throw new ArgumentException(
                $"RotaryFrequencies: theta {theta} and heads of {headSize} columns; expected theta above 0 and an even number of columns.");
        }
        double[] inverse = new double[headSize / 2];
        for (int j = 0; j < inverse.Length; j++) inverse[j] = Math.Pow(theta, -2.0 * j / headSize);
        return new(inverse);
    }

    /// <summary>The type <c>linear</c>: positions count 1/factor as much (Chen et al. 2023).</summary>
    public RotaryFrequencies Linear(double factor) => Map(f => f / factor);

    /// <summary>
    /// The type <c>llama3</c>: waves longer than original/low are stretched by factor, those shorter than original/high stay, and
    /// between them it goes smoothly from one to the other (Llama 3.1).
    /// </summary>
    /// <param name="factor">How much longer contexts are than those first trained on.</param>
    /// <param name="low">low_freq_factor.</param>
    /// <param name="high">high_freq_factor, above <paramref name="low"/>.</param>
    /// <param name="original">original_max_position_embeddings: tokens of the contexts first trained on.</param>
    public RotaryFrequencies Llama3(double factor, double low, double high, double original) => Map(f =>
    {
        double waves = original * f / (2 * Math.PI);
        double kept = Math.Clamp((waves - low) / (high - low), 0, 1);
        return (1 - kept) * f / factor + kept * f;
    });

    /// <summary>
    /// The table that <see cref="Device.Rotary"/> reads, for positions 0 … <paramref name="positions"/> − 1 and as many more as fill
    /// its last row. Its rows (D) are cosines and then sines of all pairs at 0 … 255, then, with the attention scaling, at 0, 256,
    /// 512 and so on; the angle of a position is the sum of one of each. Shape (256 + ⌈positions / 256⌉, D). The caller owns it.
    /// </summary>
    public Tensor Angles(Device device, int positions)
    {
        int rows = Step + (int)((positions + (long)Step - 1) / Step), half = inverse.Length;
        float[] table = new float[rows * HeadSize];
        for (int row = 0; row < rows; row++)
        {
            double position = row < Step ? row : (row - Step) * (double)Step, scale = row < Step ? 1 : AttentionScaling;
            for (int j = 0; j < half; j++)
            {
                (double sine, double cosine) = Math.SinCos(position * inverse[j]);
                table[row * HeadSize + j] = (float)(scale * cosine);
                table[row * HeadSize + half + j] = (float)(scale * sine);
            }
        }
        return device.From(table, [rows, HeadSize]);
    }

    private RotaryFrequencies Map(Func<double, double> change) => new([.. inverse.Select(change)], AttentionScaling);
}
