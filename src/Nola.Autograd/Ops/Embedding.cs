using Nola.Tensors;

namespace Nola.Autograd;

public static partial class Ops
{
    /// <summary>y[n] = table[indices[n]]. table: (V, C), indices: (N) int32, y: (N, C). dtable[indices[n]] += dy[n].
    /// Token and position embeddings, and the rows whose loss counts.</summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public static Variable GatherRows(Variable table, Tensor indices)
    {
        Tape tape = table.Tape;
        Variable y = tape.New([indices.Length, table.Shape.Columns]);
        tape.Device.GatherRows(table.Value, indices, y.Value);
        return tape.Record(y, [table], [], [], dy =>
        {
            if (table.TakesPartialGradient(out Tensor dtable)) tape.Device.ScatterAddRows(dy, indices, dtable);
        });
    }

    /// <summary>y[n] = Wᵀ[indices[n]] of a frozen W (C, V): the token embedding out of the tied head. y: (N, C). No gradient.</summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public static Variable GatherRows(Tape tape, FrozenMatrix head, Tensor indices)
    {
        Variable y = tape.New([indices.Length, head.Rows]);
        tape.Device.GatherRows(head, indices, y.Value);
        return y;
    }
}
