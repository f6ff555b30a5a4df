using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Nola.Tensors;

/// <summary>
/// Philox4x32-10 (Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3"): four random words
/// as a pure function of a 128-bit counter and a 64-bit key. Checked against the Random123 known answers.
/// </summary>
public static unsafe class Philox
{
    private const uint M0 = 0xD2511F53, M1 = 0xCD9E8D57, W0 = 0x9E3779B9, W1 = 0xBB67AE85;

    /// <summary>The four output words of counter (c0, c1, c2, c3) under key (k0, k1).</summary>
    public static (uint X0, uint X1, uint X2, uint X3) Block(uint c0, uint c1, uint c2, uint c3, uint k0, uint k1)
    {
        for (int round = 0; round < 10; round++)
        {
            ulong p0 = (ulong)M0 * c0, p1 = (ulong)M1 * c2;
            (c0, c1, c2, c3) = ((uint)(p1 >> 32) ^ c1 ^ k0, (uint)p1, (uint)(p0 >> 32) ^ c3 ^ k1, (uint)p0);
            k0 += W0;
            k1 += W1;
        }
        return (c0, c1, c2, c3);
    }

    /// <summary>
    /// Sixteen blocks: lane t has counter (c0 + t · step0, c1 + t · step1, c2, c3). Word w of lane t goes to words[16 w + t].
    /// </summary>
    internal static void Lanes(uint c0, uint step0, uint c1, uint step1, uint c2, uint c3, ulong key, uint* words)
    {
        if (Avx512F.IsSupported) Lanes512(c0, step0, c1, step1, c2, c3, key, words);
        else if (Avx2.IsSupported) Lanes256(c0, step0, c1, step1, c2, c3, key, words);
        else LanesScalar(c0, step0, c1, step1, c2, c3, key, words);
    }

    // The scalar multiplier gives a 64-bit product in one instruction, so this is the portable path and not a slow one.
    internal static void LanesScalar(uint c0, uint step0, uint c1, uint step1, uint c2, uint c3, ulong key, uint* words)
    {
        for (uint t = 0; t < 16; t++)
            (words[t], words[16 + t], words[32 + t], words[48 + t]) = Block(c0 + t * step0, c1 + t * step1, c2, c3, (uint)key, (uint)(key >> 32));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Lanes512(uint c0, uint step0, uint c1, uint step1, uint c2, uint c3, ulong key, uint* words)
    {
        Vector512<uint> lane = Vector512<uint>.Indices, m0 = Vector512.Create(M0), m1 = Vector512.Create(M1);
        Vector512<uint> x0 = Vector512.Create(c0) + lane * Vector512.Create(step0), x1 = Vector512.Create(c1) + lane * Vector512.Create(step1);
        Vector512<uint> x2 = Vector512.Create(c2), x3 = Vector512.Create(c3);
        uint k0 = (uint)key, k1 = (uint)(key >> 32);
        for (int round = 0; round < 10; round++)
        {
            Multiply(x0, m0, out Vector512<uint> high0, out Vector512<uint> low0);
            Multiply(x2, m1, out Vector512<uint> high1, out Vector512<uint> low1);
            (x0, x1, x2, x3) = (high1 ^ x1 ^ Vector512.Create(k0), low1, high0 ^ x3 ^ Vector512.Create(k1), low0);
            k0 += W0;
            k1 += W1;
        }
        x0.Store(words);
        x1.Store(words + 16);
        x2.Store(words + 32);
        x3.Store(words + 48);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Lanes256(uint c0, uint step0, uint c1, uint step1, uint c2, uint c3, ulong key, uint* words)
    {
        Vector256<uint> m0 = Vector256.Create(M0), m1 = Vector256.Create(M1);
        for (uint half = 0; half < 16; half += 8)
        {
            Vector256<uint> lane = Vector256<uint>.Indices + Vector256.Create(half);
            Vector256<uint> x0 = Vector256.Create(c0) + lane * Vector256.Create(step0), x1 = Vector256.Create(c1) + lane * Vector256.Create(step1);
            Vector256<uint> x2 = Vector256.Create(c2), x3 = Vector256.Create(c3);
            uint k0 = (uint)key, k1 = (uint)(key >> 32);
            for (int round = 0; round < 10; round++)
            {
                Multiply(x0, m0, out Vector256<uint> high0, out Vector256<uint> low0);
                Multiply(x2, m1, out Vector256<uint> high1, out Vector256<uint> low1);
                (x0, x1, x2, x3) = (high1 ^ x1 ^ Vector256.Create(k0), low1, high0 ^ x3 ^ Vector256.Create(k1), low0);
                k0 += W0;
                k1 += W1;
            }
            x0.Store(words + half);
            x1.Store(words + 16 + half);
            x2.Store(words + 32 + half);
            x3.Store(words + 48 + half);
        }
    }

    // The instruction multiplies even lanes to 64 bits; odd lanes are shifted down, multiplied, and woven back.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Multiply(Vector512<uint> a, Vector512<uint> m, out Vector512<uint> high, out Vector512<uint> low)
    {
        Vector512<ulong> even = Avx512F.Multiply(a, m), odd = Avx512F.Multiply((a.AsUInt64() >>> 32).AsUInt32(), m);
        Vector512<ulong> lower = Vector512.Create(0xFFFFFFFFUL);
        low = ((even & lower) | (odd << 32)).AsUInt32();
        high = ((even >>> 32) | (odd & ~lower)).AsUInt32();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Multiply(Vector256<uint> a, Vector256<uint> m, out Vector256<uint> high, out Vector256<uint> low)
    {
        Vector256<ulong> even = Avx2.Multiply(a, m), odd = Avx2.Multiply((a.AsUInt64() >>> 32).AsUInt32(), m);
        Vector256<ulong> lower = Vector256.Create(0xFFFFFFFFUL);
        low = ((even & lower) | (odd << 32)).AsUInt32();
        high = ((even >>> 32) | (odd & ~lower)).AsUInt32();
    }
}
