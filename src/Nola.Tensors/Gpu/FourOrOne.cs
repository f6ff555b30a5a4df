using System.Runtime.CompilerServices;
using ILGPU;

namespace Nola.Tensors;

/// <summary>
/// Elements as a thread takes them: four neighbors at once where everything begins at whole multiples of four, else one, which
/// then is all four of a <see cref="Float4"/>. So a formula is written once.
/// </summary>
internal static class FourOrOne
{
    /// <summary>4 when all of these counts and offsets, joined by |, are whole multiples of four, else 1.</summary>
    public static int Of(int joined) => joined % 4 == 0 ? 4 : 1;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 Read(ArrayView<float> x, long at, int each) => each == 4 ? x.Cast<Float4>()[at / 4] : Float4.All(x[at]);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Write(ArrayView<float> y, long at, int each, Float4 value)
    {
        if (each == 4) y.Cast<Float4>()[at / 4] = value;
        else y[at] = value.X;
    }
}
