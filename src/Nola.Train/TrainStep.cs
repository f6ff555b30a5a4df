using Nola.Autograd;
using Nola.Models;
using Nola.Tensors;

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
    /// <returns>Number of tokens that were read.</returns>
    public static long Gradients(StepWork work)
    {
        long tokens = 0;
        foreach (TokenStream stream in work.Streams)
        {
            if (stream.Targets.Length == 0) continue;
            using StreamTensors batch = new(work.Model.Device, stream);
            using Tape tape = new(work.Model.Device, record: true, work.Options.CheckpointBlocks);
            Variable y = work.Model.Loss(tape, batch, work.Options.LabelSmoothing, 1f / work.Positions);
            work.Meter.Add(y.Value);
            tape.Backward(y);
            tokens += stream.Length;
        }
        if (work.Positions == 0) work.Meter.AddNothing();
        work.Adapter?.CollectGradients();
        return tokens;
    }

    /// <summary>
    /// The same for many adapters of one form on one model, whose streams are read together. What is put into the parameters and the
    /// meter of one is, on the CPU to the bit, what it is alone.
    /// </summary>
    /// <param name="model">What predicts.</param>
    /// <param name="works">What each adapter learns.</param>
    /// <param name="batchTokens">Most tokens that are read at once; a longer stream is read by itself.</param>
    /// <returns>Number of tokens that were read, for each adapter.</returns>
    public static long[] GradientsTogether(LanguageModel model, IReadOnlyList<StepWork> works, int batchTokens)
    {
        long[] tokens = new long[works.Count];
        List<Part> batch = [];
        // The streams of an adapter are read one after the other, as alone, since their gradients are added up.
        for (int round = 0; round < works.Max(work => work.Streams.Count); round++)
        {
            for (int i = 0; i < works.Count; i++)
            {
                if (round >= works[i].Streams.Count || works[i].Streams[round] is not { Targets.Length: > 0 } stream) continue;
                if (batch.Sum(part => part.Stream.Length) + stream.Length > batchTokens) Flush();
                batch.Add(new(works[i], stream));
                tokens[i] += stream.Length;
            }
            Flush();
        }
        foreach (StepWork work in works.Where(work => work.Positions == 0)) work.Meter.AddNothing();
        TrainableAdapter.CollectTogether([.. works.Select(work => work.Adapter!)]);
        return tokens;

        void Flush()
        {
            if (batch.Count > 0) Backward(model, batch);
            batch.Clear();
        }
    }

    private static void Backward(LanguageModel model, IReadOnlyList<Part> parts)
    {
        Device device = model.Device;
        using Tape tape = new(device, record: true, parts[0].Work.Options.CheckpointBlocks);
        using StreamTensors whole = new(device, TokenStreams.Join(parts.Select(part => part.Stream)));
        Variable hidden = model.Hidden(tape, whole);                                      // (N, C)
        List<IDisposable> used = [];
        List<(Variable, Tensor)> roots = [];
        try
        {
            int first = 0;
            foreach ((StepWork work, TokenStream stream) in parts)
            {
                int start = first;
                StreamTensors own = new(device, stream);
                used.Add(own);
                Tensor rows = device.From([.. stream.LossPositions.Select(position => position + start)]), one = device.Empty([]);
                used.AddRange([rows, one]);
                device.Fill(one, 1);
                Variable y = model.Loss(hidden, rows, own, work.Options.LabelSmoothing, 1f / work.Positions);
                work.Meter.Add(y.Value);
                roots.Add((y, one));
                first += stream.Length;
            }
            tape.Backward([.. roots]);
        }
        finally
        {
            foreach (IDisposable tensor in used) tensor.Dispose();
        }
    }

    /// <summary>A stream, and whose it is.</summary>
    private sealed record Part(StepWork Work, TokenStream Stream);
}

/// <summary>What one step of training has to do.</summary>
/// <param name="Model">What predicts.</param>
/// <param name="Adapter">What is trained, which the streams name; null when the model's weights are.</param>
/// <param name="Streams">The batches of the step.</param>
/// <param name="Options">Label smoothing, and whether blocks are computed again.</param>
/// <param name="Meter">Receives the loss.</param>
internal sealed record StepWork(
    IModel Model, TrainableAdapter? Adapter, IReadOnlyList<TokenStream> Streams, TrainOptions Options, StepMeter Meter)
{
    /// <summary>Loss positions that the mean is over: those of all streams, or of more where others read the rest.</summary>
    public int Positions { get; init; } = Streams.Sum(stream => stream.Targets.Length);
}
