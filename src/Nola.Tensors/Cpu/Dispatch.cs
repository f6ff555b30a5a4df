using System.Runtime.Intrinsics;

namespace Nola.Tensors;

/// <summary>A loop over floats that is written for any vector width; see <see cref="Dispatch"/>.</summary>
internal interface ISimdLoop
{
    /// <summary>Does elements or rows <paramref name="start"/> … <paramref name="end"/> − 1.</summary>
    void Run<S, V>(int start, int end) where S : struct, ISimd<V> where V : struct;
}

/// <summary>Runs a loop at the widest vectors that the machine has.</summary>
internal static class Dispatch
{
    public static void Run<TLoop>(in TLoop loop, int start, int end) where TLoop : struct, ISimdLoop
    {
        if (Vector512.IsHardwareAccelerated) loop.Run<Simd512, Vector512<float>>(start, end);
        else if (Vector256.IsHardwareAccelerated) loop.Run<Simd256, Vector256<float>>(start, end);
        else loop.Run<Simd128, Vector128<float>>(start, end);
    }
}
