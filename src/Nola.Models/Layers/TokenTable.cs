using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// A row for each token of the vocabulary (V, C): the token embedding, the language-model head, or both in one when they are
/// tied. Packed and frozen, or an ordinary parameter when the whole model is trained.
/// </summary>
public sealed class TokenTable : IDisposable
{
    private readonly Device device;
    private readonly Parameter? table;                                            // (V, C)
    private FrozenMatrix? frozen;                                                 // (C, V)
    private WeightDigest? digest;

    /// <summary>A table that is trained; takes over the values.</summary>
    internal TokenTable(string name, Tensor values)
    {
        (Name, Shape, device) = (name, values.Shape, values.Device);
        table = new Parameter(name, values);
    }

    /// <summary>A frozen table; takes over the matrix (C, V).</summary>
    internal TokenTable(string name, Device device, FrozenMatrix matrix, WeightDigest? digest)
    {
        (Name, Shape, this.device) = (name, [matrix.Columns, matrix.Rows], device);
        (frozen, this.digest) = (matrix, digest);
    }

    /// <summary>The checkpoint's name, for example <c>wte.weight</c>.</summary>
    public string Name { get; }

    /// <summary>(V, C).</summary>
    public Shape Shape { get; }

    /// <summary>The values, when the model is trained.</summary>
    public Parameter? Parameter => table;

    internal Device Device => device;

    /// <summary>The rows of some tokens, with what adapters add to them. ids: (N) int32, y: (N, C).</summary>
    public Variable Lookup(Tape tape, Tensor ids, params DeltaRows[] deltas) => table is null
        ? Ops.Lookup(tape, frozen!, ids, deltas)
        : Ops.Lookup(tape.Read(table), ids, deltas);

    /// <summary>logits = x · tableᵀ + what adapters add. x: (N, C), logits: (N, V). For inference: nothing is recorded.</summary>
    public void Logits(Tensor x, Tensor logits, params DeltaRows[] deltas)
    {
        if (table is null) device.MatMul(x, frozen!, null, logits);
        else device.MatMul(x, false, table.Value, true, logits);
        Ops.AddTo(x, logits, deltas);
    }

    /// <summary>scale · Σ of the cross-entropy losses of rows. x: (P, C), targets: (P) int32.</summary>
    /// <param name="x">Hidden states of the positions whose loss counts.</param>
    /// <param name="targets">The token to be predicted at each.</param>
    /// <param name="labelSmoothing">ε over the whole vocabulary.</param>
    /// <param name="scale">For example 1 / P.</param>
    /// <param name="losses">Receives the loss of each row when given. (P)</param>
    /// <param name="deltas">What adapters add to the logits.</param>
    public Variable Loss(
        Variable x, Tensor targets, float labelSmoothing, float scale, Tensor? losses, params DeltaRows[] deltas) => table is null
        ? Ops.HeadCrossEntropy(x, frozen!, targets, labelSmoothing, scale, losses, deltas)
        : Ops.HeadCrossEntropy(x, x.Tape.Read(table), targets, labelSmoothing, scale, losses, deltas);

    /// <inheritdoc/>
    public void Dispose()
    {
        table?.Dispose();
        frozen?.Dispose();
    }

    /// <summary>table = other values, for merging an adapter; they are the caller's still. (V, C)</summary>
    internal void Replace(Tensor values)
    {
        digest = null;
        if (table is not null)
        {
            device.Axpby(1, values, 0, table.Value);
            return;
        }
        WeightFormat format = frozen!.Format;
        frozen.Dispose();
        frozen = device.Freeze(values, transposed: true, format);
    }

    /// <summary>Another table of the same values.</summary>
    internal TokenTable Copy(string name)
    {
        Tensor values = device.From(Values(), Shape);
        try
        {
            if (table is not null) return new TokenTable(name, values);
            TokenTable copy = new(name, device, device.Freeze(values, transposed: true, frozen!.Format), Digest());
            values.Dispose();
            return copy;
        }
        catch
        {
            values.Dispose();
            throw;
        }
    }

    /// <summary>The values as the checkpoint has them. (V, C)</summary>
    internal float[] Values()
    {
        if (table is not null) return table.Value.ToArray();
        using Tensor rows = device.Empty(Shape);
        device.Unpack(frozen!, rows, transposed: true);
        return rows.ToArray();
    }

    // Of the values that a frozen table was made of, before they were rounded for storage.
    internal WeightDigest Digest() => table is null ? digest ??= WeightDigest.Of(Shape, Values()) : WeightDigest.Of(Shape, Values());
}
