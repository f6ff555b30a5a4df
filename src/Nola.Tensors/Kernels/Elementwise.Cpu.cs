using System.Runtime.CompilerServices;

namespace Nola.Tensors;

public sealed unsafe partial class CpuDevice
{
    // Elements of one piece of elementwise work: 64 KiB a tensor, so that a few tensors' pieces fit the second-level cache.
    private const int Piece = 16384;

    /// <inheritdoc/>
    public override void Fill(Tensor x, float value)
    {
        float* p = Floats(x);
        team.For(x.Length, Piece, (start, end) => new Span<float>(p + start, end - start).Fill(value));
    }

    private protected override void AxpbyCore(float alpha, Tensor x, float beta, Tensor y) =>
        Elementwise<AxpbyFormula>(Floats(x), null, Floats(y), y.Length, alpha, beta);

    private protected override void AxpbyCore(Tensor alpha, Tensor x, float beta, Tensor y) => AxpbyCore(Floats(alpha)[0], x, beta, y);

    private protected override void AddCore(Tensor a, Tensor b, Tensor y) =>
        Elementwise<AddFormula>(Floats(a), Floats(b), Floats(y), y.Length, 1, 0);

    private protected override void MultiplyCore(Tensor a, Tensor b, Tensor y, float beta) =>
        Elementwise<MultiplyFormula>(Floats(a), Floats(b), Floats(y), y.Length, 1, beta);

    private protected override void GeluCore(Tensor x, Tensor y) =>
        Elementwise<GeluFormula>(Floats(x), null, Floats(y), y.Length, 1, 0);

    private protected override void GeluGradCore(Tensor x, Tensor dy, Tensor dx, float beta) =>
        Elementwise<GeluGradFormula>(Floats(x), Floats(dy), Floats(dx), dx.Length, 1, beta);

    private protected override void GeluErfCore(Tensor x, Tensor y) =>
        Elementwise<GeluErfFormula>(Floats(x), null, Floats(y), y.Length, 1, 0);

    private protected override void GeluErfGradCore(Tensor x, Tensor dy, Tensor dx, float beta) =>
        Elementwise<GeluErfGradFormula>(Floats(x), Floats(dy), Floats(dx), dx.Length, 1, beta);

    // y = f(a, b) · alpha + beta · y; b may be null where the formula does not read it.
    private void Elementwise<TFormula>(float* a, float* b, float* y, int length, float alpha, float beta)
        where TFormula : struct, IFormula
    {
        team.For(length, Piece, (start, end) =>
            Dispatch.Run(new ElementwiseLoop<TFormula>(a, b == null ? a : b, y, alpha, beta), start, end));
    }

    /// <summary>f(a, b), element by element.</summary>
    private interface IFormula
    {
        static abstract V Apply<S, V>(V a, V b) where S : struct, ISimd<V> where V : struct;
    }

    private readonly struct ElementwiseLoop<TFormula>(float* a, float* b, float* y, float alpha, float beta) : ISimdLoop
        where TFormula : struct, IFormula
    {
        private readonly float* a = a, b = b, y = y;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Run<S, V>(int start, int end) where S : struct, ISimd<V> where V : struct
        {
            V scale = S.Broadcast(alpha), keep = S.Broadcast(beta);
            int i = start;
            for (; i <= end - S.Width; i += S.Width)
            {
                V value = S.Multiply(TFormula.Apply<S, V>(S.Load(a + i), S.Load(b + i)), scale);
                if (beta != 0) value = S.MultiplyAdd(S.Load(y + i), keep, value);
                S.Store(value, y + i);
            }
            if (i == end) return;
            // The rest through a padded vector, so that the tail has the bits of the body.
            float* tail = stackalloc float[3 * 16];
            for (int j = i; j < end; j++) (tail[j - i], tail[16 + j - i]) = (a[j], b[j]);
            S.Store(S.Multiply(TFormula.Apply<S, V>(S.Load(tail), S.Load(tail + 16)), scale), tail + 32);
            for (int j = i; j < end; j++)
                y[j] = beta != 0 ? MathF.FusedMultiplyAdd(y[j], beta, tail[32 + j - i]) : tail[32 + j - i];
        }
    }

    private readonly struct AxpbyFormula : IFormula
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Apply<S, V>(V a, V b) where S : struct, ISimd<V> where V : struct => a;
    }

    private readonly struct AddFormula : IFormula
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Apply<S, V>(V a, V b) where S : struct, ISimd<V> where V : struct => S.Add(a, b);
    }

    private readonly struct MultiplyFormula : IFormula
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Apply<S, V>(V a, V b) where S : struct, ISimd<V> where V : struct => S.Multiply(a, b);
    }

    /// <summary>gelu(x) = x/2 · (1 + t), t = tanh u, u = √(2/π) · (x + 0.044715 x³).</summary>
    private readonly struct GeluFormula : IFormula
    {
        public const float Slope = 0.7978845608f, Cubic = 0.044715f;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Apply<S, V>(V x, V unused) where S : struct, ISimd<V> where V : struct
        {
            V half = S.Multiply(x, S.Broadcast(0.5f));
            return S.MultiplyAdd(half, Tangent<S, V>(x), half);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Tangent<S, V>(V x) where S : struct, ISimd<V> where V : struct
        {
            V cube = S.Multiply(S.Multiply(x, x), x);
            return SimdMath.Tanh<S, V>(S.Multiply(S.MultiplyAdd(cube, S.Broadcast(Cubic), x), S.Broadcast(Slope)));
        }
    }

    /// <summary>dy · gelu′(x), gelu′ = (1 + t)/2 + x/2 · (1 − t²) · √(2/π) · (1 + 3 · 0.044715 x²).</summary>
    private readonly struct GeluGradFormula : IFormula
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Apply<S, V>(V x, V dy) where S : struct, ISimd<V> where V : struct
        {
            V one = S.Broadcast(1f), half = S.Broadcast(0.5f);
            V t = GeluFormula.Tangent<S, V>(x);
            V inner = S.MultiplyAdd(
                S.Multiply(x, x), S.Broadcast(3 * GeluFormula.Cubic * GeluFormula.Slope), S.Broadcast(GeluFormula.Slope));
            V slope = S.Multiply(S.Subtract(one, S.Multiply(t, t)), S.Multiply(S.Multiply(x, half), inner));
            return S.Multiply(dy, S.MultiplyAdd(half, S.Add(one, t), slope));
        }
    }

    /// <summary>gelu(x) = x/2 · (1 + e), e = erf(x/√2).</summary>
    private readonly struct GeluErfFormula : IFormula
    {
        public const float Narrowed = 0.70710678f;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Apply<S, V>(V x, V unused) where S : struct, ISimd<V> where V : struct
        {
            V half = S.Multiply(x, S.Broadcast(0.5f));
            return S.MultiplyAdd(half, SimdMath.Erf<S, V>(S.Multiply(x, S.Broadcast(Narrowed))), half);
        }
    }

    /// <summary>dy · gelu′(x), gelu′ = (1 + e)/2 + x · exp(−x²/2) / √(2π).</summary>
    private readonly struct GeluErfGradFormula : IFormula
    {
        private const float Density = 0.39894228f;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Apply<S, V>(V x, V dy) where S : struct, ISimd<V> where V : struct
        {
            V half = S.Broadcast(0.5f);
            V e = SimdMath.Erf<S, V>(S.Multiply(x, S.Broadcast(GeluErfFormula.Narrowed)));
            V density = S.Multiply(SimdMath.Exp<S, V>(S.Multiply(S.Multiply(x, x), S.Broadcast(-0.5f))), S.Broadcast(Density));
            return S.Multiply(dy, S.MultiplyAdd(x, density, S.MultiplyAdd(half, e, half)));
        }
    }
}
