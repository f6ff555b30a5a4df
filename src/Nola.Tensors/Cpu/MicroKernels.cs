using System.Runtime.CompilerServices;

namespace Nola.Tensors;

/// <summary>
/// The inner loops of every matrix product: C (R × 2V) = A (R × k) · B (k × 2V) · diag(scale) [+ bias] [+ C], with all of C's
/// elements in vector registers. B is a packed panel of two vectors a row, so its reads are sequential; an element of A
/// is broadcast from <c>a[row · rowStride + p · stepStride]</c>, so A may be row-major, transposed or packed. Fourteen
/// rows fill the 32 registers of AVX-512 and ARM64 (28 sums, two of B, one broadcast); six fill AVX2's sixteen; the
/// smaller ones are for what is left below. Sums are separate locals because the JIT keeps only those in registers.
/// Row addresses are formed from one base pointer for each three rows, which is what the general registers hold.
/// </summary>
internal static unsafe class MicroKernels
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Rows14<S, V>(
        int k, float* a, nint rowStride, nint stepStride, float* b, float* c, nint cStride, float* scale, float* bias, bool accumulate)
        where S : struct, ISimd<V>
        where V : struct
    {
        V c0l = S.Zero, c0r = S.Zero;
        V c1l = S.Zero, c1r = S.Zero;
        V c2l = S.Zero, c2r = S.Zero;
        V c3l = S.Zero, c3r = S.Zero;
        V c4l = S.Zero, c4r = S.Zero;
        V c5l = S.Zero, c5r = S.Zero;
        V c6l = S.Zero, c6r = S.Zero;
        V c7l = S.Zero, c7r = S.Zero;
        V c8l = S.Zero, c8r = S.Zero;
        V c9l = S.Zero, c9r = S.Zero;
        V c10l = S.Zero, c10r = S.Zero;
        V c11l = S.Zero, c11r = S.Zero;
        V c12l = S.Zero, c12r = S.Zero;
        V c13l = S.Zero, c13r = S.Zero;
        float* a0 = a;
        float* a1 = a + 3 * rowStride;
        float* a2 = a + 6 * rowStride;
        float* a3 = a + 9 * rowStride;
        float* a4 = a + 12 * rowStride;
        nint twoRows = 2 * rowStride;
        for (int p = 0; p < k; p++)
        {
            V left = S.Load(b), right = S.Load(b + S.Width), x;
            x = S.Broadcast(*a0);
            c0l = S.MultiplyAdd(x, left, c0l);
            c0r = S.MultiplyAdd(x, right, c0r);
            x = S.Broadcast(*(a0 + rowStride));
            c1l = S.MultiplyAdd(x, left, c1l);
            c1r = S.MultiplyAdd(x, right, c1r);
            x = S.Broadcast(*(a0 + twoRows));
            c2l = S.MultiplyAdd(x, left, c2l);
            c2r = S.MultiplyAdd(x, right, c2r);
            x = S.Broadcast(*a1);
            c3l = S.MultiplyAdd(x, left, c3l);
            c3r = S.MultiplyAdd(x, right, c3r);
            x = S.Broadcast(*(a1 + rowStride));
            c4l = S.MultiplyAdd(x, left, c4l);
            c4r = S.MultiplyAdd(x, right, c4r);
            x = S.Broadcast(*(a1 + twoRows));
            c5l = S.MultiplyAdd(x, left, c5l);
            c5r = S.MultiplyAdd(x, right, c5r);
            x = S.Broadcast(*a2);
            c6l = S.MultiplyAdd(x, left, c6l);
            c6r = S.MultiplyAdd(x, right, c6r);
            x = S.Broadcast(*(a2 + rowStride));
            c7l = S.MultiplyAdd(x, left, c7l);
            c7r = S.MultiplyAdd(x, right, c7r);
            x = S.Broadcast(*(a2 + twoRows));
            c8l = S.MultiplyAdd(x, left, c8l);
            c8r = S.MultiplyAdd(x, right, c8r);
            x = S.Broadcast(*a3);
            c9l = S.MultiplyAdd(x, left, c9l);
            c9r = S.MultiplyAdd(x, right, c9r);
            x = S.Broadcast(*(a3 + rowStride));
            c10l = S.MultiplyAdd(x, left, c10l);
            c10r = S.MultiplyAdd(x, right, c10r);
            x = S.Broadcast(*(a3 + twoRows));
            c11l = S.MultiplyAdd(x, left, c11l);
            c11r = S.MultiplyAdd(x, right, c11r);
            x = S.Broadcast(*a4);
            c12l = S.MultiplyAdd(x, left, c12l);
            c12r = S.MultiplyAdd(x, right, c12r);
            x = S.Broadcast(*(a4 + rowStride));
            c13l = S.MultiplyAdd(x, left, c13l);
            c13r = S.MultiplyAdd(x, right, c13r);
            a0 += stepStride;
            a1 += stepStride;
            a2 += stepStride;
            a3 += stepStride;
            a4 += stepStride;
            b += 2 * S.Width;
        }
        Finish<S, V>(c0l, c0r, c, scale, bias, accumulate);
        Finish<S, V>(c1l, c1r, c + cStride, scale, bias, accumulate);
        Finish<S, V>(c2l, c2r, c + 2 * cStride, scale, bias, accumulate);
        Finish<S, V>(c3l, c3r, c + 3 * cStride, scale, bias, accumulate);
        Finish<S, V>(c4l, c4r, c + 4 * cStride, scale, bias, accumulate);
        Finish<S, V>(c5l, c5r, c + 5 * cStride, scale, bias, accumulate);
        Finish<S, V>(c6l, c6r, c + 6 * cStride, scale, bias, accumulate);
        Finish<S, V>(c7l, c7r, c + 7 * cStride, scale, bias, accumulate);
        Finish<S, V>(c8l, c8r, c + 8 * cStride, scale, bias, accumulate);
        Finish<S, V>(c9l, c9r, c + 9 * cStride, scale, bias, accumulate);
        Finish<S, V>(c10l, c10r, c + 10 * cStride, scale, bias, accumulate);
        Finish<S, V>(c11l, c11r, c + 11 * cStride, scale, bias, accumulate);
        Finish<S, V>(c12l, c12r, c + 12 * cStride, scale, bias, accumulate);
        Finish<S, V>(c13l, c13r, c + 13 * cStride, scale, bias, accumulate);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Rows8<S, V>(
        int k, float* a, nint rowStride, nint stepStride, float* b, float* c, nint cStride, float* scale, float* bias, bool accumulate)
        where S : struct, ISimd<V>
        where V : struct
    {
        V c0l = S.Zero, c0r = S.Zero;
        V c1l = S.Zero, c1r = S.Zero;
        V c2l = S.Zero, c2r = S.Zero;
        V c3l = S.Zero, c3r = S.Zero;
        V c4l = S.Zero, c4r = S.Zero;
        V c5l = S.Zero, c5r = S.Zero;
        V c6l = S.Zero, c6r = S.Zero;
        V c7l = S.Zero, c7r = S.Zero;
        float* a0 = a;
        float* a1 = a + 3 * rowStride;
        float* a2 = a + 6 * rowStride;
        nint twoRows = 2 * rowStride;
        for (int p = 0; p < k; p++)
        {
            V left = S.Load(b), right = S.Load(b + S.Width), x;
            x = S.Broadcast(*a0);
            c0l = S.MultiplyAdd(x, left, c0l);
            c0r = S.MultiplyAdd(x, right, c0r);
            x = S.Broadcast(*(a0 + rowStride));
            c1l = S.MultiplyAdd(x, left, c1l);
            c1r = S.MultiplyAdd(x, right, c1r);
            x = S.Broadcast(*(a0 + twoRows));
            c2l = S.MultiplyAdd(x, left, c2l);
            c2r = S.MultiplyAdd(x, right, c2r);
            x = S.Broadcast(*a1);
            c3l = S.MultiplyAdd(x, left, c3l);
            c3r = S.MultiplyAdd(x, right, c3r);
            x = S.Broadcast(*(a1 + rowStride));
            c4l = S.MultiplyAdd(x, left, c4l);
            c4r = S.MultiplyAdd(x, right, c4r);
            x = S.Broadcast(*(a1 + twoRows));
            c5l = S.MultiplyAdd(x, left, c5l);
            c5r = S.MultiplyAdd(x, right, c5r);
            x = S.Broadcast(*a2);
            c6l = S.MultiplyAdd(x, left, c6l);
            c6r = S.MultiplyAdd(x, right, c6r);
            x = S.Broadcast(*(a2 + rowStride));
            c7l = S.MultiplyAdd(x, left, c7l);
            c7r = S.MultiplyAdd(x, right, c7r);
            a0 += stepStride;
            a1 += stepStride;
            a2 += stepStride;
            b += 2 * S.Width;
        }
        Finish<S, V>(c0l, c0r, c, scale, bias, accumulate);
        Finish<S, V>(c1l, c1r, c + cStride, scale, bias, accumulate);
        Finish<S, V>(c2l, c2r, c + 2 * cStride, scale, bias, accumulate);
        Finish<S, V>(c3l, c3r, c + 3 * cStride, scale, bias, accumulate);
        Finish<S, V>(c4l, c4r, c + 4 * cStride, scale, bias, accumulate);
        Finish<S, V>(c5l, c5r, c + 5 * cStride, scale, bias, accumulate);
        Finish<S, V>(c6l, c6r, c + 6 * cStride, scale, bias, accumulate);
        Finish<S, V>(c7l, c7r, c + 7 * cStride, scale, bias, accumulate);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Rows6<S, V>(
        int k, float* a, nint rowStride, nint stepStride, float* b, float* c, nint cStride, float* scale, float* bias, bool accumulate)
        where S : struct, ISimd<V>
        where V : struct
    {
        V c0l = S.Zero, c0r = S.Zero;
        V c1l = S.Zero, c1r = S.Zero;
        V c2l = S.Zero, c2r = S.Zero;
        V c3l = S.Zero, c3r = S.Zero;
        V c4l = S.Zero, c4r = S.Zero;
        V c5l = S.Zero, c5r = S.Zero;
        float* a0 = a;
        float* a1 = a + 3 * rowStride;
        nint twoRows = 2 * rowStride;
        for (int p = 0; p < k; p++)
        {
            V left = S.Load(b), right = S.Load(b + S.Width), x;
            x = S.Broadcast(*a0);
            c0l = S.MultiplyAdd(x, left, c0l);
            c0r = S.MultiplyAdd(x, right, c0r);
            x = S.Broadcast(*(a0 + rowStride));
            c1l = S.MultiplyAdd(x, left, c1l);
            c1r = S.MultiplyAdd(x, right, c1r);
            x = S.Broadcast(*(a0 + twoRows));
            c2l = S.MultiplyAdd(x, left, c2l);
            c2r = S.MultiplyAdd(x, right, c2r);
            x = S.Broadcast(*a1);
            c3l = S.MultiplyAdd(x, left, c3l);
            c3r = S.MultiplyAdd(x, right, c3r);
            x = S.Broadcast(*(a1 + rowStride));
            c4l = S.MultiplyAdd(x, left, c4l);
            c4r = S.MultiplyAdd(x, right, c4r);
            x = S.Broadcast(*(a1 + twoRows));
            c5l = S.MultiplyAdd(x, left, c5l);
            c5r = S.MultiplyAdd(x, right, c5r);
            a0 += stepStride;
            a1 += stepStride;
            b += 2 * S.Width;
        }
        Finish<S, V>(c0l, c0r, c, scale, bias, accumulate);
        Finish<S, V>(c1l, c1r, c + cStride, scale, bias, accumulate);
        Finish<S, V>(c2l, c2r, c + 2 * cStride, scale, bias, accumulate);
        Finish<S, V>(c3l, c3r, c + 3 * cStride, scale, bias, accumulate);
        Finish<S, V>(c4l, c4r, c + 4 * cStride, scale, bias, accumulate);
        Finish<S, V>(c5l, c5r, c + 5 * cStride, scale, bias, accumulate);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Rows4<S, V>(
        int k, float* a, nint rowStride, nint stepStride, float* b, float* c, nint cStride, float* scale, float* bias, bool accumulate)
        where S : struct, ISimd<V>
        where V : struct
    {
        V c0l = S.Zero, c0r = S.Zero;
        V c1l = S.Zero, c1r = S.Zero;
        V c2l = S.Zero, c2r = S.Zero;
        V c3l = S.Zero, c3r = S.Zero;
        float* a0 = a;
        float* a1 = a + 3 * rowStride;
        nint twoRows = 2 * rowStride;
        for (int p = 0; p < k; p++)
        {
            V left = S.Load(b), right = S.Load(b + S.Width), x;
            x = S.Broadcast(*a0);
            c0l = S.MultiplyAdd(x, left, c0l);
            c0r = S.MultiplyAdd(x, right, c0r);
            x = S.Broadcast(*(a0 + rowStride));
            c1l = S.MultiplyAdd(x, left, c1l);
            c1r = S.MultiplyAdd(x, right, c1r);
            x = S.Broadcast(*(a0 + twoRows));
            c2l = S.MultiplyAdd(x, left, c2l);
            c2r = S.MultiplyAdd(x, right, c2r);
            x = S.Broadcast(*a1);
            c3l = S.MultiplyAdd(x, left, c3l);
            c3r = S.MultiplyAdd(x, right, c3r);
            a0 += stepStride;
            a1 += stepStride;
            b += 2 * S.Width;
        }
        Finish<S, V>(c0l, c0r, c, scale, bias, accumulate);
        Finish<S, V>(c1l, c1r, c + cStride, scale, bias, accumulate);
        Finish<S, V>(c2l, c2r, c + 2 * cStride, scale, bias, accumulate);
        Finish<S, V>(c3l, c3r, c + 3 * cStride, scale, bias, accumulate);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Rows2<S, V>(
        int k, float* a, nint rowStride, nint stepStride, float* b, float* c, nint cStride, float* scale, float* bias, bool accumulate)
        where S : struct, ISimd<V>
        where V : struct
    {
        V c0l = S.Zero, c0r = S.Zero;
        V c1l = S.Zero, c1r = S.Zero;
        float* a0 = a;
        for (int p = 0; p < k; p++)
        {
            V left = S.Load(b), right = S.Load(b + S.Width), x;
            x = S.Broadcast(*a0);
            c0l = S.MultiplyAdd(x, left, c0l);
            c0r = S.MultiplyAdd(x, right, c0r);
            x = S.Broadcast(*(a0 + rowStride));
            c1l = S.MultiplyAdd(x, left, c1l);
            c1r = S.MultiplyAdd(x, right, c1r);
            a0 += stepStride;
            b += 2 * S.Width;
        }
        Finish<S, V>(c0l, c0r, c, scale, bias, accumulate);
        Finish<S, V>(c1l, c1r, c + cStride, scale, bias, accumulate);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Rows1<S, V>(
        int k, float* a, nint rowStride, nint stepStride, float* b, float* c, nint cStride, float* scale, float* bias, bool accumulate)
        where S : struct, ISimd<V>
        where V : struct
    {
        V c0l = S.Zero, c0r = S.Zero;
        float* a0 = a;
        for (int p = 0; p < k; p++)
        {
            Fetch.Ahead(b);
            Fetch.Ahead(b + S.Width);
            V left = S.Load(b), right = S.Load(b + S.Width), x;
            x = S.Broadcast(*a0);
            c0l = S.MultiplyAdd(x, left, c0l);
            c0r = S.MultiplyAdd(x, right, c0r);
            a0 += stepStride;
            b += 2 * S.Width;
        }
        Finish<S, V>(c0l, c0r, c, scale, bias, accumulate);
    }

    /// <summary>
    /// Fourteen rows by one vector, for products of few columns: B's rows are still two vectors apart, and the second is not read.
    /// Fourteen sums are enough to wait for none, and with a vector of B and a broadcast fill AVX2's registers too.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Half14<S, V>(
        int k, float* a, nint rowStride, nint stepStride, float* b, float* c, nint cStride, float* scale, float* bias, bool accumulate)
        where S : struct, ISimd<V>
        where V : struct
    {
        V c0 = S.Zero, c1 = S.Zero, c2 = S.Zero, c3 = S.Zero, c4 = S.Zero, c5 = S.Zero, c6 = S.Zero;
        V c7 = S.Zero, c8 = S.Zero, c9 = S.Zero, c10 = S.Zero, c11 = S.Zero, c12 = S.Zero, c13 = S.Zero;
        float* a0 = a;
        float* a1 = a + 3 * rowStride;
        float* a2 = a + 6 * rowStride;
        float* a3 = a + 9 * rowStride;
        float* a4 = a + 12 * rowStride;
        nint twoRows = 2 * rowStride;
        for (int p = 0; p < k; p++)
        {
            V left = S.Load(b);
            c0 = S.MultiplyAdd(S.Broadcast(*a0), left, c0);
            c1 = S.MultiplyAdd(S.Broadcast(*(a0 + rowStride)), left, c1);
            c2 = S.MultiplyAdd(S.Broadcast(*(a0 + twoRows)), left, c2);
            c3 = S.MultiplyAdd(S.Broadcast(*a1), left, c3);
            c4 = S.MultiplyAdd(S.Broadcast(*(a1 + rowStride)), left, c4);
            c5 = S.MultiplyAdd(S.Broadcast(*(a1 + twoRows)), left, c5);
            c6 = S.MultiplyAdd(S.Broadcast(*a2), left, c6);
            c7 = S.MultiplyAdd(S.Broadcast(*(a2 + rowStride)), left, c7);
            c8 = S.MultiplyAdd(S.Broadcast(*(a2 + twoRows)), left, c8);
            c9 = S.MultiplyAdd(S.Broadcast(*a3), left, c9);
            c10 = S.MultiplyAdd(S.Broadcast(*(a3 + rowStride)), left, c10);
            c11 = S.MultiplyAdd(S.Broadcast(*(a3 + twoRows)), left, c11);
            c12 = S.MultiplyAdd(S.Broadcast(*a4), left, c12);
            c13 = S.MultiplyAdd(S.Broadcast(*(a4 + rowStride)), left, c13);
            a0 += stepStride;
            a1 += stepStride;
            a2 += stepStride;
            a3 += stepStride;
            a4 += stepStride;
            b += 2 * S.Width;
        }
        FinishHalf<S, V>(c0, c, scale, bias, accumulate);
        FinishHalf<S, V>(c1, c + cStride, scale, bias, accumulate);
        FinishHalf<S, V>(c2, c + 2 * cStride, scale, bias, accumulate);
        FinishHalf<S, V>(c3, c + 3 * cStride, scale, bias, accumulate);
        FinishHalf<S, V>(c4, c + 4 * cStride, scale, bias, accumulate);
        FinishHalf<S, V>(c5, c + 5 * cStride, scale, bias, accumulate);
        FinishHalf<S, V>(c6, c + 6 * cStride, scale, bias, accumulate);
        FinishHalf<S, V>(c7, c + 7 * cStride, scale, bias, accumulate);
        FinishHalf<S, V>(c8, c + 8 * cStride, scale, bias, accumulate);
        FinishHalf<S, V>(c9, c + 9 * cStride, scale, bias, accumulate);
        FinishHalf<S, V>(c10, c + 10 * cStride, scale, bias, accumulate);
        FinishHalf<S, V>(c11, c + 11 * cStride, scale, bias, accumulate);
        FinishHalf<S, V>(c12, c + 12 * cStride, scale, bias, accumulate);
        FinishHalf<S, V>(c13, c + 13 * cStride, scale, bias, accumulate);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Finish<S, V>(V left, V right, float* c, float* scale, float* bias, bool accumulate)
        where S : struct, ISimd<V>
        where V : struct
    {
        FinishHalf<S, V>(left, c, scale, bias, accumulate);
        FinishHalf<S, V>(right, c + S.Width, scale + S.Width, bias == null ? null : bias + S.Width, accumulate);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void FinishHalf<S, V>(V sum, float* c, float* scale, float* bias, bool accumulate)
        where S : struct, ISimd<V>
        where V : struct
    {
        sum = S.Multiply(sum, S.Load(scale));
        if (bias != null) sum = S.Add(sum, S.Load(bias));
        if (accumulate) sum = S.Add(sum, S.Load(c));
        S.Store(sum, c);
    }
}
