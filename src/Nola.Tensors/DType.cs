namespace Nola.Tensors;

/// <summary>Element type of a tensor.</summary>
public enum DType
{
    /// <summary>IEEE binary32, the type all CPU arithmetic is done in.</summary>
    Float32,

    /// <summary>Upper half of a binary32: 8 exponent bits, 7 stored mantissa bits. A storage type.</summary>
    BFloat16,

    /// <summary>Signed 32-bit integer: token ids and positions.</summary>
    Int32,

    /// <summary>IEEE binary64: sums that stay on a device until they are read.</summary>
    Float64,
}

/// <summary>Facts and conversions of <see cref="DType"/>.</summary>
public static class DTypes
{
    /// <summary>Bytes of one element.</summary>
    public static int Size(this DType type) => type switch { DType.BFloat16 => 2, DType.Float64 => 8, _ => 4 };

    /// <summary>The bfloat16 nearest to <paramref name="x"/>, ties to even; a NaN stays a NaN.</summary>
    public static ushort ToBFloat16(float x)
    {
        uint bits = BitConverter.SingleToUInt32Bits(x);
        if (float.IsNaN(x)) return (ushort)((bits >> 16) | 0x40);
        return (ushort)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
    }

    /// <summary>The value of a bfloat16; exact.</summary>
    public static float FromBFloat16(ushort bits) => BitConverter.UInt32BitsToSingle((uint)bits << 16);
}
