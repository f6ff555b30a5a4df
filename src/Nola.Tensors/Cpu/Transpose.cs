using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;

namespace Nola.Tensors;

/// <summary>Transposes small rectangles of bytes, bfloat16 and words, through registers where they have whole squares.</summary>
internal static unsafe class Transpose
{
    private const int ByteSide = 16, HalfSide = 8;

    /// <summary>to[c · toStride + r] = from[r · fromStride + c] for rows r and columns c.</summary>
    public static void Bytes(byte* from, nint fromStride, byte* to, nint toStride, int rows, int columns)
    {
        int whole = CanInterleave ? rows & -ByteSide : 0, wholeColumns = columns & -ByteSide;
        for (int r = 0; r < whole; r += ByteSide)
            for (int c = 0; c < wholeColumns; c += ByteSide)
                ByteSquare(from + r * fromStride + c, fromStride, to + c * toStride + r, toStride);
        for (int r = 0; r < rows; r++)
            for (int c = r < whole ? wholeColumns : 0; c < columns; c++) to[c * toStride + r] = from[r * fromStride + c];
    }

    /// <summary>The same of elements of two bytes.</summary>
    public static void Halves(ushort* from, nint fromStride, ushort* to, nint toStride, int rows, int columns)
    {
        int whole = CanInterleave ? rows & -HalfSide : 0, wholeColumns = columns & -HalfSide;
        for (int r = 0; r < whole; r += HalfSide)
            for (int c = 0; c < wholeColumns; c += HalfSide)
                HalfSquare(from + r * fromStride + c, fromStride, to + c * toStride + r, toStride);
        for (int r = 0; r < rows; r++)
            for (int c = r < whole ? wholeColumns : 0; c < columns; c++) to[c * toStride + r] = from[r * fromStride + c];
    }

    /// <summary>The same of words of four bytes.</summary>
    public static void Words(uint* from, nint fromStride, uint* to, nint toStride, int rows, int columns)
    {
        int whole = rows & -4, wholeColumns = columns & -4;
        for (int r = 0; r < whole; r += 4)
            for (int c = 0; c < wholeColumns; c += 4)
                Gemm.Transpose4((float*)(from + r * fromStride + c), fromStride, (float*)(to + c * toStride + r), toStride);
        for (int r = 0; r < rows; r++)
            for (int c = r < whole ? wholeColumns : 0; c < columns; c++) to[c * toStride + r] = from[r * fromStride + c];
    }

    private static bool CanInterleave => Sse2.IsSupported || AdvSimd.Arm64.IsSupported;

    // Four rounds of interleaving row i with row i + 8 put element (r, c) of 16 × 16 at (c, r). Rows are separate locals because the JIT
    // keeps only those in registers.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void ByteSquare(byte* from, nint fromStride, byte* to, nint toStride)
    {
        Vector128<byte> a0 = Vector128.Load(from), a1 = Vector128.Load(from + fromStride);
        Vector128<byte> a2 = Vector128.Load(from + 2 * fromStride), a3 = Vector128.Load(from + 3 * fromStride);
        Vector128<byte> a4 = Vector128.Load(from + 4 * fromStride), a5 = Vector128.Load(from + 5 * fromStride);
        Vector128<byte> a6 = Vector128.Load(from + 6 * fromStride), a7 = Vector128.Load(from + 7 * fromStride);
        Vector128<byte> a8 = Vector128.Load(from + 8 * fromStride), a9 = Vector128.Load(from + 9 * fromStride);
        Vector128<byte> a10 = Vector128.Load(from + 10 * fromStride), a11 = Vector128.Load(from + 11 * fromStride);
        Vector128<byte> a12 = Vector128.Load(from + 12 * fromStride), a13 = Vector128.Load(from + 13 * fromStride);
        Vector128<byte> a14 = Vector128.Load(from + 14 * fromStride), a15 = Vector128.Load(from + 15 * fromStride);
        Vector128<byte> b0 = Low(a0, a8), b1 = High(a0, a8);
        Vector128<byte> b2 = Low(a1, a9), b3 = High(a1, a9);
        Vector128<byte> b4 = Low(a2, a10), b5 = High(a2, a10);
        Vector128<byte> b6 = Low(a3, a11), b7 = High(a3, a11);
        Vector128<byte> b8 = Low(a4, a12), b9 = High(a4, a12);
        Vector128<byte> b10 = Low(a5, a13), b11 = High(a5, a13);
        Vector128<byte> b12 = Low(a6, a14), b13 = High(a6, a14);
        Vector128<byte> b14 = Low(a7, a15), b15 = High(a7, a15);
        Vector128<byte> c0 = Low(b0, b8), c1 = High(b0, b8);
        Vector128<byte> c2 = Low(b1, b9), c3 = High(b1, b9);
        Vector128<byte> c4 = Low(b2, b10), c5 = High(b2, b10);
        Vector128<byte> c6 = Low(b3, b11), c7 = High(b3, b11);
        Vector128<byte> c8 = Low(b4, b12), c9 = High(b4, b12);
        Vector128<byte> c10 = Low(b5, b13), c11 = High(b5, b13);
        Vector128<byte> c12 = Low(b6, b14), c13 = High(b6, b14);
        Vector128<byte> c14 = Low(b7, b15), c15 = High(b7, b15);
        Vector128<byte> d0 = Low(c0, c8), d1 = High(c0, c8);
        Vector128<byte> d2 = Low(c1, c9), d3 = High(c1, c9);
        Vector128<byte> d4 = Low(c2, c10), d5 = High(c2, c10);
        Vector128<byte> d6 = Low(c3, c11), d7 = High(c3, c11);
        Vector128<byte> d8 = Low(c4, c12), d9 = High(c4, c12);
        Vector128<byte> d10 = Low(c5, c13), d11 = High(c5, c13);
        Vector128<byte> d12 = Low(c6, c14), d13 = High(c6, c14);
        Vector128<byte> d14 = Low(c7, c15), d15 = High(c7, c15);
        Vector128<byte> e0 = Low(d0, d8), e1 = High(d0, d8);
        Vector128<byte> e2 = Low(d1, d9), e3 = High(d1, d9);
        Vector128<byte> e4 = Low(d2, d10), e5 = High(d2, d10);
        Vector128<byte> e6 = Low(d3, d11), e7 = High(d3, d11);
        Vector128<byte> e8 = Low(d4, d12), e9 = High(d4, d12);
        Vector128<byte> e10 = Low(d5, d13), e11 = High(d5, d13);
        Vector128<byte> e12 = Low(d6, d14), e13 = High(d6, d14);
        Vector128<byte> e14 = Low(d7, d15), e15 = High(d7, d15);
        e0.Store(to);
        e1.Store(to + toStride);
        e2.Store(to + 2 * toStride);
        e3.Store(to + 3 * toStride);
        e4.Store(to + 4 * toStride);
        e5.Store(to + 5 * toStride);
        e6.Store(to + 6 * toStride);
        e7.Store(to + 7 * toStride);
        e8.Store(to + 8 * toStride);
        e9.Store(to + 9 * toStride);
        e10.Store(to + 10 * toStride);
        e11.Store(to + 11 * toStride);
        e12.Store(to + 12 * toStride);
        e13.Store(to + 13 * toStride);
        e14.Store(to + 14 * toStride);
        e15.Store(to + 15 * toStride);
    }

    // Three rounds of 8 × 8.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void HalfSquare(ushort* from, nint fromStride, ushort* to, nint toStride)
    {
        Vector128<ushort> a0 = Vector128.Load(from), a1 = Vector128.Load(from + fromStride);
        Vector128<ushort> a2 = Vector128.Load(from + 2 * fromStride), a3 = Vector128.Load(from + 3 * fromStride);
        Vector128<ushort> a4 = Vector128.Load(from + 4 * fromStride), a5 = Vector128.Load(from + 5 * fromStride);
        Vector128<ushort> a6 = Vector128.Load(from + 6 * fromStride), a7 = Vector128.Load(from + 7 * fromStride);
        Vector128<ushort> b0 = Low(a0, a4), b1 = High(a0, a4);
        Vector128<ushort> b2 = Low(a1, a5), b3 = High(a1, a5);
        Vector128<ushort> b4 = Low(a2, a6), b5 = High(a2, a6);
        Vector128<ushort> b6 = Low(a3, a7), b7 = High(a3, a7);
        Vector128<ushort> c0 = Low(b0, b4), c1 = High(b0, b4);
        Vector128<ushort> c2 = Low(b1, b5), c3 = High(b1, b5);
        Vector128<ushort> c4 = Low(b2, b6), c5 = High(b2, b6);
        Vector128<ushort> c6 = Low(b3, b7), c7 = High(b3, b7);
        Vector128<ushort> d0 = Low(c0, c4), d1 = High(c0, c4);
        Vector128<ushort> d2 = Low(c1, c5), d3 = High(c1, c5);
        Vector128<ushort> d4 = Low(c2, c6), d5 = High(c2, c6);
        Vector128<ushort> d6 = Low(c3, c7), d7 = High(c3, c7);
        d0.Store(to);
        d1.Store(to + toStride);
        d2.Store(to + 2 * toStride);
        d3.Store(to + 3 * toStride);
        d4.Store(to + 4 * toStride);
        d5.Store(to + 5 * toStride);
        d6.Store(to + 6 * toStride);
        d7.Store(to + 7 * toStride);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<byte> Low(Vector128<byte> a, Vector128<byte> b) =>
        Sse2.IsSupported ? Sse2.UnpackLow(a, b) : AdvSimd.Arm64.ZipLow(a, b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<byte> High(Vector128<byte> a, Vector128<byte> b) =>
        Sse2.IsSupported ? Sse2.UnpackHigh(a, b) : AdvSimd.Arm64.ZipHigh(a, b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<ushort> Low(Vector128<ushort> a, Vector128<ushort> b) =>
        Sse2.IsSupported ? Sse2.UnpackLow(a, b) : AdvSimd.Arm64.ZipLow(a, b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<ushort> High(Vector128<ushort> a, Vector128<ushort> b) =>
        Sse2.IsSupported ? Sse2.UnpackHigh(a, b) : AdvSimd.Arm64.ZipHigh(a, b);
}
