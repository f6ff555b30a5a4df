using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Nola.Tensors;

/// <summary>
/// Float vectors of one width, as static functions, so that a kernel is written once and compiled for each width.
/// The JIT specializes a kernel for the struct that implements this and every call becomes one instruction.
/// </summary>
/// <typeparam name="V">The vector type.</typeparam>
internal unsafe interface ISimd<V> where V : struct
{
    /// <summary>Floats in a vector.</summary>
    static abstract int Width { get; }

    static abstract V Zero { get; }

    static abstract V Load(float* source);

    static abstract void Store(V value, float* destination);

    static abstract V Broadcast(float value);

    static abstract V Add(V a, V b);

    static abstract V Subtract(V a, V b);

    static abstract V Multiply(V a, V b);

    static abstract V Divide(V a, V b);

    static abstract V Sqrt(V a);

    /// <summary>
    /// The larger ones, in one instruction. If b is not a number, the result is not; if only a is not, it is b on x86 and not a number on
    /// ARM64. So a bound is a, and what is bounded b.
    /// </summary>
    static abstract V Max(V a, V b);

    /// <summary>The smaller ones; see <see cref="Max"/>.</summary>
    static abstract V Min(V a, V b);

    /// <summary>a · b + c, rounded once.</summary>
    static abstract V MultiplyAdd(V a, V b, V c);

    /// <summary>Signed bytes as floats.</summary>
    static abstract V FromBytes(sbyte* source);

    /// <summary>bfloat16 as floats.</summary>
    static abstract V FromHalves(ushort* source);

    /// <summary>As many bytes as there are floats in a vector: what their lower and upper four bits stand for in a table of 16.</summary>
    static abstract void LookUp(byte* source, float* table, out V lower, out V upper);

    /// <summary>What four bits of each word, from <paramref name="shift"/> on, stand for in a table of 16.</summary>
    static abstract V LookUp(uint* source, int shift, float* table);

    /// <summary>The nearest integers, ties to even.</summary>
    static abstract V Round(V a);

    /// <summary>2ⁿ for integers n in [−126, 127].</summary>
    static abstract V PowerOfTwo(V n);

    /// <summary>The sum of the elements, in a fixed order.</summary>
    static abstract float Sum(V a);

    /// <summary>The sums of the elements of four vectors, in a fixed order.</summary>
    static abstract Vector128<float> Sum4(V a, V b, V c, V d);

    /// <summary>The largest element, where all are numbers.</summary>
    static abstract float MaxElement(V a);
}

/// <summary>512-bit vectors: x86-64 with AVX-512.</summary>
internal readonly unsafe struct Simd512 : ISimd<Vector512<float>>
{
    public static int Width => 16;

    public static Vector512<float> Zero => Vector512<float>.Zero;

    public static Vector512<float> Load(float* source) => Vector512.Load(source);

    public static void Store(Vector512<float> value, float* destination) => value.Store(destination);

    public static Vector512<float> Broadcast(float value) => Vector512.Create(value);

    public static Vector512<float> Add(Vector512<float> a, Vector512<float> b) => a + b;

    public static Vector512<float> Subtract(Vector512<float> a, Vector512<float> b) => a - b;

    public static Vector512<float> Multiply(Vector512<float> a, Vector512<float> b) => a * b;

    public static Vector512<float> Divide(Vector512<float> a, Vector512<float> b) => a / b;

    public static Vector512<float> Sqrt(Vector512<float> a) => Vector512.Sqrt(a);

    public static Vector512<float> Max(Vector512<float> a, Vector512<float> b) => Vector512.MaxNative(a, b);

    public static Vector512<float> Min(Vector512<float> a, Vector512<float> b) => Vector512.MinNative(a, b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> MultiplyAdd(Vector512<float> a, Vector512<float> b, Vector512<float> c) =>
        Vector512.FusedMultiplyAdd(a, b, c);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> FromBytes(sbyte* source) => Avx512F.IsSupported
        ? Vector512.ConvertToSingle(Avx512F.ConvertToVector512Int32(Vector128.Load(source)))
        : Vector512.Create(Simd256.FromBytes(source), Simd256.FromBytes(source + 8));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> FromHalves(ushort* source) => Avx512F.IsSupported
        ? (Avx512F.ConvertToVector512UInt32(Vector256.Load(source)) << 16).AsSingle()
        : Vector512.Create(Simd256.FromHalves(source), Simd256.FromHalves(source + 8));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void LookUp(byte* source, float* table, out Vector512<float> lower, out Vector512<float> upper)
    {
        if (Avx512F.IsSupported)
        {
            // A permutation looks at four bits of each index.
            Vector512<int> pairs = Avx512F.ConvertToVector512Int32(Vector128.Load(source));
            lower = Avx512F.PermuteVar16x32(Vector512.Load(table), pairs);
            upper = Avx512F.PermuteVar16x32(Vector512.Load(table), pairs >>> 4);
            return;
        }
        Simd256.LookUp(source, table, out Vector256<float> lowerLeft, out Vector256<float> upperLeft);
        Simd256.LookUp(source + 8, table, out Vector256<float> lowerRight, out Vector256<float> upperRight);
        lower = Vector512.Create(lowerLeft, lowerRight);
        upper = Vector512.Create(upperLeft, upperRight);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> LookUp(uint* source, int shift, float* table) => Avx512F.IsSupported
        ? Avx512F.PermuteVar16x32(Vector512.Load(table), (Vector512.Load(source) >>> shift).AsInt32())
        : Vector512.Create(Simd256.LookUp(source, shift, table), Simd256.LookUp(source + 8, shift, table));

    public static Vector512<float> Round(Vector512<float> a) => Vector512.Round(a);

    public static Vector512<float> PowerOfTwo(Vector512<float> n) =>
        ((Vector512.ConvertToInt32Native(n) + Vector512.Create(127)) << 23).AsSingle();

    public static float Sum(Vector512<float> a) => Vector512.Sum(a);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Sum4(Vector512<float> a, Vector512<float> b, Vector512<float> c, Vector512<float> d) => Simd256.Sum4(
        a.GetLower() + a.GetUpper(), b.GetLower() + b.GetUpper(), c.GetLower() + c.GetUpper(), d.GetLower() + d.GetUpper());

    public static float MaxElement(Vector512<float> a) =>
        Simd256.MaxElement(Vector256.MaxNative(a.GetLower(), a.GetUpper()));
}

/// <summary>256-bit vectors: x86-64 with AVX2 and FMA.</summary>
internal readonly unsafe struct Simd256 : ISimd<Vector256<float>>
{
    public static int Width => 8;

    public static Vector256<float> Zero => Vector256<float>.Zero;

    public static Vector256<float> Load(float* source) => Vector256.Load(source);

    public static void Store(Vector256<float> value, float* destination) => value.Store(destination);

    public static Vector256<float> Broadcast(float value) => Vector256.Create(value);

    public static Vector256<float> Add(Vector256<float> a, Vector256<float> b) => a + b;

    public static Vector256<float> Subtract(Vector256<float> a, Vector256<float> b) => a - b;

    public static Vector256<float> Multiply(Vector256<float> a, Vector256<float> b) => a * b;

    public static Vector256<float> Divide(Vector256<float> a, Vector256<float> b) => a / b;

    public static Vector256<float> Sqrt(Vector256<float> a) => Vector256.Sqrt(a);

    public static Vector256<float> Max(Vector256<float> a, Vector256<float> b) => Vector256.MaxNative(a, b);

    public static Vector256<float> Min(Vector256<float> a, Vector256<float> b) => Vector256.MinNative(a, b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> MultiplyAdd(Vector256<float> a, Vector256<float> b, Vector256<float> c) =>
        Vector256.FusedMultiplyAdd(a, b, c);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> FromBytes(sbyte* source)
    {
        Vector128<short> shorts = Vector128.WidenLower(Vector128.CreateScalarUnsafe(*(long*)source).AsSByte());
        return Vector256.ConvertToSingle(Vector256.Create(Vector128.WidenLower(shorts), Vector128.WidenUpper(shorts)));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> FromHalves(ushort* source)
    {
        Vector128<ushort> bits = Vector128.Load(source);
        return (Vector256.Create(Vector128.WidenLower(bits), Vector128.WidenUpper(bits)) << 16).AsSingle();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void LookUp(byte* source, float* table, out Vector256<float> lower, out Vector256<float> upper)
    {
        Vector128<ushort> shorts = Vector128.WidenLower(Vector128.CreateScalarUnsafe(*(ulong*)source).AsByte());
        Vector256<uint> pairs = Vector256.Create(Vector128.WidenLower(shorts), Vector128.WidenUpper(shorts));
        Vector256<float> first = Vector256.Load(table), second = Vector256.Load(table + 8);
        lower = Pick(first, second, pairs);
        upper = Pick(first, second, pairs >>> 4);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> LookUp(uint* source, int shift, float* table) =>
        Pick(Vector256.Load(table), Vector256.Load(table + 8), Vector256.Load(source) >>> shift);

    // Three bits of an index choose in either half of the table, the fourth one of the halves.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Pick(Vector256<float> first, Vector256<float> second, Vector256<uint> index)
    {
        Vector256<uint> seven = Vector256.Create(7u), half = Vector256.Create(8u);
        return Vector256.ConditionalSelect(
            Vector256.Equals(index & half, half).AsSingle(),
            Vector256.ShuffleNative(second, (index & seven).AsInt32()),
            Vector256.ShuffleNative(first, (index & seven).AsInt32()));
    }

    public static Vector256<float> Round(Vector256<float> a) => Vector256.Round(a);

    public static Vector256<float> PowerOfTwo(Vector256<float> n) =>
        ((Vector256.ConvertToInt32Native(n) + Vector256.Create(127)) << 23).AsSingle();

    public static float Sum(Vector256<float> a) => Vector256.Sum(a);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Sum4(Vector256<float> a, Vector256<float> b, Vector256<float> c, Vector256<float> d) => Simd128.Sum4(
        a.GetLower() + a.GetUpper(), b.GetLower() + b.GetUpper(), c.GetLower() + c.GetUpper(), d.GetLower() + d.GetUpper());

    public static float MaxElement(Vector256<float> a) =>
        Simd128.MaxElement(Vector128.MaxNative(a.GetLower(), a.GetUpper()));
}

/// <summary>128-bit vectors: ARM64, and the fallback everywhere.</summary>
internal readonly unsafe struct Simd128 : ISimd<Vector128<float>>
{
    public static int Width => 4;

    public static Vector128<float> Zero => Vector128<float>.Zero;

    public static Vector128<float> Load(float* source) => Vector128.Load(source);

    public static void Store(Vector128<float> value, float* destination) => value.Store(destination);

    public static Vector128<float> Broadcast(float value) => Vector128.Create(value);

    public static Vector128<float> Add(Vector128<float> a, Vector128<float> b) => a + b;

    public static Vector128<float> Subtract(Vector128<float> a, Vector128<float> b) => a - b;

    public static Vector128<float> Multiply(Vector128<float> a, Vector128<float> b) => a * b;

    public static Vector128<float> Divide(Vector128<float> a, Vector128<float> b) => a / b;

    public static Vector128<float> Sqrt(Vector128<float> a) => Vector128.Sqrt(a);

    public static Vector128<float> Max(Vector128<float> a, Vector128<float> b) => Vector128.MaxNative(a, b);

    public static Vector128<float> Min(Vector128<float> a, Vector128<float> b) => Vector128.MinNative(a, b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> MultiplyAdd(Vector128<float> a, Vector128<float> b, Vector128<float> c) =>
        Vector128.FusedMultiplyAdd(a, b, c);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> FromBytes(sbyte* source) => Vector128.ConvertToSingle(
        Vector128.WidenLower(Vector128.WidenLower(Vector128.CreateScalarUnsafe(*(int*)source).AsSByte())));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> FromHalves(ushort* source) =>
        (Vector128.WidenLower(Vector128.CreateScalarUnsafe(*(ulong*)source).AsUInt16()) << 16).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void LookUp(byte* source, float* table, out Vector128<float> lower, out Vector128<float> upper)
    {
        lower = Vector128.Create(table[source[0] & 15], table[source[1] & 15], table[source[2] & 15], table[source[3] & 15]);
        upper = Vector128.Create(table[source[0] >> 4], table[source[1] >> 4], table[source[2] >> 4], table[source[3] >> 4]);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LookUp(uint* source, int shift, float* table) => Vector128.Create(
        table[(source[0] >> shift) & 15], table[(source[1] >> shift) & 15],
        table[(source[2] >> shift) & 15], table[(source[3] >> shift) & 15]);

    public static Vector128<float> Round(Vector128<float> a) => Vector128.Round(a);

    public static Vector128<float> PowerOfTwo(Vector128<float> n) =>
        ((Vector128.ConvertToInt32Native(n) + Vector128.Create(127)) << 23).AsSingle();

    public static float Sum(Vector128<float> a) => Vector128.Sum(a);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Sum4(Vector128<float> a, Vector128<float> b, Vector128<float> c, Vector128<float> d)
    {
        Vector128<float> ac = Gemm.Interleave(a, c, out Vector128<float> acHigh), bd = Gemm.Interleave(b, d, out Vector128<float> bdHigh);
        return Gemm.Interleave(ac + acHigh, bd + bdHigh, out Vector128<float> odd) + odd;
    }

    public static float MaxElement(Vector128<float> a)
    {
        a = Vector128.MaxNative(a, Vector128.Shuffle(a, Vector128.Create(2, 3, 0, 1)));
        return Vector128.MaxNative(a, Vector128.Shuffle(a, Vector128.Create(1, 0, 3, 2))).ToScalar();
    }
}
