using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;

namespace Nola.Tensors;

/// <summary>Vectors of 32-bit words of one width: what the generator of random bases is written over.</summary>
internal unsafe interface IWords<V> where V : struct
{
    /// <summary>Words of a vector.</summary>
    static abstract int Lanes { get; }

    /// <summary>0, 1, 2, …</summary>
    static abstract V Indices { get; }

    static abstract V Broadcast(uint value);

    static abstract V Add(V a, V b);

    static abstract V Xor(V a, V b);

    /// <summary>The 64-bit products of the even words; the odd words are ignored.</summary>
    static abstract V MultiplyEven(V a, V b);

    /// <summary>Each odd word in the place of the even one before it, and zero in its own.</summary>
    static abstract V OddToEven(V a);

    /// <summary>The even words of <paramref name="even"/>, and those of <paramref name="odd"/> as odd words.</summary>
    static abstract V Weave(V even, V odd);

    static abstract V DoubleEach(V a);

    static abstract void Store(V a, uint* destination);

    /// <summary>The low 16 bits of each word, signed, over 32,768.</summary>
    static abstract void StoreLowUniform(V a, float* destination);

    /// <summary>The high 16 bits of each word, signed, over 32,768.</summary>
    static abstract void StoreHighUniform(V a, float* destination);

    /// <summary>−1 where the top bit of the word is set, else +1.</summary>
    static abstract void StoreSign(V a, float* destination);
}

/// <summary>Sixteen words: AVX-512.</summary>
internal readonly unsafe struct Words512 : IWords<Vector512<uint>>
{
    public static int Lanes => 16;

    public static Vector512<uint> Indices => Vector512<uint>.Indices;

    public static Vector512<uint> Broadcast(uint value) => Vector512.Create(value);

    public static Vector512<uint> Add(Vector512<uint> a, Vector512<uint> b) => a + b;

    public static Vector512<uint> Xor(Vector512<uint> a, Vector512<uint> b) => a ^ b;

    public static Vector512<uint> MultiplyEven(Vector512<uint> a, Vector512<uint> b) => Avx512F.Multiply(a, b).AsUInt32();

    public static Vector512<uint> OddToEven(Vector512<uint> a) => (a.AsUInt64() >>> 32).AsUInt32();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<uint> Weave(Vector512<uint> even, Vector512<uint> odd) => Avx512F.PermuteVar16x32x2(
        even, Vector512.Create(0u, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30), odd);

    public static Vector512<uint> DoubleEach(Vector512<uint> a) => a << 1;

    public static void Store(Vector512<uint> a, uint* destination) => a.Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreLowUniform(Vector512<uint> a, float* destination) =>
        (Vector512.ConvertToSingle((a << 16).AsInt32()) * Vector512.Create(Words.PerUniform)).Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreHighUniform(Vector512<uint> a, float* destination) =>
        (Vector512.ConvertToSingle((a & Vector512.Create(0xFFFF0000u)).AsInt32()) * Vector512.Create(Words.PerUniform)).Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreSign(Vector512<uint> a, float* destination) =>
        ((a & Vector512.Create(0x80000000u)) | Vector512.Create(1f).AsUInt32()).AsSingle().Store(destination);
}

/// <summary>Eight words: AVX2.</summary>
internal readonly unsafe struct Words256 : IWords<Vector256<uint>>
{
    public static int Lanes => 8;

    public static Vector256<uint> Indices => Vector256<uint>.Indices;

    public static Vector256<uint> Broadcast(uint value) => Vector256.Create(value);

    public static Vector256<uint> Add(Vector256<uint> a, Vector256<uint> b) => a + b;

    public static Vector256<uint> Xor(Vector256<uint> a, Vector256<uint> b) => a ^ b;

    public static Vector256<uint> MultiplyEven(Vector256<uint> a, Vector256<uint> b) => Avx2.Multiply(a, b).AsUInt32();

    public static Vector256<uint> OddToEven(Vector256<uint> a) => (a.AsUInt64() >>> 32).AsUInt32();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<uint> Weave(Vector256<uint> even, Vector256<uint> odd) =>
        ((even.AsUInt64() & Vector256.Create(0xFFFFFFFFUL)) | (odd.AsUInt64() << 32)).AsUInt32();

    public static Vector256<uint> DoubleEach(Vector256<uint> a) => a << 1;

    public static void Store(Vector256<uint> a, uint* destination) => a.Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreLowUniform(Vector256<uint> a, float* destination) =>
        (Vector256.ConvertToSingle((a << 16).AsInt32()) * Vector256.Create(Words.PerUniform)).Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreHighUniform(Vector256<uint> a, float* destination) =>
        (Vector256.ConvertToSingle((a & Vector256.Create(0xFFFF0000u)).AsInt32()) * Vector256.Create(Words.PerUniform)).Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreSign(Vector256<uint> a, float* destination) =>
        ((a & Vector256.Create(0x80000000u)) | Vector256.Create(1f).AsUInt32()).AsSingle().Store(destination);
}

/// <summary>Four words: ARM64, and the fallback everywhere.</summary>
internal readonly unsafe struct Words128 : IWords<Vector128<uint>>
{
    public static int Lanes => 4;

    public static Vector128<uint> Indices => Vector128<uint>.Indices;

    public static Vector128<uint> Broadcast(uint value) => Vector128.Create(value);

    public static Vector128<uint> Add(Vector128<uint> a, Vector128<uint> b) => a + b;

    public static Vector128<uint> Xor(Vector128<uint> a, Vector128<uint> b) => a ^ b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<uint> MultiplyEven(Vector128<uint> a, Vector128<uint> b)
    {
        if (Sse2.IsSupported) return Sse2.Multiply(a, b).AsUInt32();
        if (AdvSimd.IsSupported)
            return AdvSimd.MultiplyWideningLower(AdvSimd.ExtractNarrowingLower(a.AsUInt64()), AdvSimd.ExtractNarrowingLower(b.AsUInt64()))
                .AsUInt32();
        Vector128<ulong> low = Vector128.Create(0xFFFFFFFFUL);
        return ((a.AsUInt64() & low) * (b.AsUInt64() & low)).AsUInt32();
    }

    public static Vector128<uint> OddToEven(Vector128<uint> a) => (a.AsUInt64() >>> 32).AsUInt32();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<uint> Weave(Vector128<uint> even, Vector128<uint> odd) =>
        ((even.AsUInt64() & Vector128.Create(0xFFFFFFFFUL)) | (odd.AsUInt64() << 32)).AsUInt32();

    public static Vector128<uint> DoubleEach(Vector128<uint> a) => a << 1;

    public static void Store(Vector128<uint> a, uint* destination) => a.Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreLowUniform(Vector128<uint> a, float* destination) =>
        (Vector128.ConvertToSingle((a << 16).AsInt32()) * Vector128.Create(Words.PerUniform)).Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreHighUniform(Vector128<uint> a, float* destination) =>
        (Vector128.ConvertToSingle((a & Vector128.Create(0xFFFF0000u)).AsInt32()) * Vector128.Create(Words.PerUniform)).Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreSign(Vector128<uint> a, float* destination) =>
        ((a & Vector128.Create(0x80000000u)) | Vector128.Create(1f).AsUInt32()).AsSingle().Store(destination);
}

/// <summary>What the widths share.</summary>
internal static class Words
{
    /// <summary>
    /// 2⁻³¹: a 16-bit integer in the upper half of a word has at most 16 significant bits, so it converts to float32
    /// exactly without being shifted down first.
    /// </summary>
    public const float PerUniform = 1f / 2147483648f;
}
