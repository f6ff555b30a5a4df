using Nola.Tensors;

namespace Nola.Autograd;

/// <summary>A value on a tape: two words. Results join the tape of their inputs.</summary>
public readonly struct Variable
{
    internal Variable(Tape tape, int index)
    {
        Tape = tape;
        Index = index;
    }

    /// <summary>The tape that owns the value.</summary>
    public Tape Tape { get; }

    /// <summary>The elements. Written once; gone when the tape has released them.</summary>
    public Tensor Value => Tape.ValueOf(Index);

    /// <summary>Dimensions of <see cref="Value"/>.</summary>
    public Shape Shape => Value.Shape;

    /// <summary>Whether a gradient will flow here.</summary>
    public bool NeedsGradient => Tape.NeedsGradient(Index);

    internal int Index { get; }

    /// <summary>a + b, element by element.</summary>
    public static Variable operator +(Variable a, Variable b) => Ops.Add(a, b);

    /// <summary>a · b, element by element.</summary>
    public static Variable operator *(Variable a, Variable b) => Ops.Multiply(a, b);

    /// <summary>s · a.</summary>
    public static Variable operator *(float s, Variable a) => Ops.Scale(a, s);

    /// <summary>
    /// For a gradient rule: where to write this variable's gradient, and whether to overwrite it (beta 0, the first
    /// writer) or add to it (beta 1). False when no gradient is wanted.
    /// </summary>
    public bool TakesGradient(out Tensor gradient, out float beta) => Tape.TakesGradient(Index, out gradient, out beta);

    /// <summary>For rules that write only a part: the gradient, zero where nothing has been written, to be added to.</summary>
    public bool TakesPartialGradient(out Tensor gradient)
    {
        if (!TakesGradient(out gradient, out float beta)) return false;
        if (beta == 0) gradient.Device.Fill(gradient, 0);
        return true;
    }
}
