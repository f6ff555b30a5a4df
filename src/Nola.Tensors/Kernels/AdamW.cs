namespace Nola.Tensors;

/// <summary>The numbers of one AdamW update (Loshchilov and Hutter 2019).</summary>
/// <param name="LearningRate">Step size, after the schedule.</param>
/// <param name="Beta1">Decay of the mean of gradients.</param>
/// <param name="Beta2">Decay of the mean of squared gradients.</param>
/// <param name="Epsilon">Added to the root of the corrected second moment.</param>
/// <param name="WeightDecay">Decoupled decay: the parameter shrinks by LearningRate · WeightDecay of itself.</param>
/// <param name="Step">Number of this update, from 1; for the bias corrections.</param>
/// <param name="GradientScale">The gradient is multiplied by this first (clipping).</param>
public readonly record struct AdamWStep(
    float LearningRate, float Beta1, float Beta2, float Epsilon, float WeightDecay, int Step, float GradientScale = 1);

public abstract partial class Device
{
    /// <summary>
    /// g = scale · gradient; m = β₁m + (1 − β₁)g; v = β₂v + (1 − β₂)g²;
    /// p −= lr · decay · p + lr · (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε). All tensors have p's length.
    /// With <paramref name="scale"/>, one element that <see cref="ClipScale"/> made, the gradient is multiplied by it too, and
    /// where it is NaN nothing changes.
    /// </summary>
    /// <exception cref="ShapeException">The lengths differ.</exception>
    public void AdamW(Tensor p, Tensor gradient, Tensor m, Tensor v, in AdamWStep step, Tensor? scale = null)
    {
        CheckSame(nameof(AdamW), p, gradient);
        CheckSame(nameof(AdamW), p, m);
        CheckSame(nameof(AdamW), p, v);
        if (scale is not null && scale.Length != 1) throw new ShapeException($"AdamW: scale is {scale.Shape}; expected one element.");
        AdamWCore(p, gradient, m, v, step, scale);
    }

    private protected abstract void AdamWCore(Tensor p, Tensor gradient, Tensor m, Tensor v, AdamWStep step, Tensor? scale);
}
