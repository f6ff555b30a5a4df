using System.Runtime.CompilerServices;
using ILGPU;

namespace Nola.Tensors;

public sealed partial class GpuDevice
{
    // Blocks of elementwise work: several for every multiprocessor of a large card; threads stride over the rest.
    private const int ElementwiseBlocks = 2048;

    /// <inheritdoc/>
    public override void Fill(Tensor x, float value) => Launch(ElementwiseKernels.Fill, Elements(x.Length), Floats(x), value);

    private protected override void AxpbyCore(float alpha, Tensor x, float beta, Tensor y) =>
        Launch(ElementwiseKernels.Axpby, Elements(y.Length), Floats(x), Floats(y), alpha, beta);

    private protected override void AxpbyCore(Tensor alpha, Tensor x, float beta, Tensor y) =>
        Launch(ElementwiseKernels.AxpbyOnDevice, Elements(y.Length), Floats(alpha), Floats(x), Floats(y), beta);

    private protected override void AddCore(Tensor a, Tensor b, Tensor y) =>
        Launch(ElementwiseKernels.Add, Elements(y.Length), Floats(a), Floats(b), Floats(y));

    private protected override void MultiplyCore(Tensor a, Tensor b, Tensor y, float beta) =>
        Launch(ElementwiseKernels.Multiply, Elements(y.Length), Floats(a), Floats(b), Floats(y), beta);

    private protected override void GeluCore(Tensor x, Tensor y) =>
        Launch(ElementwiseKernels.Gelu, Elements(y.Length), Floats(x), Floats(y));

    private protected override void GeluGradCore(Tensor x, Tensor dy, Tensor dx, float beta) =>
        Launch(ElementwiseKernels.GeluGrad, Elements(dx.Length), Floats(x), Floats(dy), Floats(dx), beta);

    private protected override void GeluErfCore(Tensor x, Tensor y) =>
        Launch(ElementwiseKernels.GeluErf, Elements(y.Length), Floats(x), Floats(y));

    private protected override void GeluErfGradCore(Tensor x, Tensor dy, Tensor dx, float beta) =>
        Launch(ElementwiseKernels.GeluErfGrad, Elements(dx.Length), Floats(x), Floats(dy), Floats(dx), beta);

    private static Blocks Elements(int length) => new(Math.Min(Blocks.For(length / 4, 256), ElementwiseBlocks));
}

/// <summary>y = f(a, b) · alpha + beta · y, four elements a thread and step; the last few one by one.</summary>
internal static class ElementwiseKernels
{
    [Kernel(256)]
    public static void Fill(ArrayView<float> x, float value)
    {
        ArrayView<Float4> wide = x.Cast<Float4>();
        int first = Grid.IdxX * Group.DimX + Group.IdxX, step = Grid.DimX * Group.DimX, whole = x.IntLength / 4;
        for (int i = first; i < whole; i += step) wide[i] = Float4.All(value);
        if (4 * whole + first < x.IntLength) x[4 * whole + first] = value;
    }

    [Kernel(256)]
    public static void Axpby(ArrayView<float> x, ArrayView<float> y, float alpha, float beta) => Map<FirstFormula>(x, x, y, alpha, beta);

    [Kernel(256)]
    public static void AxpbyOnDevice(ArrayView<float> alpha, ArrayView<float> x, ArrayView<float> y, float beta) =>
        Map<FirstFormula>(x, x, y, alpha[0], beta);

    [Kernel(256)]
    public static void Add(ArrayView<float> a, ArrayView<float> b, ArrayView<float> y) => Map<AddFormula>(a, b, y, 1, 0);

    [Kernel(256)]
    public static void Multiply(ArrayView<float> a, ArrayView<float> b, ArrayView<float> y, float beta) =>
        Map<MultiplyFormula>(a, b, y, 1, beta);

    [Kernel(256)]
    public static void Gelu(ArrayView<float> x, ArrayView<float> y) => Map<GeluFormula>(x, x, y, 1, 0);

    [Kernel(256)]
    public static void GeluGrad(ArrayView<float> x, ArrayView<float> dy, ArrayView<float> dx, float beta) =>
        Map<GeluGradFormula>(x, dy, dx, 1, beta);

    [Kernel(256)]
    public static void GeluErf(ArrayView<float> x, ArrayView<float> y) => Map<GeluErfFormula>(x, x, y, 1, 0);

    [Kernel(256)]
    public static void GeluErfGrad(ArrayView<float> x, ArrayView<float> dy, ArrayView<float> dx, float beta) =>
        Map<GeluErfGradFormula>(x, dy, dx, 1, beta);

    private static void Map<TFormula>(ArrayView<float> a, ArrayView<float> b, ArrayView<float> y, float alpha, float beta)
        where TFormula : struct, IFormula
    {
        ArrayView<Float4> wideA = a.Cast<Float4>(), wideB = b.Cast<Float4>(), wideY = y.Cast<Float4>();
        int first = Grid.IdxX * Group.DimX + Group.IdxX, step = Grid.DimX * Group.DimX, whole = y.IntLength / 4;
        for (int i = first; i < whole; i += step)
        {
            Float4 p = wideA[i], q = wideB[i];
            Float4 value =
                Float4.Of(TFormula.Apply(p.X, q.X), TFormula.Apply(p.Y, q.Y), TFormula.Apply(p.Z, q.Z), TFormula.Apply(p.W, q.W)) * alpha;
            if (beta != 0) value += wideY[i] * beta;
            wideY[i] = value;
        }
        int last = 4 * whole + first;
        if (last >= y.IntLength) return;
        float one = TFormula.Apply(a[last], b[last]) * alpha;
        if (beta != 0) one += y[last] * beta;
        y[last] = one;
    }

    /// <summary>f(a, b), element by element.</summary>
    private interface IFormula
    {
        static abstract float Apply(float a, float b);
    }

    private readonly struct FirstFormula : IFormula
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static float Apply(float a, float b) => a;
    }

    private readonly struct AddFormula : IFormula
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static float Apply(float a, float b) => a + b;
    }

    private readonly struct MultiplyFormula : IFormula
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static float Apply(float a, float b) => a * b;
    }

    /// <summary>gelu(x) = x/2 · (1 + t), t = tanh u, u = √(2/π) · (x + 0.044715 x³).</summary>
    internal readonly struct GeluFormula : IFormula
    {
        public const float Slope = 0.7978845608f, Cubic = 0.044715f;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static float Apply(float x, float unused) => 0.5f * x * (1 + Tangent(x));

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static float Tangent(float x) => GpuMath.Tanh(Slope * (x + Cubic * x * x * x));
    }

    /// <summary>dy · gelu′(x), gelu′ = (1 + t)/2 + x/2 · (1 − t²) · √(2/π) · (1 + 3 · 0.044715 x²).</summary>
    internal readonly struct GeluGradFormula : IFormula
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static float Apply(float x, float dy)
        {
            float t = GeluFormula.Tangent(x);
            float inner = GeluFormula.Slope * (1 + 3 * GeluFormula.Cubic * x * x);
            return dy * (0.5f * (1 + t) + 0.5f * x * (1 - t * t) * inner);
        }
    }

    /// <summary>gelu(x) = x/2 · (1 + e), e = erf(x/√2).</summary>
    private readonly struct GeluErfFormula : IFormula
    {
        public const float Narrowed = 0.70710678f;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static float Apply(float x, float unused) => 0.5f * x * (1 + GpuMath.Erf(Narrowed * x));
    }

    /// <summary>dy · gelu′(x), gelu′ = (1 + e)/2 + x · exp(−x²/2) / √(2π).</summary>
    private readonly struct GeluErfGradFormula : IFormula
    {
        private const float Density = 0.39894228f;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static float Apply(float x, float dy) =>
            dy * (0.5f * (1 + GpuMath.Erf(GeluErfFormula.Narrowed * x)) + x * Density * GpuMath.Exp(-0.5f * x * x));
    }
}
