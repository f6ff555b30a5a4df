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
        float labelSmoothing = 0, int batchTokens = 4096, CancellationToken cancel = default)
    {
        Batches batches = new(pairs, batchTokens, 0, 0, shuffle: false);
        double sum = 0;
        long tokens = 0;
        foreach (int[] batch in batches.Epoch(0))
        {
            cancel.ThrowIfCancellationRequested();
            TokenStream stream = batches.Stream(batch).With(adapter);
            if (stream.Targets.Length == 0) continue;
            using StreamTensors tensors = new(model.Device, stream);
            using Tensor losses = model.Device.Empty([stream.Targets.Length]);
            using Tape tape = new(model.Device, record: false);
            model.Loss(tape, tensors, labelSmoothing, 1, losses);
            foreach (float loss in losses.ToArray()) sum += loss;
            tokens += stream.Targets.Length;
        }
        if (tokens == 0) throw new NolaException("Loss: there is no position whose loss counts; every sequence has fewer than two tokens.");
        return new LossResult(sum / tokens, tokens);
    }

    /// <summary>Evenly spaced sequences, so that a part of a sorted set stands for the whole.</summary>
    public static EncodedPair[] Sample(EncodedPair[] pairs, int count) => count <= 0 || count >= pairs.Length
        ? pairs
        : [.. Enumerable.Range(0, count).Select(i => pairs[(int)((long)i * pairs.Length / count)])];
}
