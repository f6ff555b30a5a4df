using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// The language-model head, logits = x · tableᵀ, with what the batch's adapters add to it. Its table is its own, or the token
/// embedding's until an adapter on one of the two is merged.
/// </summary>
public sealed class TokenHead : AdaptableLayer
{
    private readonly Func<TokenTable>? own;
    private readonly TokenEmbedding? embedding;

    /// <summary>A head with a table of its own.</summary>
    internal TokenHead(string name, TokenTable table) => (Name, Table) = (name, table);

    /// <summary>A head that is the embedding; <paramref name="own"/> gives it a copy of the table when it must be another.</summary>
    internal TokenHead(string name, TokenEmbedding embedding, Func<TokenTable> own)
    {
        (Name, Table, this.embedding, this.own) = (name, embedding.Table, embedding, own);
        embedding.Tied = this;
    }

    /// <inheritdoc/>
    public override string Name { get; }

    /// <inheritdoc/>
    public override Parameter? Bias => null;

    internal TokenTable Table { get; private set; }

    // Of a head that is the embedding too: only the head is another then.
    internal override IReadOnlyList<HeadTensor> HeadTensors =>
        [new(Name + ".weight", [Table.Shape.Rows, Table.Shape.Columns], Table.Values)];

    /// <summary>logits = x · tableᵀ + what the batch's adapters add. For inference: nothing is recorded.</summary>
    /// <param name="x">Hidden states of some rows of the batch. (N, C)</param>
    /// <param name="batch">The token stream.</param>
    /// <param name="rows">Which rows they are.</param>
    /// <param name="logits">(N, V)</param>
    public void Logits(Variable x, StreamTensors batch, StreamRows rows, Tensor logits) =>
        Table.Logits(x.Value, logits, batch.On(this, x.Tape, rows));

    /// <summary>scale · Σ of the cross-entropy losses at the batch's loss positions, a scalar on the tape.</summary>
    /// <param name="x">Hidden states of the loss positions. (P, C)</param>
    /// <param name="batch">The token stream.</param>
    /// <param name="labelSmoothing">ε over the whole vocabulary.</param>
    /// <param name="scale">For example 1 / P.</param>
    /// <param name="losses">Receives the loss of each position when given. (P)</param>
    public Variable Loss(Variable x, StreamTensors batch, float labelSmoothing, float scale, Tensor? losses) =>
        Table.Loss(x, batch.Targets, labelSmoothing, scale, losses, batch.On(this, x.Tape, StreamRows.LossPositions));

    /// <summary>Gives a head that is the embedding a table of its own, with the same values.</summary>
    internal void Untie()
    {
        if (embedding?.Tied is null) return;
        Table = own!();
        embedding.Tied = null;
    }

    internal override void Merge(IEnumerable<Delta> deltas)
    {
        Untie();
        Device device = Table.Device;
        (int vocabulary, int channels) = (Table.Shape.Rows, Table.Shape.Columns);
        using Tensor weight = device.From(HostMatrix.Transpose(Table.Values(), vocabulary, channels), [channels, vocabulary]);
        foreach (Delta delta in deltas) delta.AddTo(device, weight, null);
        using Tensor values = device.From(HostMatrix.Transpose(weight.ToArray(), channels, vocabulary), Table.Shape);
        Table.Replace(values);
        IsReplaced = true;
    }

    internal override WeightDigest TableDigest() => Table.Digest();
}
