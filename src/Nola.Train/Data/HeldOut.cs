using Nola.Models;

namespace Nola.Train;

/// <summary>The validation data of a mixture, source by source.</summary>
/// <param name="mixture">Whose.</param>
/// <param name="most">Most sequences of each source, evenly spaced; 0 for all.</param>
internal sealed class HeldOut(Mixture mixture, int most)
{
    private readonly EncodedPair[][] sets = [.. mixture.Sources.Select(source => Evaluation.Sample(source.Validation, most))];

    /// <summary>Whether a source has validation data.</summary>
    public bool Exists => sets.Any(set => set.Length > 0);

    /// <summary>
    /// The mean over the positions of each source, and of these the mean by the sources' shares; of a single source it is its own.
    /// </summary>
    /// <param name="model">What predicts.</param>
    /// <param name="adapter">What the sequences are read with; null for the model alone.</param>
    /// <param name="read">What of each source was trained on.</param>
    /// <param name="ranks">Who shares the work.</param>
    /// <param name="reports">The sources one by one; empty when there is one.</param>
    /// <param name="cancel">Ends it early with an <see cref="OperationCanceledException"/>.</param>
    public LossResult Loss(
        IModel model, IAdapter? adapter, TokensRead read, ICollective ranks, out IReadOnlyList<SourceReport> reports,
        CancellationToken cancel)
    {
        LossResult[] losses = [.. sets.Select(set => set.Length == 0 ? default : Evaluation.Loss(model, set, adapter, ranks, cancel))];
        reports = losses.Length == 1 ? [] : [.. Enumerable.Range(0, losses.Length).Select(i => Report(i, losses[i], read))];
        if (losses.Length == 1) return losses[0];
        int[] held = [.. Enumerable.Range(0, losses.Length).Where(i => sets[i].Length > 0)];
        // Where all validation data are of what nothing is trained on, they count alike.
        double all = held.Sum(i => mixture.Shares[i]);
        double mean = held.Sum(i => losses[i].Loss * (all > 0 ? mixture.Shares[i] / all : 1.0 / held.Length));
        return new LossResult(mean, losses.Sum(loss => loss.Tokens));
    }

    private SourceReport Report(int i, LossResult result, TokensRead read)
    {
        TrainSource source = mixture.Sources[i];
        double nats = sets[i].Length == 0 ? double.NaN : result.Loss;
        // Bytes were counted over all of the validation data.
        bool counted = source.ValidationBytes > 0 && sets[i].Length == source.Validation.Length;
        double bits = counted ? nats * result.Tokens / Math.Log(2) / source.ValidationBytes : double.NaN;
        return new SourceReport(source.Name, read.Tokens[i], read.Share(i), nats, bits);
    }
}

/// <summary>How many tokens of each source were trained on.</summary>
internal sealed class TokensRead
{
    private readonly Mixture mixture;

    /// <summary>Those up to a state: of the epochs before, and of the batches of this one.</summary>
    public TokensRead(Mixture mixture, Batches batches, TrainState state)
    {
        this.mixture = mixture;
        Tokens = new long[mixture.Sources.Count];
        if (Tokens.Length == 1)
        {
            Tokens[0] = state.Tokens;
            return;
        }
        for (int epoch = 0; epoch < state.Epoch; epoch++)
            foreach (int sequence in mixture.Epoch(epoch)) Count(sequence);
        foreach (int[] batch in batches.Epoch(state.Epoch).Take(state.Batch)) Add(batch);
    }

    /// <summary>Of each source.</summary>
    public long[] Tokens { get; }

    /// <summary>The part of a source of all tokens that were trained on; 0 before there is one.</summary>
    public double Share(int source) => Tokens.Sum() is var all and > 0 ? (double)Tokens[source] / all : 0;

    /// <summary>Adds a batch.</summary>
    public void Add(int[] batch)
    {
        foreach (int sequence in batch) Count(sequence);
    }

    private void Count(int sequence) => Tokens[mixture.SourceOf(sequence)] += mixture.Sequences[sequence].Length - 1;
}
