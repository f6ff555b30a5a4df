using Nola.Tensors;

namespace Nola.Autograd;

/// <summary>
/// A named tensor that outlives steps: a weight, a bias, an adapter's coefficients. When it is trainable,
/// <see cref="Tape.Backward(Variable)"/> adds to its gradient, until <see cref="ClearGradient"/>.
/// Its owner disposes it.
/// </summary>
/// <param name="name">The checkpoint's name, for example <c>h.3.attn.c_proj.weight</c>.</param>
/// <param name="value">Its elements; the parameter takes them over.</param>
/// <param name="trainable">Whether it gets a gradient.</param>
public sealed class Parameter(string name, Tensor value, bool trainable = true) : IDisposable
{
    private Tensor? gradient;

    /// <summary>The checkpoint's name.</summary>
    public string Name => name;

    /// <summary>The elements.</summary>
    public Tensor Value => value;

    /// <summary>Dimensions of <see cref="Value"/>.</summary>
    public Shape Shape => value.Shape;

    /// <summary>Whether it gets a gradient.</summary>
    public bool Trainable { get; set; } = trainable;

    /// <summary>Whether weight decay is for it: as in GPT-2's own training, matrices decay, and norms and biases do not.</summary>
    public bool Decays { get; init; } = value.Shape.Rank > 1;

    /// <summary>What the learning rate is multiplied by for it: 1, but for a head that learns at a rate of its own.</summary>
    public float RateFactor { get; set; } = 1;

    /// <summary>Whether <see cref="Gradient"/> holds something: false until the first backward pass after a clearing.</summary>
    public bool HasGradient { get; private set; }

    /// <summary>The gradient, of the value's shape; undefined content while <see cref="HasGradient"/> is false.</summary>
    public Tensor Gradient => gradient ??= value.Device.Empty(value.Shape);

    /// <summary>Forgets the gradient: the next backward pass overwrites it. Costs nothing.</summary>
    public void ClearGradient() => HasGradient = false;

    /// <summary>Gives back the value and the gradient.</summary>
    public void Dispose()
    {
        value.Dispose();
        gradient?.Dispose();
        gradient = null;
        HasGradient = false;
    }

    /// <summary>Puts a gradient that was computed elsewhere in the place of what is held.</summary>
    internal void PutGradient(ReadOnlySpan<float> elements)
    {
        value.Device.Upload(elements, Gradient);
        HasGradient = true;
    }

    // The first writer overwrites (beta 0), later ones add (beta 1).
    internal float BetaForWriting()
    {
        float beta = HasGradient ? 1 : 0;
        HasGradient = true;
        return beta;
    }
}
