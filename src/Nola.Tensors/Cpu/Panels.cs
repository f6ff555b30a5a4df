using System.Runtime.Intrinsics;

namespace Nola.Tensors;

/// <summary>The elements of a packed operand, as float32 or as bfloat16; one of the two is null.</summary>
internal readonly unsafe struct Panels(float* floats, ushort* halves)
{
    public readonly float* Floats = floats;
    public readonly ushort* Halves = halves;

    public bool Narrow => Halves != null;

    public static implicit operator Panels(float* floats) => new(floats, null);

    public float Element(long index) => Narrow ? DTypes.FromBFloat16(Halves[index]) : Floats[index];

    /// <summary>Elements from <paramref name="index"/> on, as float32.</summary>
    public void Expand(long index, int count, float* to)
    {
        if (!Narrow)
        {
            new ReadOnlySpan<float>(Floats + index, count).CopyTo(new Span<float>(to, count));
            return;
        }
        ushort* from = Halves + index;
        int i = 0;
        if (Vector512.IsHardwareAccelerated)
            for (; i + 16 <= count; i += 16) (Vector512.WidenLower(Vector256.Load(from + i).ToVector512Unsafe()) << 16).AsSingle().Store(to + i);
        else
            for (; i + 8 <= count; i += 8)
            {
                Vector128<ushort> bits = Vector128.Load(from + i);
                (Vector128.WidenLower(bits) << 16).AsSingle().Store(to + i);
                (Vector128.WidenUpper(bits) << 16).AsSingle().Store(to + i + 4);
            }
        for (; i < count; i++) to[i] = DTypes.FromBFloat16(from[i]);
    }
}
