using ILGPU;
using ILGPU.Backends.PTX;
using ILGPU.IR;
using ILGPU.IR.Intrinsics;

namespace Nola.Tensors;

// Sums and maxima over 4, 8, 16 or all 32 neighboring lanes of a warp, as butterflies: of n lanes, lane i meets i ^ n/2,
// i ^ n/4, … i ^ 1, so that each of them has the same bits. Four lanes hold a row of a fragment of mma.sync. They are
// instructions of their own because ILGPU's simulated shuffles cost a hundred times as much as the two barriers here.
internal static partial class GpuIntrinsics
{
    private const int Lanes = GpuMath.WarpSize;

    // What the lanes of simulated warps hand to each other. One block runs at a time.
    private static readonly Float4[] exchanged = new Float4[1024];

    /// <summary>The sum over a warp, in every lane.</summary>
    [IntrinsicImplementation]
    public static float WarpSum(float x) => Butterfly(Float4.All(x), Lanes, static (a, b) => a + b).X;

    /// <summary>The largest of a warp, in every lane.</summary>
    [IntrinsicImplementation]
    public static float WarpMax(float x) => Butterfly(Float4.All(x), Lanes, Float4.Max).X;

    /// <summary>Four sums over a warp.</summary>
    [IntrinsicImplementation]
    public static Float4 WarpSums(Float4 x) => Butterfly(x, Lanes, static (a, b) => a + b);

    /// <summary>Four maxima over a warp.</summary>
    [IntrinsicImplementation]
    public static Float4 WarpMaxima(Float4 x) => Butterfly(x, Lanes, Float4.Max);

    /// <summary>Two sums over four lanes, in each of them.</summary>
    [IntrinsicImplementation]
    public static Float2 SumsOfFour(Float2 x) => Butterfly(x, 4, static (a, b) => a + b);

    /// <summary>Two maxima over four lanes.</summary>
    [IntrinsicImplementation]
    public static Float2 MaximaOfFour(Float2 x) => Butterfly(x, 4, Float4.Max);

    /// <summary>The sum over eight lanes.</summary>
    [IntrinsicImplementation]
    public static float SumOfEight(float x) => Butterfly(Float4.All(x), 8, static (a, b) => a + b).X;

    /// <summary>The sum over sixteen lanes.</summary>
    [IntrinsicImplementation]
    public static float SumOfSixteen(float x) => Butterfly(Float4.All(x), 16, static (a, b) => a + b).X;

    /// <summary>Four sums over sixteen lanes.</summary>
    [IntrinsicImplementation]
    public static Float4 SumsOfSixteen(Float4 x) => Butterfly(x, 16, static (a, b) => a + b);

    private static Float2 Butterfly(Float2 x, int count, Func<Float4, Float4, Float4> meet)
    {
        Float4 met = Butterfly(Float4.Of(x.X, x.Y, 0, 0), count, meet);
        return Float2.Of(met.X, met.Y);
    }

    private static Float4 Butterfly(Float4 x, int count, Func<Float4, Float4, Float4> meet)
    {
        int first = Group.IdxX / count * count;
        exchanged[Group.IdxX] = x;
        Warp.Barrier();
        Span<Float4> values = stackalloc Float4[Lanes];
        exchanged.AsSpan(first, count).CopyTo(values);
        for (int half = count / 2; half > 0; half /= 2)
            for (int i = 0; i < half; i++) values[i] = meet(values[i], values[i + half]);
        Warp.Barrier();
        return values[0];
    }

    private static void GenerateWarpSum(PTXBackend backend, PTXCodeGenerator code, Value value) => Butterfly(code, value, Lanes, "add.f32");

    private static void GenerateWarpMax(PTXBackend backend, PTXCodeGenerator code, Value value) => Butterfly(code, value, Lanes, "max.f32");

    private static void GenerateWarpSums(PTXBackend backend, PTXCodeGenerator code, Value value) =>
        Butterfly(code, value, Lanes, "add.f32");

    private static void GenerateWarpMaxima(PTXBackend backend, PTXCodeGenerator code, Value value) =>
        Butterfly(code, value, Lanes, "max.f32");

    private static void GenerateSumsOfFour(PTXBackend backend, PTXCodeGenerator code, Value value) => Butterfly(code, value, 4, "add.f32");

    private static void GenerateMaximaOfFour(PTXBackend backend, PTXCodeGenerator code, Value value) =>
        Butterfly(code, value, 4, "max.f32");

    private static void GenerateSumOfEight(PTXBackend backend, PTXCodeGenerator code, Value value) => Butterfly(code, value, 8, "add.f32");

    private static void GenerateSumOfSixteen(PTXBackend backend, PTXCodeGenerator code, Value value) =>
        Butterfly(code, value, 16, "add.f32");

    private static void GenerateSumsOfSixteen(PTXBackend backend, PTXCodeGenerator code, Value value) =>
        Butterfly(code, value, 16, "add.f32");

    private static void Butterfly(PTXCodeGenerator code, Value value, int count, string meet)
    {
        List<string> from = Registers(code, value, 0), to = Result(code, value);
        Emit(code, "{");
        Emit(code, ".reg .f32 met;");
        for (int i = 0; i < to.Count; i++) Emit(code, $"mov.f32 {to[i]}, {from[i]};");
        for (int half = count / 2; half > 0; half /= 2)
        {
            foreach (string register in to)
            {
                Emit(code, $"shfl.sync.bfly.b32 met, {register}, {half}, 31, 0xffffffff;");
                Emit(code, $"{meet} {register}, {register}, met;");
            }
        }
        Emit(code, "}");
    }
}
