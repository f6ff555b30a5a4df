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

    /// <summary>
    /// y[n] = table[ids[n]] + Σ deltas of the row of the identity that ids[n] names: a trainable token embedding with what adapters
    /// add. table: (V, C), ids: (N) int32, y: (N, C). dtable[ids[n]] += dy[n].
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public static Variable Lookup(Variable table, Tensor ids, params DeltaRows[] deltas)
    {
        Tape tape = table.Tape;
        Variable y = tape.New([ids.Length, table.Shape.Columns]);
        tape.Device.GatherRows(table.Value, ids, y.Value);
        Tensor?[] kept = AddLookups(y, table.Shape.Rows, ids, deltas);
        Variable[] inputs = [.. InputsOf(deltas)];
        return tape.Record(y, [table, .. inputs], inputs, Extras(kept), dy =>
        {
            if (table.TakesPartialGradient(out Tensor dtable)) tape.Device.ScatterAddRows(dy, ids, dtable);
            BackwardLookups(tape.Device, ids, deltas, kept, dy);
        });
    }

    /// <summary>The same with a frozen Wᵀ as the table, W (C, V) being a tied head. Only the deltas get a gradient.</summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public static Variable Lookup(Tape tape, FrozenMatrix head, Tensor ids, params DeltaRows[] deltas)
    {
        Variable y = tape.New([ids.Length, head.Rows]);
        tape.Device.GatherRows(head, ids, y.Value);
        Tensor?[] kept = AddLookups(y, head.Columns, ids, deltas);
        Variable[] inputs = [.. InputsOf(deltas)];
        return tape.Record(y, inputs, inputs, Extras(kept), dy => BackwardLookups(tape.Device, ids, deltas, kept, dy));
    }

    private static Tensor?[] AddLookups(Variable y, int vocabulary, Tensor ids, DeltaRows[] deltas)
    {
        Tensor?[] kept = new Tensor?[deltas.Length];
        for (int i = 0; i < deltas.Length; i++)
        {
            deltas[i].Check(ids.Length, vocabulary, y.Shape.Columns);
            kept[i] = deltas[i].Delta.Lookup(y.Tape.Device, ids, deltas[i].First, deltas[i].Of(y.Value));
        }
        return kept;
    }

    private static void BackwardLookups(Device device, Tensor ids, DeltaRows[] deltas, Tensor?[] kept, Tensor dy)
    {
        for (int i = 0; i < deltas.Length; i++)
        {
            DeltaRows rows = deltas[i];
            rows.Delta.BackwardLookup(device, ids, rows.First, kept[i], rows.Of(dy), rows.TakeGradients());
        }
    }
}
