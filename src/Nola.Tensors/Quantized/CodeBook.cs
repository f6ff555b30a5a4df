using System.Numerics;
using System.Numerics.Tensors;

namespace Nola.Tensors;

/// <summary>
/// The values that codes of blockwise quantization stand for, ascending in [−1, 1], as bitsandbytes defines them. A block is
/// scaled by its largest magnitude, and each of its values takes the code of the nearest.
/// </summary>
internal sealed class CodeBook
{
    /// <summary>What a block of zeros, or of less than this, is divided by.</summary>
    public const float LeastScale = 1e-38f;

    // A value takes the first code whose bound it does not exceed: halfway to the next, so that a tie takes the lower one.
    private readonly float[] bounds;

    private CodeBook(float[] values)
    {
        Values = values;
        bounds = new float[values.Length - 1];
        for (int i = 0; i < bounds.Length; i++) bounds[i] = (values[i] + values[i + 1]) / 2;
    }

    /// <summary>NF4 (Dettmers et al. 2023): quantiles of a normal distribution, and 0.</summary>
    public static CodeBook Nf4 { get; } = new(
    [
        -1f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f, -0.18477343022823334f,
        -0.09105003625154495f, 0f, 0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f,
        0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1f,
    ]);

    /// <summary>The signed dynamic map of 8 bits (Dettmers et al. 2022), which double quantization uses for magnitudes.</summary>
    public static CodeBook Dynamic { get; } = new(DynamicValues());

    /// <summary>What each code stands for.</summary>
    public float[] Values { get; }

    /// <summary>Quantizes one block.</summary>
    /// <param name="block">Its values.</param>
    /// <param name="whole">Whether it has as many values as blocks have; a shorter one is divided and not multiplied.</param>
    /// <param name="codes">Receives a code for each.</param>
    /// <returns>The block's largest magnitude.</returns>
    public float Encode(ReadOnlySpan<float> block, bool whole, Span<byte> codes)
    {
        float largest = MathF.Abs(TensorPrimitives.MaxMagnitude(block)), scale = MathF.Max(largest, LeastScale);
        Span<float> scaled = stackalloc float[block.Length];
        if (whole) TensorPrimitives.Multiply(block, 1 / scale, scaled);
        else TensorPrimitives.Divide(block, scale, scaled);
        if (Values.Length == 16) CountBounds(scaled, codes);
        else
            for (int i = 0; i < scaled.Length; i++) codes[i] = Nearest(scaled[i]);
        return largest;
    }

    // Of few codes: the number of bounds below each value.
    private void CountBounds(ReadOnlySpan<float> values, Span<byte> codes)
    {
        Span<int> counts = stackalloc int[Vector<int>.Count];
        int i = 0;
        for (; i + Vector<float>.Count <= values.Length; i += Vector<float>.Count)
        {
            Vector<float> x = new(values[i..]);
            Vector<int> count = Vector<int>.Zero;
            foreach (float bound in bounds) count -= Vector.GreaterThan(x, new Vector<float>(bound));
            count.CopyTo(counts);
            for (int j = 0; j < counts.Length; j++) codes[i + j] = (byte)counts[j];
        }
        for (; i < values.Length; i++) codes[i] = Nearest(values[i]);
    }

    private byte Nearest(float value)
    {
        int low = 0, high = bounds.Length;
        while (low < high)
        {
            int middle = (low + high) / 2;
            if (value > bounds[middle]) low = middle + 1;
            else high = middle;
        }
        return (byte)low;
    }

    // For each power of ten from 10⁻⁶ to 1 the middles of 1, 2, 4 … 64 equal parts of [0.1, 1], with both signs; and 0 and 1. The
    // order of float32 operations is that of PyTorch, in which the map is defined.
    private static float[] DynamicValues()
    {
        const int Exponents = 7;
        List<float> values = [0, 1];
        for (int i = 0; i < Exponents; i++)
        {
            int parts = 1 << i;
            float power = (float)Math.Pow(10, i - (Exponents - 1));
            for (int part = 0; part < parts; part++)
            {
                float middle = power * ((Edge(part, parts) + Edge(part + 1, parts)) / 2);
                values.AddRange([middle, -middle]);
            }
        }
        values.Sort();
        return [.. values];
    }

    // torch.linspace(0.1, 1, parts + 1)[part]: each half counted from its own end, rounded once.
    private static float Edge(int part, int parts)
    {
        const float First = 0.1f;
        float step = (float)((1.0 - First) / parts);
        return part < (parts + 1) / 2 ? MathF.FusedMultiplyAdd(step, part, First) : MathF.FusedMultiplyAdd(-step, parts - part, 1);
    }
}
