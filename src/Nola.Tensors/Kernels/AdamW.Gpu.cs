using ILGPU;

namespace Nola.Tensors;

public sealed partial class GpuDevice
{
    private protected override void AdamWCore(Tensor p, Tensor gradient, Tensor m, Tensor v, AdamWStep step, Tensor? scale)
    {
        // The bias corrections, in double: 1 − 0.999ᵗ loses half its digits in float at t = 1.
        float first = (float)(1 / (1 - Math.Pow(step.Beta1, step.Step))), second = (float)(1 / (1 - Math.Pow(step.Beta2, step.Step)));
        AdamWNumbers numbers = new()
        {
            GradientScale = step.GradientScale,
            Beta1 = step.Beta1,
            Beta2 = step.Beta2,
            Epsilon = step.Epsilon,
            Rate = first * step.LearningRate,
            Second = second,
            Keep = 1 - step.LearningRate * step.WeightDecay,
            HasScale = scale is null ? 0 : 1,
        };
        Launch(AdamWKernels.Update, Elements(p.Length), Floats(p), Floats(gradient), Floats(m), Floats(v), Floats(scale ?? p), numbers);
    }
}

/// <summary>What one update multiplies by; the same for every element.</summary>
internal struct AdamWNumbers
{
    public float GradientScale, Beta1, Beta2, Epsilon, Rate, Second, Keep;
    public int HasScale;
}

/// <summary>One pass over parameters, gradients and both moments.</summary>
internal static class AdamWKernels
{
    [Kernel(256)]
    public static void Update(
        ArrayView<float> p, ArrayView<float> gradient, ArrayView<float> m, ArrayView<float> v, ArrayView<float> scale, AdamWNumbers n)
    {
        // Not below 0, and not NaN.
        float further = n.HasScale == 0 ? 1 : scale[0];
        if (!(further >= 0)) return;
        n.GradientScale *= further;
        ArrayView<Float4> wideP = p.Cast<Float4>(), wideG = gradient.Cast<Float4>(), wideM = m.Cast<Float4>(), wideV = v.Cast<Float4>();
        int first = Grid.IdxX * Group.DimX + Group.IdxX, step = Grid.DimX * Group.DimX, whole = p.IntLength / 4;
        for (int i = first; i < whole; i += step)
        {
            Float4 g = wideG[i] * n.GradientScale;
            Float4 mean = wideM[i] * n.Beta1 + g * (1 - n.Beta1), square = wideV[i] * n.Beta2 + g * g * (1 - n.Beta2);
            wideM[i] = mean;
            wideV[i] = square;
            Float4 old = wideP[i];
            wideP[i] = Float4.Of(
                Moved(old.X, mean.X, square.X, n), Moved(old.Y, mean.Y, square.Y, n),
                Moved(old.Z, mean.Z, square.Z, n), Moved(old.W, mean.W, square.W, n));
        }
        int last = 4 * whole + first;
        if (last >= p.IntLength) return;
        float gradientOfLast = gradient[last] * n.GradientScale;
        m[last] = m[last] * n.Beta1 + gradientOfLast * (1 - n.Beta1);
        v[last] = v[last] * n.Beta2 + gradientOfLast * gradientOfLast * (1 - n.Beta2);
        p[last] = Moved(p[last], m[last], v[last], n);
    }

    private static float Moved(float p, float mean, float square, AdamWNumbers n) =>
        p * n.Keep - mean * n.Rate / (GpuIntrinsics.Sqrt(square * n.Second) + n.Epsilon);
}
