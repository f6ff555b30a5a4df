using System.Runtime.CompilerServices;

namespace Nola.Tensors;

/// <summary>
/// Whole groups of 128 uniform entries for <see cref="BasisPanels"/>. Of the four words of a counter only one changes in an inner loop
/// and one more from lane to lane, so most of the first three of Philox's ten rounds is done once before the loop or in scalars.
/// </summary>
internal static unsafe class UniformPanels
{
    /// <summary>
    /// The group of 128 entries that begins at <paramref name="counter"/> of <paramref name="count"/> matrices from
    /// <paramref name="first"/> on, those of the next <paramref name="toNext"/> floats behind. Lanes are neighboring counters.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Entries<S, V>(
        in RandomBasis basis, uint* keys, uint counter, uint first, int count, float* to, int toNext, in PanelRuns layout)
        where S : struct, IWords<V>
        where V : struct
    {
        long second = layout.At(1), two = layout.At(2);
        ulong stream = (ulong)Philox.M1 * basis.Stream;
        uint streamHigh = (uint)(stream >> 32) ^ keys[0];
        V m0 = S.Broadcast(Philox.M0), m1 = S.Broadcast(Philox.M1);
        for (int t = 0; t < 16; t += S.Lanes)
        {
            // Rounds 1 to 3 of words 0 and 1 of a lane, as far as they do not depend on the matrix.
            V counters = S.Add(S.Broadcast(counter + (uint)t), S.Indices);
            V e3 = S.MultiplyEven(counters, m0), o3 = S.MultiplyEven(S.OddToEven(counters), m0);
            V layer = S.Broadcast(basis.Layer ^ keys[1]), low = S.Broadcast((uint)stream ^ keys[2]), key = S.Broadcast(keys[4]);
            V e1 = S.MultiplyEven(S.Xor(S.OddToEven(e3), layer), m1), o1 = S.MultiplyEven(S.Xor(S.OddToEven(o3), layer), m1);
            V ed = S.MultiplyEven(S.Xor(S.OddToEven(e1), low), m0), od = S.MultiplyEven(S.Xor(S.OddToEven(o1), low), m0);
            e1 = S.Xor(e1, key);
            o1 = S.Xor(o1, key);
            V last = S.Broadcast(keys[5]), ed2 = S.Xor(S.OddToEven(ed), last), od2 = S.Xor(S.OddToEven(od), last);
            float* lane = to + (t >> 3) * layout.HalfStep + (t & 7);
            int p = 0;
            if (S.Lanes == 16)
            {
                for (; p + 2 <= count; p += 2, lane += 2 * toNext)
                {
                    Start(first + (uint)p, out PhiloxWords<V> e, out PhiloxWords<V> o);
                    Start(first + (uint)p + 1, out PhiloxWords<V> e2, out PhiloxWords<V> o2);
                    Philox.LastSeven<S, V>(ref e, ref o, ref e2, ref o2, m0, m1, keys);
                    Store<S, V>(e, o, lane, second, two);
                    Store<S, V>(e2, o2, lane + toNext, second, two);
                }
            }
            for (; p < count; p++, lane += toNext)
            {
                Start(first + (uint)p, out PhiloxWords<V> e, out PhiloxWords<V> o);
                Philox.LastSeven<S, V>(ref e, ref o, m0, m1, keys);
                Store<S, V>(e, o, lane, second, two);
            }

            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            void Start(uint index, out PhiloxWords<V> e, out PhiloxWords<V> o)
            {
                ulong product = (ulong)Philox.M0 * (streamHigh ^ index);
                V high = S.Broadcast((uint)(product >> 32) ^ keys[3]), rest = S.Broadcast((uint)product);
                V ex = S.MultiplyEven(S.Xor(e3, high), m1), ox = S.MultiplyEven(S.Xor(o3, high), m1);
                e = new(S.Xor(S.OddToEven(ex), e1), ex, S.Xor(ed2, rest), ed);
                o = new(S.Xor(S.OddToEven(ox), o1), ox, S.Xor(od2, rest), od);
            }
        }
    }

    /// <summary>
    /// The groups of 128 entries of sixteen matrices from <paramref name="first"/> on that sixteen counters from
    /// <paramref name="counter"/> on give, entry after entry <paramref name="toNext"/> floats apart. Lanes are matrices.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Bases<S, V>(in RandomBasis basis, uint* keys, uint counter, uint first, float* to, int toNext, in PanelRuns layout)
        where S : struct, IWords<V>
        where V : struct
    {
        long second = layout.At(1), two = layout.At(2);
        ulong stream = (ulong)Philox.M1 * basis.Stream;
        uint layer = basis.Layer;
        V m0 = S.Broadcast(Philox.M0), m1 = S.Broadcast(Philox.M1);
        for (int t = 0; t < 16; t += S.Lanes)
        {
            V indices = S.Xor(S.Add(S.Broadcast(first + (uint)t), S.Indices), S.Broadcast((uint)(stream >> 32) ^ keys[0]));
            V e3 = S.MultiplyEven(indices, m0), o3 = S.MultiplyEven(S.OddToEven(indices), m0);
            V key = S.Broadcast(keys[3]), e2 = S.Xor(S.OddToEven(e3), key), o2 = S.Xor(S.OddToEven(o3), key);
            float* lane = to + (t >> 3) * layout.HalfStep + (t & 7);
            int p = 0;
            if (S.Lanes == 16)
            {
                for (; p < 16; p += 2, lane += 2 * toNext)
                {
                    Start(counter + (uint)p, out PhiloxWords<V> e, out PhiloxWords<V> o);
                    Start(counter + (uint)p + 1, out PhiloxWords<V> ex, out PhiloxWords<V> ox);
                    Philox.LastSeven<S, V>(ref e, ref o, ref ex, ref ox, m0, m1, keys);
                    Store<S, V>(e, o, lane, second, two);
                    Store<S, V>(ex, ox, lane + toNext, second, two);
                }
            }
            for (; p < 16; p++, lane += toNext)
            {
                Start(counter + (uint)p, out PhiloxWords<V> e, out PhiloxWords<V> o);
                Philox.LastSeven<S, V>(ref e, ref o, m0, m1, keys);
                Store<S, V>(e, o, lane, second, two);
            }

            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            void Start(uint c, out PhiloxWords<V> e, out PhiloxWords<V> o)
            {
                // What round 1 makes of the counter, 2 of the word that it gave, and 3 of the word that 2 gave.
                ulong one = (ulong)Philox.M0 * c, two = (ulong)Philox.M1 * ((uint)(one >> 32) ^ layer ^ keys[1]);
                ulong three = (ulong)Philox.M0 * ((uint)(two >> 32) ^ (uint)stream ^ keys[2]);
                V low = S.Broadcast((uint)one), ex = S.MultiplyEven(S.Xor(e2, low), m1), ox = S.MultiplyEven(S.Xor(o2, low), m1);
                V second = S.Broadcast((uint)two ^ keys[4]), high = S.Broadcast((uint)(three >> 32) ^ keys[5]);
                V last = S.Broadcast((uint)three);
                e = new(S.Xor(S.OddToEven(ex), second), ex, S.Xor(e3, high), last);
                o = new(S.Xor(S.OddToEven(ox), second), ox, S.Xor(o3, high), last);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store<S, V>(in PhiloxWords<V> e, in PhiloxWords<V> o, float* lane, long second, long two)
        where S : struct, IWords<V>
        where V : struct
    {
        Two<S, V>(S.Weave(e.X0, o.X0), lane, second);
        Two<S, V>(S.Weave(e.X1, o.X1), lane + two, second);
        Two<S, V>(S.Weave(e.X2, o.X2), lane + 2 * two, second);
        Two<S, V>(S.Weave(e.X3, o.X3), lane + 3 * two, second);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Two<S, V>(V words, float* to, long second)
        where S : struct, IWords<V>
        where V : struct
    {
        S.StoreLowUniform(words, to);
        S.StoreHighUniform(words, to + second);
    }
}
