using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Nola.Tensors;

namespace Nola.Bench;

/// <summary>What the machine can do at most, measured.</summary>
internal static class Limits
{
    /// <summary>Multiply-adds in registers, on every thread of the team, and how many floating-point operations they are.</summary>
    public static double MultiplyAdds(ThreadTeam team)
    {
        const int Loops = 500_000;
        int width = 0;
        team.For(team.Threads, 1, (_, _) => width = Vector512.IsHardwareAccelerated
            ? Burn<Simd512, Vector512<float>>(Loops)
            : Vector256.IsHardwareAccelerated ? Burn<Simd256, Vector256<float>>(Loops) : Burn<Simd128, Vector128<float>>(Loops));
        return 2.0 * 12 * width * Loops * team.Threads;
    }

    // Twelve chains hide the latency of two units.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static int Burn<S, V>(int loops) where S : struct, ISimd<V> where V : struct
    {
        V x = S.Broadcast(1.000001f), y = S.Broadcast(-1e-9f);
        V a = x, b = x, c = x, d = x, e = x, f = x, g = x, h = x, i = x, j = x, k = x, l = x;
        for (int n = 0; n < loops; n++)
        {
            a = S.MultiplyAdd(a, x, y);
            b = S.MultiplyAdd(b, x, y);
            c = S.MultiplyAdd(c, x, y);
            d = S.MultiplyAdd(d, x, y);
            e = S.MultiplyAdd(e, x, y);
            f = S.MultiplyAdd(f, x, y);
            g = S.MultiplyAdd(g, x, y);
            h = S.MultiplyAdd(h, x, y);
            i = S.MultiplyAdd(i, x, y);
            j = S.MultiplyAdd(j, x, y);
            k = S.MultiplyAdd(k, x, y);
            l = S.MultiplyAdd(l, x, y);
        }
        V sum = S.Add(S.Add(S.Add(a, b), S.Add(c, d)), S.Add(S.Add(e, f), S.Add(g, S.Add(h, S.Add(i, S.Add(j, S.Add(k, l)))))));
        return S.Sum(sum) == 0 ? -S.Width : S.Width;
    }
}
