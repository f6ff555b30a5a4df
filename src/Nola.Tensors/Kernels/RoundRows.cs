namespace Nola.Tensors;

public abstract partial class Device
{
    /// <summary>
    /// Symmetric uniform rounding of each row by itself: y = step · code, with step and code as <see cref="SymmetricRounding"/>
    /// has them; the same bits on every device. y may be x. x, y: (N, C).
    /// </summary>
    /// <param name="x">What is rounded.</param>
    /// <param name="levels">L, the largest code: 1 to 127.</param>
    /// <param name="y">Receives what the codes stand for.</param>
    /// <exception cref="ShapeException">The lengths differ.</exception>
    public void RoundRows(Tensor x, int levels, Tensor y)
    {
        CheckSame(nameof(RoundRows), x, y);
        if (levels is < 1 or > 127) throw new ArgumentException($"RoundRows: levels is {levels}; expected 1 to 127.");
        if (x.Length > 0) RoundRowsCore(x, levels, y);
    }

    private protected abstract void RoundRowsCore(Tensor x, int levels, Tensor y);
}

/// <summary>
/// The arithmetic of rounding a vector to step · code, with whole codes from −L to L, in IEEE float32. The step has 16
/// significant bits, so that step · code is exact.
/// </summary>
public static class SymmetricRounding
{
    // Of float32's 24 significant bits, 16 stay.
    private const uint Dropped = 0xFF;

    // Steps below the smallest normal number would be rounded more coarsely than their vector.
    private const float SmallestStep = 1.17549435e-38f;

    /// <summary>2¹²⁷: from it on, step · L could overflow.</summary>
    internal const float Largest = 1.7014118e38f;

    /// <summary>
    /// max|x| / L, rounded to 16 significant bits, ties to even; 0 when that is below 2⁻¹²⁶, for then the vector is zero or as
    /// good as zero. NaN when an element is not a number below 2¹²⁷ in size.
    /// </summary>
    public static float Step(ReadOnlySpan<float> vector, int levels)
    {
        float largest = 0;
        foreach (float x in vector)
        {
            float size = MathF.Abs(x);
            if (!(size < Largest)) return float.NaN;
            largest = MathF.Max(largest, size);
        }
        return OrZero(BitConverter.UInt32BitsToSingle(Shorten(BitConverter.SingleToUInt32Bits(largest / levels))));
    }

    /// <summary>x / step, rounded to the nearest whole number, ties to even, within ±L; 0 without a positive step.</summary>
    public static int Code(float x, float step, int levels) =>
        step > 0 ? (int)Math.Clamp(MathF.Round(x / step, MidpointRounding.ToEven), -levels, levels) : 0;

    /// <summary>
    /// Each element becomes what its code stands for.
    /// All of them become NaN when one is too large or not a number, for the loss to show.
    /// </summary>
    /// <param name="vector">What is rounded.</param>
    /// <param name="levels">L, the largest code.</param>
    /// <param name="rounded">Receives step · code; may be <paramref name="vector"/>.</param>
    public static void Round(ReadOnlySpan<float> vector, int levels, Span<float> rounded)
    {
        float step = Step(vector, levels);
        for (int i = 0; i < vector.Length; i++) rounded[i] = step * Code(vector[i], step, levels);
    }

    /// <summary>The bits of a float32 rounded to 16 significant ones.</summary>
    internal static uint Shorten(uint word) => (word + (Dropped >> 1) + ((word >> 8) & 1)) & ~Dropped;

    /// <summary>A step, or 0 for one that is too small.</summary>
    internal static float OrZero(float step) => step < SmallestStep ? 0 : step;
}
