using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Nola.Tensors;

/// <summary>The inner loops of narrow products. Sums are separate locals because the JIT keeps only those in registers.</summary>
internal static unsafe class NarrowKernels
{
    /// <summary>sums (6, 4): dot products of six rows of A with four of B, over whole vectors of k steps.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Dot6<S, V>(int k, float* a, nint aRow, float* b0, float* b1, float* b2, float* b3, float* sums)
        where S : struct, ISimd<V>
        where V : struct
    {
        V c00 = S.Zero, c01 = S.Zero, c02 = S.Zero, c03 = S.Zero;
        V c10 = S.Zero, c11 = S.Zero, c12 = S.Zero, c13 = S.Zero;
        V c20 = S.Zero, c21 = S.Zero, c22 = S.Zero, c23 = S.Zero;
        V c30 = S.Zero, c31 = S.Zero, c32 = S.Zero, c33 = S.Zero;
        V c40 = S.Zero, c41 = S.Zero, c42 = S.Zero, c43 = S.Zero;
        V c50 = S.Zero, c51 = S.Zero, c52 = S.Zero, c53 = S.Zero;
        float* a3 = a + 3 * aRow;
        nint twoRows = 2 * aRow;
        for (int p = 0; p < k; p += S.Width)
        {
            V y0 = S.Load(b0 + p), y1 = S.Load(b1 + p), y2 = S.Load(b2 + p), y3 = S.Load(b3 + p), x;
            x = S.Load(a + p);
            c00 = S.MultiplyAdd(x, y0, c00);
            c01 = S.MultiplyAdd(x, y1, c01);
            c02 = S.MultiplyAdd(x, y2, c02);
            c03 = S.MultiplyAdd(x, y3, c03);
            x = S.Load(a + aRow + p);
            c10 = S.MultiplyAdd(x, y0, c10);
            c11 = S.MultiplyAdd(x, y1, c11);
            c12 = S.MultiplyAdd(x, y2, c12);
            c13 = S.MultiplyAdd(x, y3, c13);
            x = S.Load(a + twoRows + p);
            c20 = S.MultiplyAdd(x, y0, c20);
            c21 = S.MultiplyAdd(x, y1, c21);
            c22 = S.MultiplyAdd(x, y2, c22);
            c23 = S.MultiplyAdd(x, y3, c23);
            x = S.Load(a3 + p);
            c30 = S.MultiplyAdd(x, y0, c30);
            c31 = S.MultiplyAdd(x, y1, c31);
            c32 = S.MultiplyAdd(x, y2, c32);
            c33 = S.MultiplyAdd(x, y3, c33);
            x = S.Load(a3 + aRow + p);
            c40 = S.MultiplyAdd(x, y0, c40);
            c41 = S.MultiplyAdd(x, y1, c41);
            c42 = S.MultiplyAdd(x, y2, c42);
            c43 = S.MultiplyAdd(x, y3, c43);
            x = S.Load(a3 + twoRows + p);
            c50 = S.MultiplyAdd(x, y0, c50);
            c51 = S.MultiplyAdd(x, y1, c51);
            c52 = S.MultiplyAdd(x, y2, c52);
            c53 = S.MultiplyAdd(x, y3, c53);
        }
        S.Sum4(c00, c01, c02, c03).Store(sums);
        S.Sum4(c10, c11, c12, c13).Store(sums + 4);
        S.Sum4(c20, c21, c22, c23).Store(sums + 8);
        S.Sum4(c30, c31, c32, c33).Store(sums + 12);
        S.Sum4(c40, c41, c42, c43).Store(sums + 16);
        S.Sum4(c50, c51, c52, c53).Store(sums + 20);
    }

    /// <summary>sums (2, 4): the same of two rows.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Dot2<S, V>(int k, float* a0, float* a1, float* b0, float* b1, float* b2, float* b3, float* sums)
        where S : struct, ISimd<V>
        where V : struct
    {
        V c00 = S.Zero, c01 = S.Zero, c02 = S.Zero, c03 = S.Zero;
        V c10 = S.Zero, c11 = S.Zero, c12 = S.Zero, c13 = S.Zero;
        for (int p = 0; p < k; p += S.Width)
        {
            V y0 = S.Load(b0 + p), y1 = S.Load(b1 + p), y2 = S.Load(b2 + p), y3 = S.Load(b3 + p), x;
            x = S.Load(a0 + p);
            c00 = S.MultiplyAdd(x, y0, c00);
            c01 = S.MultiplyAdd(x, y1, c01);
            c02 = S.MultiplyAdd(x, y2, c02);
            c03 = S.MultiplyAdd(x, y3, c03);
            x = S.Load(a1 + p);
            c10 = S.MultiplyAdd(x, y0, c10);
            c11 = S.MultiplyAdd(x, y1, c11);
            c12 = S.MultiplyAdd(x, y2, c12);
            c13 = S.MultiplyAdd(x, y3, c13);
        }
        S.Sum4(c00, c01, c02, c03).Store(sums);
        S.Sum4(c10, c11, c12, c13).Store(sums + 4);
    }

    /// <summary>sums (4): the same of one row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Dot1<S, V>(int k, float* a, float* b0, float* b1, float* b2, float* b3, float* sums)
        where S : struct, ISimd<V>
        where V : struct
    {
        V c0 = S.Zero, c1 = S.Zero, c2 = S.Zero, c3 = S.Zero;
        for (int p = 0; p < k; p += S.Width)
        {
            V x = S.Load(a + p);
            c0 = S.MultiplyAdd(x, S.Load(b0 + p), c0);
            c1 = S.MultiplyAdd(x, S.Load(b1 + p), c1);
            c2 = S.MultiplyAdd(x, S.Load(b2 + p), c2);
            c3 = S.MultiplyAdd(x, S.Load(b3 + p), c3);
        }
        S.Sum4(c0, c1, c2, c3).Store(sums);
    }

    /// <summary>
    /// sums (rows, 4 vectors) += Aᵀ · B over so many steps, which are summed by themselves, of at most four rows. Rows that are missing
    /// are the last one again, and go nowhere.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Outer4<S, V>(int steps, int rows, float* a, nint aRow, float* b, nint bRow, float* sums, nint stride)
        where S : struct, ISimd<V>
        where V : struct
    {
        nint r1 = rows > 1 ? 1 : 0, r2 = rows > 2 ? 2 : r1, r3 = rows > 3 ? 3 : r2;
        V c00 = S.Zero, c01 = S.Zero, c02 = S.Zero, c03 = S.Zero;
        V c10 = S.Zero, c11 = S.Zero, c12 = S.Zero, c13 = S.Zero;
        V c20 = S.Zero, c21 = S.Zero, c22 = S.Zero, c23 = S.Zero;
        V c30 = S.Zero, c31 = S.Zero, c32 = S.Zero, c33 = S.Zero;
        for (; steps > 0; steps--, a += aRow, b += bRow)
        {
            V y0 = S.Load(b), y1 = S.Load(b + S.Width), y2 = S.Load(b + 2 * S.Width), y3 = S.Load(b + 3 * S.Width), x;
            x = S.Broadcast(*a);
            c00 = S.MultiplyAdd(x, y0, c00);
            c01 = S.MultiplyAdd(x, y1, c01);
            c02 = S.MultiplyAdd(x, y2, c02);
            c03 = S.MultiplyAdd(x, y3, c03);
            x = S.Broadcast(a[r1]);
            c10 = S.MultiplyAdd(x, y0, c10);
            c11 = S.MultiplyAdd(x, y1, c11);
            c12 = S.MultiplyAdd(x, y2, c12);
            c13 = S.MultiplyAdd(x, y3, c13);
            x = S.Broadcast(a[r2]);
            c20 = S.MultiplyAdd(x, y0, c20);
            c21 = S.MultiplyAdd(x, y1, c21);
            c22 = S.MultiplyAdd(x, y2, c22);
            c23 = S.MultiplyAdd(x, y3, c23);
            x = S.Broadcast(a[r3]);
            c30 = S.MultiplyAdd(x, y0, c30);
            c31 = S.MultiplyAdd(x, y1, c31);
            c32 = S.MultiplyAdd(x, y2, c32);
            c33 = S.MultiplyAdd(x, y3, c33);
        }
        Add4<S, V>(c00, c01, c02, c03, sums);
        if (rows > 1) Add4<S, V>(c10, c11, c12, c13, sums + stride);
        if (rows > 2) Add4<S, V>(c20, c21, c22, c23, sums + 2 * stride);
        if (rows > 3) Add4<S, V>(c30, c31, c32, c33, sums + 3 * stride);
    }

    /// <summary>The same of two vectors of columns, for sixteen registers and for what is left.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Outer2<S, V>(int steps, int rows, float* a, nint aRow, float* b, nint bRow, float* sums, nint stride)
        where S : struct, ISimd<V>
        where V : struct
    {
        nint r1 = rows > 1 ? 1 : 0, r2 = rows > 2 ? 2 : r1, r3 = rows > 3 ? 3 : r2;
        V c00 = S.Zero, c01 = S.Zero, c10 = S.Zero, c11 = S.Zero, c20 = S.Zero, c21 = S.Zero, c30 = S.Zero, c31 = S.Zero;
        for (; steps > 0; steps--, a += aRow, b += bRow)
        {
            V y0 = S.Load(b), y1 = S.Load(b + S.Width), x;
            x = S.Broadcast(*a);
            c00 = S.MultiplyAdd(x, y0, c00);
            c01 = S.MultiplyAdd(x, y1, c01);
            x = S.Broadcast(a[r1]);
            c10 = S.MultiplyAdd(x, y0, c10);
            c11 = S.MultiplyAdd(x, y1, c11);
            x = S.Broadcast(a[r2]);
            c20 = S.MultiplyAdd(x, y0, c20);
            c21 = S.MultiplyAdd(x, y1, c21);
            x = S.Broadcast(a[r3]);
            c30 = S.MultiplyAdd(x, y0, c30);
            c31 = S.MultiplyAdd(x, y1, c31);
        }
        Add2<S, V>(c00, c01, sums);
        if (rows > 1) Add2<S, V>(c10, c11, sums + stride);
        if (rows > 2) Add2<S, V>(c20, c21, sums + 2 * stride);
        if (rows > 3) Add2<S, V>(c30, c31, sums + 3 * stride);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add4<S, V>(V v0, V v1, V v2, V v3, float* to)
        where S : struct, ISimd<V>
        where V : struct
    {
        Add2<S, V>(v0, v1, to);
        Add2<S, V>(v2, v3, to + 2 * S.Width);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add2<S, V>(V v0, V v1, float* to)
        where S : struct, ISimd<V>
        where V : struct
    {
        S.Store(S.Add(S.Load(to), v0), to);
        S.Store(S.Add(S.Load(to + S.Width), v1), to + S.Width);
    }
}
