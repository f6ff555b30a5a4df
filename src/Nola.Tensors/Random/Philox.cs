using System.Runtime.CompilerServices;

namespace Nola.Tensors;

/// <summary>
/// Philox4x32-10 (Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3"): four random words
/// as a pure function of a 128-bit counter and a 64-bit key. Checked against the Random123 known answers.
/// </summary>
public static class Philox
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
    /// A vector of blocks: lane t has counter (c0, c1, c2, c3)[t], and word w of its output comes back in lane t of the
    /// w-th vector. Even and odd lanes go through the rounds apart, so that a 64-bit product is used where it stands; what
    /// a round leaves in the odd words no later product reads.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void Blocks<S, V>(ref V c0, ref V c1, ref V c2, ref V c3, ulong key)
        where S : struct, IWords<V>
        where V : struct
    {
        V m0 = S.Broadcast(M0), m1 = S.Broadcast(M1), w0 = S.Broadcast(W0), w1 = S.Broadcast(W1);
        V k0 = S.Broadcast((uint)key), k1 = S.Broadcast((uint)(key >> 32));
        V e0 = c0, e1 = c1, e2 = c2, e3 = c3;
        V o0 = S.OddToEven(c0), o1 = S.OddToEven(c1), o2 = S.OddToEven(c2), o3 = S.OddToEven(c3);
        for (int round = 0; round < 10; round++)
        {
            V ep0 = S.MultiplyEven(e0, m0), ep1 = S.MultiplyEven(e2, m1), op0 = S.MultiplyEven(o0, m0), op1 = S.MultiplyEven(o2, m1);
            e0 = S.Xor(S.Xor(S.OddToEven(ep1), e1), k0);
            o0 = S.Xor(S.Xor(S.OddToEven(op1), o1), k0);
            e2 = S.Xor(S.Xor(S.OddToEven(ep0), e3), k1);
            o2 = S.Xor(S.Xor(S.OddToEven(op0), o3), k1);
            (e1, o1, e3, o3) = (ep1, op1, ep0, op0);
            k0 = S.Add(k0, w0);
            k1 = S.Add(k1, w1);
        }
        c0 = S.Weave(e0, o0);
        c1 = S.Weave(e1, o1);
        c2 = S.Weave(e2, o2);
        c3 = S.Weave(e3, o3);
    }
}
