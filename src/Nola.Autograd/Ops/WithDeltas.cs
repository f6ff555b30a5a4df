using Nola.Tensors;

namespace Nola.Autograd;

public static partial class Ops
{
    /// <summary>y = x + Σ deltas, for layers that are no products; x itself where there is no delta. x, y: (N, C). dx = dy.</summary>
    /// <param name="x">What a layer gives.</param>
    /// <param name="deltas">Deltas that do not read the layer's input, such as <see cref="AddedBias"/>.</param>
    /// <exception cref="ShapeException">A delta does not fit, or reads an input.</exception>
    public static Variable WithDeltas(Variable x, DeltaRows[] deltas)
    {
        if (deltas.Length == 0) return x;
        if (Array.Exists(deltas, rows => rows.Delta.ReadsInput))
            throw new ShapeException("WithDeltas: a delta reads the layer's input, which only a linear map gives it.");
        Tape tape = x.Tape;
        Variable y = tape.New(x.Shape);
        tape.Device.Axpby(1, x.Value, 0, y.Value);
        Tensor?[] kept = AddDeltas(x, y, deltas);
        return tape.Record(y, [x, .. InputsOf(deltas)], Saved([], x, deltas), Extras(kept), dy =>
        {
            BackwardDeltas(x, deltas, kept, dy, null);
            tape.PassGradient(y, x);
        });
    }
}
