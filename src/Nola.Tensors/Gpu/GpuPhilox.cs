using System.Runtime.CompilerServices;

namespace Nola.Tensors;

/// <summary>Philox4x32-10 in the registers of one thread; the bits of <see cref="Philox.Block"/>.</summary>
internal static class GpuPhilox
{
    private const uint M0 = 0xD2511F53, M1 = 0xCD9E8D57, W0 = 0x9E3779B9, W1 = 0xBB67AE85;

    /// <summary>The four output words of a counter under key (k0, k1).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Word4 Block(Word4 counter, uint k0, uint k1)
    {
        counter = Round(counter, k0, k1);
        counter = Round(counter, k0 + W0, k1 + W1);
        counter = Round(counter, k0 + unchecked(2 * W0), k1 + unchecked(2 * W1));
        counter = Round(counter, k0 + unchecked(3 * W0), k1 + unchecked(3 * W1));
        counter = Round(counter, k0 + unchecked(4 * W0), k1 + unchecked(4 * W1));
        counter = Round(counter, k0 + unchecked(5 * W0), k1 + unchecked(5 * W1));
        counter = Round(counter, k0 + unchecked(6 * W0), k1 + unchecked(6 * W1));
        counter = Round(counter, k0 + unchecked(7 * W0), k1 + unchecked(7 * W1));
        counter = Round(counter, k0 + unchecked(8 * W0), k1 + unchecked(8 * W1));
        return Round(counter, k0 + unchecked(9 * W0), k1 + unchecked(9 * W1));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Word4 Round(Word4 c, uint k0, uint k1)
    {
        Word4 next = default;
        next.X = GpuIntrinsics.MultiplyHigh(M1, c.Z) ^ c.Y ^ k0;
        next.Y = M1 * c.Z;
        next.Z = GpuIntrinsics.MultiplyHigh(M0, c.X) ^ c.W ^ k1;
        next.W = M0 * c.X;
        return next;
    }
}
