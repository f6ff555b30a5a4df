using System.Runtime.CompilerServices;

namespace Nola.Tensors;

/// <summary>
/// Philox4x32-10 (Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3"): four random words
/// as a pure function of a 128-bit counter and a 64-bit key. Checked against the Random123 known answers.
/// </summary>
public static class Philox
{
    internal const uint M0 = 0xD2511F53, M1 = 0xCD9E8D57;

    private const uint W0 = 0x9E3779B9, W1 = 0xBB67AE85;

    /// <summary>Words of a key schedule: two for each of ten rounds.</summary>
    internal const int Keys = 20;

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
    /// A vector of blocks under the keys of <see cref="Schedule"/>: lane t has counter (c0, c1, c2, c3)[t], and word w of its output comes
    /// back in lane t of the w-th vector. Even and odd lanes go through the rounds apart, so that a 64-bit product is used where it
    /// stands; what a round leaves in the odd words no later product reads.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static unsafe void Blocks<S, V>(ref V c0, ref V c1, ref V c2, ref V c3, uint* keys)
        where S : struct, IWords<V>
        where V : struct
    {
        V m0 = S.Broadcast(M0), m1 = S.Broadcast(M1);
        PhiloxWords<V> e = new(c0, c1, c2, c3), o = new(S.OddToEven(c0), S.OddToEven(c1), S.OddToEven(c2), S.OddToEven(c3));
        for (int round = 0; round < 3; round++) Both<S, V>(ref e, ref o, m0, m1, keys + 2 * round);
        LastSeven<S, V>(ref e, ref o, m0, m1, keys);
        c0 = S.Weave(e.X0, o.X0);
        c1 = S.Weave(e.X1, o.X1);
        c2 = S.Weave(e.X2, o.X2);
        c3 = S.Weave(e.X3, o.X3);
    }

    /// <summary>The two key words of each round.</summary>
    internal static unsafe void Schedule(ulong key, uint* keys)
    {
        (uint k0, uint k1) = ((uint)key, (uint)(key >> 32));
        for (int i = 0; i < Keys; i += 2, k0 += W0, k1 += W1) (keys[i], keys[i + 1]) = (k0, k1);
    }

    /// <summary>Rounds 4 to 10 of even (e) and odd (o) lanes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static unsafe void LastSeven<S, V>(ref PhiloxWords<V> e, ref PhiloxWords<V> o, V m0, V m1, uint* keys)
        where S : struct, IWords<V>
        where V : struct
    {
        // Written out: in a loop the words would have to be moved to where they began.
        Both<S, V>(ref e, ref o, m0, m1, keys + 6);
        Both<S, V>(ref e, ref o, m0, m1, keys + 8);
        Both<S, V>(ref e, ref o, m0, m1, keys + 10);
        Both<S, V>(ref e, ref o, m0, m1, keys + 12);
        Both<S, V>(ref e, ref o, m0, m1, keys + 14);
        Both<S, V>(ref e, ref o, m0, m1, keys + 16);
        Both<S, V>(ref e, ref o, m0, m1, keys + 18);
    }

    /// <summary>
    /// The same of two vectors of blocks at once: a round waits for its products, and what a processor can begin meanwhile is bounded
    /// by its registers, which are a hundred and some.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static unsafe void LastSeven<S, V>(
        ref PhiloxWords<V> e, ref PhiloxWords<V> o, ref PhiloxWords<V> e2, ref PhiloxWords<V> o2, V m0, V m1, uint* keys)
        where S : struct, IWords<V>
        where V : struct
    {
        Both<S, V>(ref e, ref o, m0, m1, keys + 6);
        Both<S, V>(ref e2, ref o2, m0, m1, keys + 6);
        Both<S, V>(ref e, ref o, m0, m1, keys + 8);
        Both<S, V>(ref e2, ref o2, m0, m1, keys + 8);
        Both<S, V>(ref e, ref o, m0, m1, keys + 10);
        Both<S, V>(ref e2, ref o2, m0, m1, keys + 10);
        Both<S, V>(ref e, ref o, m0, m1, keys + 12);
        Both<S, V>(ref e2, ref o2, m0, m1, keys + 12);
        Both<S, V>(ref e, ref o, m0, m1, keys + 14);
        Both<S, V>(ref e2, ref o2, m0, m1, keys + 14);
        Both<S, V>(ref e, ref o, m0, m1, keys + 16);
        Both<S, V>(ref e2, ref o2, m0, m1, keys + 16);
        Both<S, V>(ref e, ref o, m0, m1, keys + 18);
        Both<S, V>(ref e2, ref o2, m0, m1, keys + 18);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static unsafe void Both<S, V>(ref PhiloxWords<V> e, ref PhiloxWords<V> o, V m0, V m1, uint* keys)
        where S : struct, IWords<V>
        where V : struct
    {
        Round<S, V>(ref e, m0, m1, keys);
        Round<S, V>(ref o, m0, m1, keys);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static unsafe void Round<S, V>(ref PhiloxWords<V> x, V m0, V m1, uint* keys)
        where S : struct, IWords<V>
        where V : struct
    {
        V p0 = S.MultiplyEven(x.X0, m0), p1 = S.MultiplyEven(x.X2, m1);
        x.X0 = S.Xor(S.Xor(S.OddToEven(p1), x.X1), S.Broadcast(keys[0]));
        x.X2 = S.Xor(S.Xor(S.OddToEven(p0), x.X3), S.Broadcast(keys[1]));
        x.X1 = p1;
        x.X3 = p0;
    }
}

/// <summary>The words of a vector of blocks between two rounds, each in an even word; nothing reads what stands in the odd ones.</summary>
internal struct PhiloxWords<V>(V x0, V x1, V x2, V x3) where V : struct
{
    public V X0 = x0, X1 = x1, X2 = x2, X3 = x3;
}
