using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>The token embedding, with what the batch's adapters add to it. Its table may be the head's too.</summary>
public sealed class TokenEmbedding : AdaptableLayer
{
    internal TokenEmbedding(string name, TokenTable table) => (Name, Table) = (name, table);

    /// <inheritdoc/>
    public override string Name { get; }

    /// <inheritdoc/>
    public override Parameter? Bias => null;

    internal TokenTable Table { get; }

    /// <summary>The head that has the same table; null where there is none.</summary>
    internal TokenHead? Tied { get; set; }

    /// <summary>The rows of the batch's tokens, and what its adapters add to them. (N, C)</summary>
    /// <param name="tape">The step.</param>
    /// <param name="batch">The token stream.</param>
    public Variable Forward(Tape tape, StreamTensors batch) => Table.Lookup(tape, batch.Ids, batch.On(this, tape));

    internal override void Merge(IEnumerable<Delta> deltas)
    {
        Tied?.Untie();
        Device device = Table.Device;
        using Tensor weight = device.From(Table.Values(), Table.Shape);           // (V, C)
        foreach (Delta delta in deltas) delta.AddTo(device, weight, null);
        Table.Replace(weight);
        IsReplaced = true;
    }

    internal override WeightDigest TableDigest() => Table.Digest();
}
