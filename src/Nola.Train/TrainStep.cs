using Nola.Autograd;
using Nola.Models;

namespace Nola.Train;

/// <summary>
/// One step of training: a pure function from parameters and streams to gradients. It decides nothing; the loop around it takes the
/// optimizer's step, evaluates, saves, stops and reports.
/// </summary>
internal static class TrainStep
{
    /// <summary>
    /// The gradient of the mean loss over all positions of some streams, which are read one after the other; it is put into the
    /// parameters, and the loss into the meter.
    /// </summary>
    /// <param name="model">What predicts.</param>
    /// <param name="adapter">What is trained, which the streams name; null when the model's weights are.</param>
    /// <param name="streams">The batches of the step.</param>
    /// <param name="options">Label smoothing, and whether blocks are computed again.</param>
    /// <param name="meter">Receives the loss.</param>
    /// <returns>Number of tokens that were read.</returns>
    public static long Gradients(
        IModel model, TrainableAdapter? adapter, IReadOnlyList<TokenStream> streams, TrainOptions options, StepMeter meter)
    {
        int positions = streams.Sum(stream => stream.Targets.Length);
        long tokens = 0;
        foreach (TokenStream stream in streams)
        {
            if (stream.Targets.Length == 0) continue;
            using StreamTensors batch = new(model.Device, stream);
            using Tape tape = new(model.Device, record: true, options.CheckpointBlocks);
            Variable y = model.Loss(tape, batch, options.LabelSmoothing, 1f / positions);
            meter.Add(y.Value);
            tape.Backward(y);
            tokens += stream.Length;
        }
        if (positions == 0) meter.AddNothing();
        adapter?.CollectGradients();
        return tokens;
    }
}
