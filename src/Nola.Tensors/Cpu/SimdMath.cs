using System.Runtime.CompilerServices;

namespace Nola.Tensors;

/// <summary>Elementary functions over any vector width.</summary>
internal static class SimdMath
{
    /// <summary>
    /// eˣ. Range reduction by log 2 in two parts (Cody and Waite), then the degree-5 polynomial of Cephes' expf;
    /// error below 2 ulp over [−87, 88], where arguments outside are clamped (so e^−∞ is 1.6e-38, not 0).
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Exp<S, V>(V x) where S : struct, ISimd<V> where V : struct
    {
        x = S.Min(S.Broadcast(88f), S.Max(S.Broadcast(-87f), x));
        V n = S.Round(S.Multiply(x, S.Broadcast(1.44269504f)));
        V r = S.MultiplyAdd(n, S.Broadcast(-0.693359375f), x);
        r = S.MultiplyAdd(n, S.Broadcast(2.12194440e-4f), r);
        V p = S.Broadcast(1.9875691500e-4f);
        p = S.MultiplyAdd(p, r, S.Broadcast(1.3981999507e-3f));
        p = S.MultiplyAdd(p, r, S.Broadcast(8.3334519073e-3f));
        p = S.MultiplyAdd(p, r, S.Broadcast(4.1665795894e-2f));
        p = S.MultiplyAdd(p, r, S.Broadcast(1.6666665459e-1f));
        p = S.MultiplyAdd(p, r, S.Broadcast(5.0000001201e-1f));
        p = S.MultiplyAdd(p, S.Multiply(r, r), S.Add(r, S.Broadcast(1f)));
        return S.Multiply(p, S.PowerOfTwo(n));
    }

    /// <summary>
    /// tanh x = 1 − 2 / (e²ˣ + 1). Near zero this loses relative, not absolute, accuracy (1e-7): enough for GELU,
    /// which adds 1 to it.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Tanh<S, V>(V x) where S : struct, ISimd<V> where V : struct
    {
        V one = S.Broadcast(1f);
        V e = Exp<S, V>(S.Add(x, x));
        return S.Subtract(one, S.Divide(S.Broadcast(2f), S.Add(e, one)));
    }

    /// <summary>
    /// erf x = x · P(x²) / Q(x²), the rational function of Eigen and XLA; beyond ±4, where float32 has ±1, the argument is clamped.
    /// Error below 4 ulp.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Erf<S, V>(V x) where S : struct, ISimd<V> where V : struct
    {
        x = S.Min(S.Broadcast(4f), S.Max(S.Broadcast(-4f), x));
        V square = S.Multiply(x, x);
        V p = S.Broadcast(-2.72614225801306e-10f);
        p = S.MultiplyAdd(p, square, S.Broadcast(2.77068142495902e-08f));
        p = S.MultiplyAdd(p, square, S.Broadcast(-2.10102402082508e-06f));
        p = S.MultiplyAdd(p, square, S.Broadcast(-5.69250639462346e-05f));
        p = S.MultiplyAdd(p, square, S.Broadcast(-7.34990630326855e-04f));
        p = S.MultiplyAdd(p, square, S.Broadcast(-2.95459980854025e-03f));
        p = S.MultiplyAdd(p, square, S.Broadcast(-1.60960333262415e-02f));
        V q = S.Broadcast(-1.45660718464996e-05f);
        q = S.MultiplyAdd(q, square, S.Broadcast(-2.13374055278905e-04f));
        q = S.MultiplyAdd(q, square, S.Broadcast(-1.68282697438203e-03f));
        q = S.MultiplyAdd(q, square, S.Broadcast(-7.37332916720468e-03f));
        q = S.MultiplyAdd(q, square, S.Broadcast(-1.42647390514189e-02f));
        return S.Divide(S.Multiply(x, p), q);
    }
}
