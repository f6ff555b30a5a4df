using System.Runtime.CompilerServices;
using ILGPU;

namespace Nola.Tensors;

/// <summary>Four floats that are read and written at once (128 bits), and summed into without leaving registers.</summary>
internal struct Float4
{
    public float X, Y, Z, W;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 Of(float x, float y, float z, float w)
    {
        Float4 v = default;
        v.X = x;
        v.Y = y;
        v.Z = z;
        v.W = w;
        return v;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 All(float x) => Of(x, x, x, x);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 operator +(Float4 a, Float4 b) => Of(a.X + b.X, a.Y + b.Y, a.Z + b.Z, a.W + b.W);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 operator *(Float4 a, float b) => Of(a.X * b, a.Y * b, a.Z * b, a.W * b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 operator *(Float4 a, Float4 b) => Of(a.X * b.X, a.Y * b.Y, a.Z * b.Z, a.W * b.W);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 Max(Float4 a, Float4 b) =>
        Of(IntrinsicMath.Max(a.X, b.X), IntrinsicMath.Max(a.Y, b.Y), IntrinsicMath.Max(a.Z, b.Z), IntrinsicMath.Max(a.W, b.W));

    /// <summary>The sum of the four.</summary>
    public readonly float Sum => X + Y + (Z + W);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Dot(Float4 a, Float4 b) => a.X * b.X + a.Y * b.Y + a.Z * b.Z + a.W * b.W;
}

/// <summary>Eight floats: those of eight elements that are read at once.</summary>
internal struct Float8
{
    public Float4 Low, High;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float8 Of(Float4 low, Float4 high)
    {
        Float8 v = default;
        v.Low = low;
        v.High = high;
        return v;
    }
}

/// <summary>Two floats that are read and written at once.</summary>
internal struct Float2
{
    public float X, Y;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float2 Of(float x, float y)
    {
        Float2 v = default;
        v.X = x;
        v.Y = y;
        return v;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float2 operator +(Float2 a, Float2 b) => Of(a.X + b.X, a.Y + b.Y);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float2 operator *(Float2 a, float b) => Of(a.X * b, a.Y * b);
}

/// <summary>Four rows of four sums: what a thread of a product holds.</summary>
internal struct Float4x4
{
    public Float4 A, B, C, D;

    /// <summary>Adds the outer product of <paramref name="rows"/> and <paramref name="columns"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void AddOuter(Float4 rows, Float4 columns)
    {
        A += columns * rows.X;
        B += columns * rows.Y;
        C += columns * rows.Z;
        D += columns * rows.W;
    }
}

/// <summary>Two 32-bit words, for example four bfloat16.</summary>
internal struct Word2
{
    public uint X, Y;
}

/// <summary>Four 32-bit words, for example eight bfloat16: 128 bits.</summary>
internal struct Word4
{
    public uint X, Y, Z, W;
}
