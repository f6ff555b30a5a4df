using System.Runtime.InteropServices;
using Nola.Autograd;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>A loss over a set of sequences.</summary>
/// <param name="Loss">Mean over the loss positions, in nats.</param>
/// <param name="Tokens">Number of loss positions.</param>
public readonly record struct LossResult(double Loss, long Tokens)
{
    /// <summary>e^loss.</summary>
    public double Perplexity => Math.Exp(Loss);
}

/// <summary>Scores a model on sequences, without training.</summary>
public static class Evaluation
{
    /// <summary>The mean loss of the completion's tokens.</summary>
    /// <param name="model">What predicts.</param>
    /// <param name="pairs">What to score.</param>
    /// <param name="adapter">What the sequences are read with; null for the model alone.</param>
    /// <param name="labelSmoothing">ε over the whole vocabulary.</param>
    /// <param name="batchTokens">Most tokens at once.</param>
    /// <param name="cancel">Ends it early with an <see cref="OperationCanceledException"/>.</param>
    public static LossResult Loss(
        IModel model, EncodedPair[] pairs, IAdapter? adapter = null,
        float labelSmoothing = 0, int batchTokens = 4096, CancellationToken cancel = default) =>
        Loss(model, pairs, adapter, labelSmoothing, batchTokens, Alone.Instance, cancel);

    /// <summary>The same, with the batches dealt to ranks; each gets the whole result.</summary>
    internal static LossResult Loss(
        IModel model, EncodedPair[] pairs, IAdapter? adapter, ICollective ranks, CancellationToken cancel, float labelSmoothing = 0) =>
        Loss(model, pairs, adapter, labelSmoothing, 4096, ranks, cancel);

    private static LossResult Loss(
        IModel model, EncodedPair[] pairs, IAdapter? adapter, float labelSmoothing, int batchTokens, ICollective ranks,
        CancellationToken cancel)
    {
        double sum = 0;
        long tokens = 0;
        foreach ((_, float[] losses) in Losses(model, pairs, adapter, labelSmoothing, batchTokens, ranks, cancel))
        {
            foreach (float loss in losses) sum += loss;
            tokens += losses.Length;
        }
        if (tokens == 0) throw new NolaException("Loss: there is no position whose loss counts; every sequence has fewer than two tokens.");
        return new LossResult(sum / tokens, tokens);
    }

    /// <summary>The log-probability of each sequence's completion, the sum over its tokens.</summary>
    /// <param name="model">What predicts.</param>
    /// <param name="pairs">What to score; each has a context.</param>
    /// <param name="adapter">What the sequences are read with; null for the model alone.</param>
    /// <param name="batchTokens">Most tokens at once.</param>
    /// <param name="cancel">Ends it early with an <see cref="OperationCanceledException"/>.</param>
    internal static double[] LogProbabilities(
        IModel model, EncodedPair[] pairs, IAdapter? adapter, int batchTokens, CancellationToken cancel)
    {
        double[] sums = new double[pairs.Length];
        foreach ((int[] batch, float[] losses) in Losses(model, pairs, adapter, 0, batchTokens, Alone.Instance, cancel))
        {
            int at = 0;
            foreach (int i in batch)
                for (int token = 0; token < pairs[i].Completion.Length; token++) sums[i] -= losses[at++];
        }
        return sums;
    }

    /// <summary>Of some tokens the likeliest behind each sequence, as a place among them.</summary>
    internal static int[] Likeliest(LanguageModel model, IReadOnlyList<int[]> sequences, IReadOnlyList<int> tokens, IAdapter? adapter)
    {
        List<int> ids = [], starts = [0];
        foreach (int[] sequence in sequences)
        {
            ids.AddRange(sequence);
            starts.Add(ids.Count);
        }
        // What is predicted last is what counts; the targets are not looked at.
        TokenStream stream = new([.. ids], [.. starts], [.. starts.Skip(1).Select(end => end - 1)], new int[sequences.Count]);
        using StreamTensors batch = new(model.Device, stream.With(adapter));
        using Tape tape = new(model.Device, record: false);
        using Tensor logits = model.Device.Empty([sequences.Count, model.Shape.Vocabulary]);
        Variable ends = tape.Scope(() => Ops.GatherRows(model.Hidden(tape, batch), batch.LossPositions));
        model.Head(ends, batch, StreamRows.LossPositions, logits);
        float[] values = logits.ToArray();
        return [.. Enumerable.Range(0, sequences.Count).Select(row => MultipleChoice.Best([.. tokens.Select(token => Value(row, token))]))];

        double Value(int row, int token) => values[row * model.Shape.Vocabulary + token];
    }

    private static IEnumerable<(int[] Batch, float[] Losses)> Losses(
        IModel model, EncodedPair[] pairs, IAdapter? adapter, float labelSmoothing, int batchTokens, ICollective ranks,
        CancellationToken cancel)
    {
        Batches batches = new(pairs, batchTokens, 0, 0, shuffle: false);
        List<int[]> all = batches.Epoch(0);
        byte[][] losses = ranks.Deal(all.Count, Measure, cancel);
        return all.Select((batch, i) => (batch, MemoryMarshal.Cast<byte, float>(losses[i]).ToArray())).Where(one => one.Item2.Length > 0);

        byte[] Measure(int i)
        {
            TokenStream stream = batches.Stream(all[i]).With(adapter);
            if (stream.Targets.Length == 0) return [];
            using StreamTensors tensors = new(model.Device, stream);
            using Tensor own = model.Device.Empty([stream.Targets.Length]);
            using Tape tape = new(model.Device, record: false);
            model.Loss(tape, tensors, labelSmoothing, 1, own);
            return MemoryMarshal.AsBytes<float>(own.ToArray()).ToArray();
        }
    }

    /// <summary>Evenly spaced sequences, so that a part of a sorted set stands for the whole.</summary>
    public static EncodedPair[] Sample(EncodedPair[] pairs, int count) => count <= 0 || count >= pairs.Length
        ? pairs
        : [.. Enumerable.Range(0, count).Select(i => pairs[(int)((long)i * pairs.Length / count)])];
}
