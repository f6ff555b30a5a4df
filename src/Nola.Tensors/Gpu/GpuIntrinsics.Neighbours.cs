using ILGPU;
using ILGPU.Backends.PTX;
using ILGPU.IR;
using ILGPU.IR.Intrinsics;

namespace Nola.Tensors;

// Sums and maxima over 4, 8 or 16 neighbouring lanes of a warp, as butterflies (see GpuIntrinsics.Warp.cs). Four lanes hold
// a row of a fragment of mma.sync.
internal static partial class GpuIntrinsics
{
    /// <summary>Two sums over four lanes, in each of them.</summary>
    [IntrinsicImplementation]
    public static Float2 SumsOfFour(Float2 x) => Neighbours(x, 4, static (a, b) => a + b);

    /// <summary>Two maxima over four lanes.</summary>
    [IntrinsicImplementation]
    public static Float2 MaximaOfFour(Float2 x) => Neighbours(x, 4, Float4.Max);

    /// <summary>The sum over eight lanes.</summary>
    [IntrinsicImplementation]
    public static float SumOfEight(float x) => Neighbours(Float2.Of(x, 0), 8, static (a, b) => a + b).X;

    /// <summary>The sum over sixteen lanes.</summary>
    [IntrinsicImplementation]
    public static float SumOfSixteen(float x) => Neighbours(Float2.Of(x, 0), 16, static (a, b) => a + b).X;

    private static Float2 Neighbours(Float2 x, int count, Func<Float4, Float4, Float4> meet)
    {
        int first = Group.IdxX / count * count;
        exchanged[Group.IdxX] = Float4.Of(x.X, x.Y, 0, 0);
        Warp.Barrier();
        Span<Float4> values = stackalloc Float4[Lanes];
        exchanged.AsSpan(first, count).CopyTo(values);
        for (int half = count / 2; half > 0; half /= 2)
            for (int i = 0; i < half; i++) values[i] = meet(values[i], values[i + half]);
        Warp.Barrier();
        return Float2.Of(values[0].X, values[0].Y);
    }

    private static void GenerateSumsOfFour(PTXBackend backend, PTXCodeGenerator code, Value value) => Neighbours(code, value, 4, "add.f32");

    private static void GenerateMaximaOfFour(PTXBackend backend, PTXCodeGenerator code, Value value) => Neighbours(code, value, 4, "max.f32");

    private static void GenerateSumOfEight(PTXBackend backend, PTXCodeGenerator code, Value value) => Neighbours(code, value, 8, "add.f32");

    private static void GenerateSumOfSixteen(PTXBackend backend, PTXCodeGenerator code, Value value) => Neighbours(code, value, 16, "add.f32");

    private static void Neighbours(PTXCodeGenerator code, Value value, int count, string meet)
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
