using System.Runtime.CompilerServices;

namespace Nola.Tensors;

public sealed unsafe partial class CpuDevice
{
    private protected override void AdamWCore(Tensor p, Tensor gradient, Tensor m, Tensor v, AdamWStep step, Tensor? scale)
    {
        float further = scale is null ? 1 : Floats(scale)[0];
        if (float.IsNaN(further)) return;
        step = step with { GradientScale = step.GradientScale * further };
        AdamWLoop loop = new(Floats(p), Floats(gradient), Floats(m), Floats(v), step);
        team.For(p.Length, Piece, (start, end) => Dispatch.Run(loop, start, end));
    }

    private readonly struct AdamWLoop(float* p, float* gradient, float* m, float* v, AdamWStep step) : ISimdLoop
    {
        private readonly float* p = p, gradient = gradient, m = m, v = v;

        // The bias corrections, in double: 1 − 0.999ᵗ loses half its digits in float at t = 1.
        private readonly float first = (float)(1 / (1 - Math.Pow(step.Beta1, step.Step)));
        private readonly float second = (float)(1 / (1 - Math.Pow(step.Beta2, step.Step)));

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Run<S, V>(int start, int end) where S : struct, ISimd<V> where V : struct
        {
            int i = start;
            for (; i <= end - S.Width; i += S.Width) Update<S, V>(p + i, gradient + i, m + i, v + i);
            if (i == end) return;
            // The rest through padded vectors, so that it has the bits of the body.
            float* tail = stackalloc float[4 * 16];
            new Span<float>(tail, 64).Clear();
            for (int j = i; j < end; j++)
                (tail[j - i], tail[16 + j - i], tail[32 + j - i], tail[48 + j - i]) = (p[j], gradient[j], m[j], v[j]);
            Update<S, V>(tail, tail + 16, tail + 32, tail + 48);
            for (int j = i; j < end; j++) (p[j], m[j], v[j]) = (tail[j - i], tail[32 + j - i], tail[48 + j - i]);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private void Update<S, V>(float* p, float* gradient, float* m, float* v) where S : struct, ISimd<V> where V : struct
        {
            V g = S.Multiply(S.Load(gradient), S.Broadcast(step.GradientScale));
            V mean = S.MultiplyAdd(S.Load(m), S.Broadcast(step.Beta1), S.Multiply(g, S.Broadcast(1 - step.Beta1)));
            V square = S.MultiplyAdd(S.Load(v), S.Broadcast(step.Beta2), S.Multiply(S.Multiply(g, g), S.Broadcast(1 - step.Beta2)));
            S.Store(mean, m);
            S.Store(square, v);
            V root = S.Add(S.Sqrt(S.Multiply(square, S.Broadcast(second))), S.Broadcast(step.Epsilon));
            V change = S.Divide(S.Multiply(mean, S.Broadcast(first * step.LearningRate)), root);
            V decayed = S.Multiply(S.Load(p), S.Broadcast(1 - step.LearningRate * step.WeightDecay));
            S.Store(S.Subtract(decayed, change), p);
        }
    }
}
