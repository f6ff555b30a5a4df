using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// Symmetric uniform quantization of a vector of coefficients to 8, 4, 3 or 2 bits (Koohpayegani et al. 2024, section 4.4):
/// α ≈ step · code with whole codes from −L to L, L = 127, 7, 3, 1. Specified with test vectors in docs/adapter-file.md.
/// </summary>
/// <remarks>
/// The step has 16 significant bits, so that step · code is exact in float32: every device gives the same bits, and
/// quantizing what was dequantized changes nothing. Everything is computed in IEEE float32; <see cref="Device.RoundRows"/> rounds on
/// the device with the same bits.
/// </remarks>
public static class CoefficientQuantizer
{
    /// <summary>The numbers of bits that there are.</summary>
    public static IReadOnlyList<int> Widths { get; } = [8, 4, 3, 2];

    /// <summary>L: the largest code, 2^(bits−1) − 1.</summary>
    /// <exception cref="NolaException">There is no such number of bits.</exception>
    public static int Levels(int bits) => Widths.Contains(bits)
        ? (1 << (bits - 1)) - 1
        : throw new NolaException($"bits is {bits}; expected 8, 4, 3 or 2.");

    /// <summary>
    /// max|α| / L, rounded to 16 significant bits, ties to even; 0 when that is below 2⁻¹²⁶, for then the vector is zero or as
    /// good as zero. NaN when an element is not a number below 2¹²⁷ in size.
    /// </summary>
    public static float Step(ReadOnlySpan<float> vector, int bits) => SymmetricRounding.Step(vector, Levels(bits));

    /// <summary>Whether a number can be the step of a vector: 0, or from 2⁻¹²⁶ on with 16 significant bits, and finite times L.</summary>
    internal static bool IsStep(float step, int bits) =>
        step >= 0 && SymmetricRounding.OrZero(step) == step && float.IsFinite(step * Levels(bits))
        && (BitConverter.SingleToUInt32Bits(step) & 0xFF) == 0;

    /// <summary>The codes of a vector: α / step, rounded to the nearest whole number, ties to even, within ±L. Returns the step.</summary>
    /// <exception cref="NolaException">An element is not finite.</exception>
    public static float Quantize(ReadOnlySpan<float> vector, int bits, Span<sbyte> codes)
    {
        float step = Step(vector, bits);
        if (float.IsNaN(step)) throw new NolaException("A coefficient is not a finite number below 2¹²⁷ in size; it cannot be quantized.");
        int levels = Levels(bits);
        for (int i = 0; i < vector.Length; i++) codes[i] = (sbyte)SymmetricRounding.Code(vector[i], step, levels);
        return step;
    }

    /// <summary>α = step · code, exact.</summary>
    public static void Dequantize(ReadOnlySpan<sbyte> codes, float step, Span<float> vector)
    {
        for (int i = 0; i < codes.Length; i++) vector[i] = step * codes[i];
    }

    /// <summary>Bytes of <paramref name="count"/> codes: ⌈count · bits / 8⌉.</summary>
    public static int PackedLength(int count, int bits) => (int)(((long)count * bits + 7) / 8);

    /// <summary>
    /// Codes as two's complement numbers of <paramref name="bits"/> bits, one after the other: bit j of them all is bit
    /// j mod 8 of byte j div 8. The bits left in the last byte are 0.
    /// </summary>
    public static void Pack(ReadOnlySpan<sbyte> codes, int bits, Span<byte> packed)
    {
        packed.Clear();
        for (int i = 0, at = 0; i < codes.Length; i++, at += bits)
        {
            int word = (codes[i] & ((1 << bits) - 1)) << (at % 8);
            packed[at / 8] |= (byte)word;
            if (word > 255) packed[at / 8 + 1] |= (byte)(word >> 8);
        }
    }

    /// <summary>The reverse of <see cref="Pack"/>. False when a code is −2^(bits−1), which is never written.</summary>
    public static bool TryUnpack(ReadOnlySpan<byte> packed, int bits, Span<sbyte> codes)
    {
        int lowest = -1 << (bits - 1);
        for (int i = 0, at = 0; i < codes.Length; i++, at += bits)
        {
            int word = packed[at / 8];
            if (at % 8 + bits > 8) word |= packed[at / 8 + 1] << 8;
            // To the top of the word and back, so that the code's own top bit becomes its sign.
            int code = word << (32 - bits - at % 8) >> (32 - bits);
            if (code == lowest) return false;
            codes[i] = (sbyte)code;
        }
        return true;
    }
}
