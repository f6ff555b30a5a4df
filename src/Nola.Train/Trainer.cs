using System.Diagnostics;
using Nola.Autograd;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// The training loop: an adapter on a frozen model, or, without an adapter, every weight of a trainable model. With a run
/// directory it logs, keeps the best and the last checkpoint, and resumes bit for bit.
/// </summary>
public sealed class Trainer
{
    private readonly Gpt2 model;
    private readonly Adapter? adapter;
    private readonly TrainOptions options;
    private readonly RunDirectory? run;
    private readonly ITrainObserver[] observers;

    /// <summary>Prepares a run.</summary>
    /// <param name="model">Frozen with an adapter, or trainable without.</param>
    /// <param name="adapter">What is trained; null for the whole model.</param>
    /// <param name="options">Settings.</param>
    /// <param name="run">Where logs and checkpoints go; null keeps nothing.</param>
    /// <param name="observers">Who is told.</param>
    /// <exception cref="NolaException">A setting is out of range, or there is nothing to train.</exception>
    public Trainer(Gpt2 model, Adapter? adapter = null, TrainOptions? options = null, RunDirectory? run = null, params ITrainObserver[] observers)
    {
        (this.model, this.adapter, this.options, this.run) = (model, adapter, options ?? new(), run);
        this.options.Validate();
        if (adapter is null && !model.Trainable)
            throw new NolaException("Trainer: the model is frozen and there is no adapter; attach one, or load the model with trainable: true.");
        this.observers = run is null ? observers : [run.Log, .. observers];
    }

    /// <summary>
    /// Steps between two reads of losses from the device, at most; they are read before each evaluation and each checkpoint
    /// besides. A read waits for everything that is queued. 0, the default: every step where reading costs nothing, as on
    /// the CPU, else 10. Observers are told of steps when they are read; what is trained is the same.
    /// </summary>
    /// <exception cref="NolaException">It is out of range.</exception>
    public int ReadEvery
    {
        get;
        init => field = value is >= 0 and <= 10_000 ? value : throw new NolaException($"read-every is {value}; expected 0 (chosen by the device) to 10000.");
    }

    /// <summary>
    /// Whether <c>Run</c> ended because a loss or the gradient was no finite number: the settings are to blame, and the same run
    /// would end the same way.
    /// </summary>
    public bool Diverged { get; private set; }

    /// <summary>Trains on text pairs.</summary>
    /// <exception cref="NolaException">The data do not fit, or the loss is not a number.</exception>
    public TrainResult Run(TextPairs pairs, TextPairs? validation = null, CancellationToken cancel = default)
    {
        EncodedPair[] held = validation is null ? [] : PairEncoder.EncodeFor(model, validation);
        return Run(PairEncoder.EncodeFor(model, pairs), held, resume: false, cancel);
    }

    /// <summary>Trains on encoded sequences.</summary>
    /// <param name="training">What to learn.</param>
    /// <param name="validation">What to evaluate on; may be empty.</param>
    /// <param name="resume">Go on from the run directory's last checkpoint.</param>
    /// <param name="cancel">Stops after the current step, with the last checkpoint written.</param>
    /// <exception cref="NolaException">The loss is not a number: the message says what to lower; the best and the last checkpoint stay as they were.</exception>
    public TrainResult Run(EncodedPair[] training, EncodedPair[] validation, bool resume = false, CancellationToken cancel = default)
    {
        if (training.Length == 0) throw new NolaException("Trainer: the data set is empty.");
        using AdamW optimizer = new(adapter?.Parameters ?? [.. model.Parameters], options);
        Batches batches = new(training, options.BatchTokens, options.BatchSize, options.Seed);
        EncodedPair[] held = Evaluation.Sample(validation, options.EvalPairs);
        TrainState state = resume ? TrainState.Load(run!.LastState, optimizer, Description) : new();
        List<int[]> epoch = batches.Epoch(state.Epoch);
        int total = TotalSteps(epoch.Count);
        if (resume) run!.Log.Resume(state.Step);
        // What reading the data left behind is as large as a block of the model; the system can have it back.
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive);
        adapter?.BeginStep();
        model.Device.Pool.ResetPeak();
        using StepMeter meter = new(model.Device, ReadEvery > 0 ? ReadEvery : model.Device.IsQueued ? 10 : 1);
        Stopwatch clock = new();
        long tokensBefore = state.Tokens;
        double secondsBefore = state.Seconds;
        if (state.Step == 0) Evaluate(state, held, optimizer);

        while (state.Step < total)
        {
            if (cancel.IsCancellationRequested) return Finish(TrainOutcome.Interrupted);
            clock.Start();
            Step(state, optimizer, meter, batches, ref epoch, total);
            clock.Stop();
            bool epochEnds = state.Batch == 0 && options.EvalEvery == 0;
            bool evaluates = epochEnds || state.Step == total || (options.EvalEvery > 0 && state.Step % options.EvalEvery == 0);
            bool saves = state.Step % options.CheckpointEvery == 0;
            if (meter.IsFull || evaluates || saves) Read();
            if (evaluates) Evaluate(state, held, optimizer);
            if (saves) Save(state, optimizer);
            if (options.Patience > 0 && state.Waited >= options.Patience) return Finish(TrainOutcome.StoppedEarly);
        }
        return Finish(TrainOutcome.Finished);

        // Nothing is saved or evaluated before the losses that led there are known to be numbers.
        void Read()
        {
            clock.Start();
            StepReport[] reports = meter.Read();
            clock.Stop();
            double from = state.Seconds, to = secondsBefore + clock.Elapsed.TotalSeconds;
            state.Seconds = to;
            for (int i = 0; i < reports.Length; i++)
            {
                StepReport report = reports[i];
                if (!double.IsFinite(report.Loss)) throw NotFinite(report.Step, "loss");
                if (!double.IsFinite(report.GradientNorm)) throw NotFinite(report.Step, "gradient");
                // Steps that are read together have equal shares of the time.
                double seconds = i == reports.Length - 1 ? to : from + (to - from) * (i + 1) / reports.Length;
                double speed = (report.Tokens - tokensBefore) / (seconds - secondsBefore);
                Tell(o => o.OnStep(report with { TokensPerSecond = speed, Elapsed = TimeSpan.FromSeconds(seconds) }));
            }
        }

        TrainResult Finish(TrainOutcome outcome)
        {
            if (meter.Waiting > 0) Read();
            Save(state, optimizer);
            // Without validation data there is no best; and a run that only made things worse still gives what it learned.
            if (run is not null && (held.Length == 0 || !run.HasBest)) run.SaveBest(model, adapter);
            return new TrainResult(outcome, state.Step, state.FirstLoss, state.LastLoss, state.BestLoss, state.BestStep, state.Tokens, TimeSpan.FromSeconds(state.Seconds));
        }
    }

    // What must be equal for a state to be of this run.
    private string Description => FormattableString.Invariant(
        $"{model.Identity} {model.Config} {adapter?.GetType().Name} r={adapter?.Rank} alpha={adapter?.Alpha} n={adapter?.ParameterCount} bits={(adapter as NolaAdapter)?.Options.QuantiseBits} {options with { CheckpointEvery = 1, CheckpointBlocks = false }}");

    private int TotalSteps(int batchesPerEpoch)
    {
        double steps = Math.Ceiling(options.Epochs * batchesPerEpoch / options.Accumulation);
        return (int)Math.Max(1, options.MaxSteps > 0 ? Math.Min(steps, options.MaxSteps) : steps);
    }

    // One optimiser step: the factors are mixed once, the batches add their gradients, and the parameters get theirs once.
    // Nothing here waits for the device.
    private void Step(TrainState state, AdamW optimizer, StepMeter meter, Batches batches, ref List<int[]> epoch, int total)
    {
        List<TokenStream> streams = [];
        for (int i = 0; i < options.Accumulation; i++) streams.Add(Next(state, batches, ref epoch));
        int positions = streams.Sum(s => s.Targets.Length);
        adapter?.BeginStep();
        foreach (TokenStream stream in streams)
        {
            if (stream.Targets.Length == 0) continue;
            using StreamTensors tensors = new(model.Device, stream);
            using Tape tape = new(model.Device, record: true, options.CheckpointBlocks);
            Variable y = model.Loss(tape, tensors, options.LabelSmoothing, 1f / positions);
            meter.Add(y.Value);
            tape.Backward(y);
            state.Tokens += stream.Length;
        }
        if (positions == 0) meter.AddNothing();
        adapter?.EndStep();
        float rate = LearningRate.At(state.Step, total, options);
        optimizer.Step(rate, meter.Record, meter.Waiting);
        state.Step++;
        double passes = state.Epoch + (double)state.Batch / epoch.Count;
        meter.End(new StepReport(state.Step, total, passes, 0, rate, 0, state.Tokens, 0, default, model.Device.Pool.PeakBytes));
    }

    private TokenStream Next(TrainState state, Batches batches, ref List<int[]> epoch)
    {
        TokenStream stream = batches.Stream(epoch[state.Batch++]);
        if (state.Batch == epoch.Count)
        {
            (state.Batch, state.Epoch) = (0, state.Epoch + 1);
            epoch = batches.Epoch(state.Epoch);
        }
        return stream;
    }

    private void Evaluate(TrainState state, EncodedPair[] held, AdamW optimizer)
    {
        if (held.Length == 0) return;
        adapter?.BeginStep();
        LossResult result = Evaluation.Loss(model, held);
        if (!double.IsFinite(result.Loss)) throw NotFinite(state.Step, "validation loss");
        if (state.Step == 0) state.FirstLoss = result.Loss;
        state.LastLoss = result.Loss;
        bool best = !(result.Loss >= state.BestLoss);
        if (best) (state.BestLoss, state.BestStep, state.Waited) = (result.Loss, state.Step, 0);
        else state.Waited++;
        Tell(o => o.OnEvaluation(new EvalReport(state.Step, result.Loss, result.Tokens, best)));
        if (!best || run is null || state.Step == 0) return;
        run.SaveBest(model, adapter);
        Save(state, optimizer);
    }

    private void Save(TrainState state, AdamW optimizer)
    {
        if (run is null) return;
        state.Save(run.LastState, optimizer, Description);
        Tell(o => o.OnCheckpoint(run.LastState, state.Step));
    }

    private NolaException NotFinite(int step, string what)
    {
        Diverged = true;
        string kept = run is not null && File.Exists(run.LastState) ? $" The checkpoint in {run.Path} is from before this and is unchanged." : "";
        return new($"The {what} is not a finite number at step {step}. Lower --lr (now {options.LearningRate}), raise --warmup (now {options.WarmupSteps}) or set --clip 1.{kept}");
    }

    private void Tell(Action<ITrainObserver> what)
    {
        foreach (ITrainObserver observer in observers) what(observer);
    }
}
