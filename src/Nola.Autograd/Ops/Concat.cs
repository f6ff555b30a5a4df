using Nola.Tensors;

namespace Nola.Autograd;

public static partial class Ops
{
    /// <summary>The columns of a and then those of b. a: (N, A), b: (N, B), y: (N, A + B). da and db are their columns of dy.</summary>
    /// <exception cref="ShapeException">They are not two matrices with the same number of rows.</exception>
    public static Variable Concat(Variable a, Variable b)
    {
        if (a.Shape.Rank != 2 || b.Shape.Rank != 2 || a.Shape[0] != b.Shape[0])
            throw new ShapeException($"Concat: a is {a.Shape} and b {b.Shape}; expected two matrices with the same number of rows.");
        Tape tape = a.Tape;
        Device device = tape.Device;
        int left = a.Shape[1], right = b.Shape[1];
        Variable y = tape.New([a.Shape[0], left + right]);
        device.CopyColumns(a.Value, ((Matrix)y.Value).SliceColumns(0, left));
        device.CopyColumns(b.Value, ((Matrix)y.Value).SliceColumns(left, right));
        return tape.Record(y, [a, b], [], [], dy =>
        {
            Give(a, dy, (from, to) => device.CopyColumns(((Matrix)from).SliceColumns(0, left), to));
            Give(b, dy, (from, to) => device.CopyColumns(((Matrix)from).SliceColumns(left, right), to));
        });
    }
}
