using ILGPU;
using ILGPU.Backends.PTX;
using ILGPU.IR;
using ILGPU.IR.Intrinsics;

namespace Nola.Tensors;

// Sums and maxima over the 32 lanes of a warp, as butterflies: lane i meets i ^ 16, i ^ 8, … i ^ 1, so that every lane has
// the same bits. They are instructions of their own because ILGPU's simulated shuffles cost a hundred times as much as
// the two barriers here.
internal static partial class GpuIntrinsics
{
    private const int Lanes = GpuMath.WarpSize;

    // What the lanes of simulated warps hand to each other. One block runs at a time.
    private static readonly Float4[] exchanged = new Float4[1024];

    /// <summary>The sum over a warp, in every lane.</summary>
    [IntrinsicImplementation]
    public static float WarpSum(float x) => Butterfly(Float4.All(x), static (a, b) => a + b).X;

    /// <summary>The largest of a warp, in every lane.</summary>
    [IntrinsicImplementation]
    public static float WarpMax(float x) => Butterfly(Float4.All(x), Float4.Max).X;

    /// <summary>Four sums over a warp.</summary>
    [IntrinsicImplementation]
    public static Float4 WarpSums(Float4 x) => Butterfly(x, static (a, b) => a + b);

    /// <summary>Four maxima over a warp.</summary>
    [IntrinsicImplementation]
    public static Float4 WarpMaxima(Float4 x) => Butterfly(x, Float4.Max);

    private static Float4 Butterfly(Float4 x, Func<Float4, Float4, Float4> meet)
    {
        int first = Group.IdxX / Lanes * Lanes;
        exchanged[Group.IdxX] = x;
        Warp.Barrier();
        Span<Float4> values = stackalloc Float4[Lanes];
        exchanged.AsSpan(first, Lanes).CopyTo(values);
        for (int half = Lanes / 2; half > 0; half /= 2)
            for (int i = 0; i < half; i++) values[i] = meet(values[i], values[i + half]);
        Warp.Barrier();
        return values[0];
    }

    private static void GenerateWarpSum(PTXBackend backend, PTXCodeGenerator code, Value value) => Butterfly(code, value, "add.f32");

    private static void GenerateWarpMax(PTXBackend backend, PTXCodeGenerator code, Value value) => Butterfly(code, value, "max.f32");

    private static void GenerateWarpSums(PTXBackend backend, PTXCodeGenerator code, Value value) => Butterfly(code, value, "add.f32");

    private static void GenerateWarpMaxima(PTXBackend backend, PTXCodeGenerator code, Value value) => Butterfly(code, value, "max.f32");

    private static void Butterfly(PTXCodeGenerator code, Value value, string meet)
    {
        List<string> from = Registers(code, value, 0), to = Result(code, value);
        Emit(code, "{");
        Emit(code, ".reg .f32 met;");
        for (int i = 0; i < to.Count; i++) Emit(code, $"mov.f32 {to[i]}, {from[i]};");
        for (int half = Lanes / 2; half > 0; half /= 2)
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
