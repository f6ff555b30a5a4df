using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
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
    private readonly IModel model;
    private readonly TrainableAdapter? adapter;
    private readonly TrainOptions options;
    private readonly RunDirectory? run;
    private readonly ITrainObserver[] observers;
    private RunIdentity? identity;

    /// <summary>Prepares a run.</summary>
    /// <param name="model">Frozen with an adapter, or trainable without.</param>
    /// <param name="adapter">What is trained; null for the whole model.</param>
    /// <param name="options">Settings.</param>
    /// <param name="run">Where logs and checkpoints go; null keeps nothing.</param>
    /// <param name="observers">Who is told.</param>
    /// <exception cref="NolaException">
    /// A setting is out of range, there is nothing to train, or the adapter is of another model.
    /// </exception>
    public Trainer(
        IModel model, TrainableAdapter? adapter = null, TrainOptions? options = null, RunDirectory? run = null,
        params ITrainObserver[] observers)
    {
        (this.model, this.adapter, this.options, this.run) = (model, adapter, options ?? new(), run);
        this.options.Validate();
        CheckAdapter();
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
        init => field = value is >= 0 and <= 10_000
            ? value
            : throw new NolaException($"read-every is {value}; expected 0 (chosen by the device) to 10000.");
    }

    /// <summary>Who works on the device for it.</summary>
    internal ITrainDriver Driver { get; init; } = DirectDriver.Instance;

    /// <summary>
    /// The ranks that share the work. All run the same, and agree on every decision; the first one alone has a run directory.
    /// </summary>
    internal ICollective Ranks { get; init; } = Alone.Instance;

    /// <summary>Where the run comes from, for the state that it is resumed from.</summary>
    public RunSource Source { get; init; } = new();

    /// <summary>
    /// Whether <c>Run</c> ended because a loss or the gradient was no finite number: the settings are to blame, and the same run
    /// would end the same way.
    /// </summary>
    public bool Diverged { get; private set; }

    /// <summary>What the last call of <c>Run</c> came to, also one that was canceled; null before its end.</summary>
    public TrainResult? Result { get; private set; }

    /// <summary>Trains a language model on text pairs. Afterwards the adapter holds what was trained last.</summary>
    /// <exception cref="NolaException">The data do not fit, the model reads no text, or the loss is not a number.</exception>
    /// <exception cref="OperationCanceledException">It was canceled; the last checkpoint is written.</exception>
    public TrainResult Run(TextPairs pairs, TextPairs? validation = null, CancellationToken cancel = default)
    {
        LanguageModel language = model as LanguageModel
            ?? throw new NolaException("Trainer: text pairs are given and the model is not a language model.");
        EncodedPair[] held = validation is null ? [] : PairEncoder.EncodeFor(language, validation);
        return Run(PairEncoder.EncodeFor(language, pairs), held, resume: false, cancel);
    }

    /// <summary>Trains a vision model on labeled images. Afterwards the adapter holds what was trained last.</summary>
    /// <param name="training">What to learn; its classes are those that the model was loaded for.</param>
    /// <param name="validation">What to evaluate on; null for nothing.</param>
    /// <param name="augmentation">How images are changed from epoch to epoch.</param>
    /// <param name="resume">Go on from the run directory's last checkpoint.</param>
    /// <param name="cancel">Stops after the current step, with the last checkpoint written.</param>
    /// <exception cref="NolaException">The data do not fit, the model reads no images, or the loss is not a number.</exception>
    /// <exception cref="OperationCanceledException">It was canceled; the last checkpoint is written.</exception>
    public TrainResult Run(
        ImageSet training, ImageSet? validation = null, Augmentation augmentation = Augmentation.None, bool resume = false,
        CancellationToken cancel = default)
    {
        VisionModel vision = model as VisionModel
            ?? throw new NolaException("Trainer: images are given and the model is not a vision model.");
        return Run(new ImageTrainingSet(vision, training, validation, options, augmentation), resume, cancel);
    }

    /// <summary>
    /// Trains on encoded sequences. However it ends, the adapter holds afterwards what was trained last; with validation data the run
    /// directory's best adapter may be of an earlier step.
    /// </summary>
    /// <param name="training">What to learn.</param>
    /// <param name="validation">What to evaluate on; may be empty.</param>
    /// <param name="resume">
    /// Go on from the run directory's last checkpoint. A run that asks for more steps or epochs than the one before is continued: its
    /// schedule is drawn to the new last step, and so the learning rate goes on higher than it was at the old end.
    /// </param>
    /// <param name="cancel">
    /// Stops after the current step, with the last checkpoint written;
    /// <see cref="Result"/> says how far it came.
    /// </param>
    /// <exception cref="OperationCanceledException">It was canceled.</exception>
    /// <exception cref="NolaException">
    /// The state is of another run: the message names each difference, and nothing was changed. Or the loss is not a number: the
    /// message says what to lower; the best and the last checkpoint stay as they were.
    /// </exception>
    public TrainResult Run(EncodedPair[] training, EncodedPair[] validation, bool resume = false, CancellationToken cancel = default) =>
        Run(Mixture.Of(training, validation), resume, cancel);

    /// <summary>
    /// Trains on several sources by share;
    /// validation losses are told for each, and their mean by share decides what is best.
    /// </summary>
    /// <inheritdoc cref="Run(EncodedPair[], EncodedPair[], bool, CancellationToken)"/>
    internal TrainResult Run(Mixture mixture, bool resume = false, CancellationToken cancel = default) =>
        Run(new TextSet(mixture, options), resume, cancel);

    /// <summary>Trains on anything that gives batches.</summary>
    /// <inheritdoc cref="Run(EncodedPair[], EncodedPair[], bool, CancellationToken)"/>
    internal TrainResult Run(ITrainingSet data, bool resume = false, CancellationToken cancel = default)
    {
        if (data.IsEmpty) throw new NolaException("Trainer: the data set is empty.");
        CheckAdapter();
        CheckRanks();
        CheckDirectory(resume);
        Identify(data);
        SetRates();
        using AdamW optimizer = new(adapter?.Parameters ?? [.. model.Parameters], options);
        TrainState state = resume ? Load(optimizer, data.HasValidation) : new();
        if (resume && adapter is not null) Driver.Update(adapter);
        List<int[]> epoch = data.Epoch(state.Epoch);
        if (state.Batch >= epoch.Count)
            throw new NolaException(
                $"{Name}: its 'batch' is {state.Batch} and the epoch has {epoch.Count} batches; the file is damaged, start a " +
                "new run.");
        data.Begin(state);
        using ShardedStep? shards = options.Shards > 1 ? new(model, adapter, options, Ranks) : null;
        // Epochs are packed to different numbers of batches; the run is as long as its first one said, also where it is resumed in another.
        int total = TotalSteps(state.Epoch == 0 ? epoch.Count : data.Epoch(0).Count);
        if (resume) Continue(state, total);
        state.Total = total;
        // What reading the data left behind is as large as a block of the model; the system can have it back.
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive);
        model.Device.Pool.ResetPeak();
        using StepMeter meter = new(model.Device, ReadEvery > 0 ? ReadEvery : model.Device.IsQueued ? 10 : 1);
        Stopwatch clock = new();
        long tokensBefore = state.Tokens;
        double secondsBefore = state.Seconds;
        if (state.Step == 0 && !EvaluateFirst()) throw Canceled();
        // A run that stopped early stays so until more is asked of it.
        if (resume && HasWaited(state)) return Finish(TrainOutcome.StoppedEarly);

        while (state.Step < total)
        {
            if (Ranks.Any(cancel.IsCancellationRequested)) throw Canceled();
            clock.Start();
            Step(state, optimizer, meter, data, shards, ref epoch, total);
            clock.Stop();
            bool epochEnds = state.Batch == 0 && options.EvalEvery == 0;
            bool evaluates = epochEnds || state.Step == total || (options.EvalEvery > 0 && state.Step % options.EvalEvery == 0);
            bool saves = state.Step % options.CheckpointEvery == 0;
            if (meter.IsFull || evaluates || saves) Read();
            if (evaluates) Evaluate(state, data, optimizer);
            if (saves) Save(state, optimizer);
            if (HasWaited(state)) return Finish(TrainOutcome.StoppedEarly);
        }
        return Finish(TrainOutcome.Finished);

        // The evaluation before the first step can be given up: a resumed run makes it again.
        bool EvaluateFirst()
        {
            try
            {
                Evaluate(state, data, optimizer, cancel);
                return true;
            }
            catch (OperationCanceledException)
            {
                return false;
            }
        }

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

        OperationCanceledException Canceled()
        {
            Finish(TrainOutcome.Interrupted);
            return new OperationCanceledException($"The run was canceled after step {state.Step}.", cancel);
        }

        TrainResult Finish(TrainOutcome outcome)
        {
            if (meter.Waiting > 0) Read();
            CheckFinite(state, optimizer);
            Save(state, optimizer);
            // Without validation data there is no best; and a run that only made things worse still gives what it learned. What may
            // lie there from an earlier run is not of this one.
            if (run is not null && (!data.HasValidation || state.BestStep == 0 || !run.HasBest)) run.SaveBest(model, adapter);
            TimeSpan elapsed = TimeSpan.FromSeconds(state.Seconds);
            return Result = new TrainResult(
                outcome, state.Step, state.FirstLoss, state.LastLoss, state.BestLoss, state.BestStep, state.Tokens, elapsed);
        }
    }

    // An adapter of another model would get no gradient, and be saved as it was.
    private void CheckAdapter()
    {
        if (adapter is null && !model.Trainable)
            throw new NolaException(
                "Trainer: the model is frozen and there is no adapter; give one, or load the model with trainable: true.");
        if (adapter is null || adapter.Model == model) return;
        throw new NolaException(
            $"Trainer: the adapter is for another model ('{adapter.Model.Source}') than the one to be trained ('{model.Source}'); " +
            "give the adapter's own model.");
    }

    // A head learns at its own rate, by the same schedule.
    private void SetRates()
    {
        if (options.HeadLearningRate == 0) return;
        foreach (Parameter parameter in adapter?.HeadParameters ?? [])
            parameter.RateFactor = options.HeadLearningRate / options.LearningRate;
    }

    // What the directory, or the state in it, is called where there is none on this rank.
    private string Name => run?.Path ?? "the run";

    private void CheckRanks()
    {
        if (adapter is not null) adapter.Shards = options.Shards;
        if (Ranks.Size > options.Shards)
            throw new NolaException(
                $"shards is {options.Shards} and there are {Ranks.Size} ranks, of which some would have nothing to do; take as many shards "
                + "as ranks, or a multiple. A run that is resumed keeps its shards, and takes as many ranks or fewer.");
    }

    private void Identify(ITrainingSet data)
    {
        if (run is null && Ranks.Size == 1) return;
        identity = RunIdentity.Of(model, adapter, options, data.Digest, data.ValidationDigest, Source);
        string[] all = Ranks.Gather(identity.Digest());
        int other = Array.FindIndex(all, digest => digest != all[0]);
        if (other < 0) return;
        RunIdentity first = RunIdentity.FromText(Ranks.Share(identity.ToText()));
        string what = Ranks.Gather(string.Join("; ", first.DifferencesTo(identity).Take(2)))[other];
        throw new NolaException($"Rank {other} has another run than rank 0: {what}. Give all ranks the same settings, model and data.");
    }

    private TrainState Load(AdamW optimizer, bool validated)
    {
        TrainState state = Ranks.Rank == 0 ? TrainState.Load(run!.LastState, optimizer, identity!, options, validated) : new();
        if (Ranks.Size > 1) state.Share(Ranks, optimizer);
        return state;
    }

    // Ranks on processors of different kinds may round differently; they would drift apart without a word.
    private void CheckAlike(TrainState state, AdamW optimizer)
    {
        if (Ranks.Size == 1) return;
        using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach ((Parameter parameter, _, _) in optimizer.States)
            hash.AppendData(MemoryMarshal.AsBytes<float>(parameter.Value.ToArray()));
        byte[][] all = Ranks.Gather(hash.GetHashAndReset());
        int other = Array.FindIndex(all, digest => !digest.AsSpan().SequenceEqual(all[0]));
        if (other < 0) return;
        throw new NolaException(
            $"Rank {other} has trained other bits than rank 0 at step {state.Step}: their processors or devices are of different kinds. "
            + "Run all ranks on machines of one kind, from the last checkpoint.");
    }

    private void CheckDirectory(bool resume)
    {
        if (resume && run is null && Ranks.Rank == 0) throw new NolaException(
            "Trainer: there is no run directory to resume from; give one that was opened to resume.");
        if (run is not null && run.Resumes != resume)
            throw new NolaException(
                $"Trainer: {run.Path} was opened " +
                $"{(resume ? "for a new run and this one is to be resumed" : "to resume its run and this one is new")}; open it as the " +
                "run needs it.");
    }

    // Looks at what was asked of the run before, says what is different, and lets the directory be changed.
    private void Continue(TrainState state, int total)
    {
        if (total < state.Step)
            throw new NolaException(
                $"{Name}: the run is at step {state.Step} already, and {total} are asked for; ask for more steps or epochs.");
        // The evaluation before the first step is made again.
        run?.Accept(state.Step == 0 ? -1 : state.Step);
        if (total == state.Total) return;
        state.Waited = 0;
        string schedule = options.Schedule.ToString().ToLowerInvariant();
        string rate = LearningRate.At(state.Step, total, options).ToString("G3", CultureInfo.InvariantCulture);
        string drawn = options.Schedule == Schedule.Constant ? ""
            : $" The {schedule} schedule is drawn to the new last step, so that the learning rate continues at {rate}.";
        Tell(o => o.OnNotice($"Continuing from step {state.Step} to step {total} (was {state.Total}).{drawn}"));
    }

    private bool HasWaited(TrainState state) => options.Patience > 0 && state.Waited >= options.Patience;

    private int TotalSteps(int batchesPerEpoch)
    {
        double most = options.MaxSteps > 0 ? options.MaxSteps : double.PositiveInfinity;
        // A product such as 1.1 · 10 is a little above what it stands for.
        double steps = options.Epochs is { } epochs ? Math.Ceiling(epochs * batchesPerEpoch / options.Accumulation * (1 - 1e-12))
            : options.MaxSteps > 0 ? most : Math.Ceiling((double)batchesPerEpoch / options.Accumulation);
        steps = Math.Max(1, Math.Min(steps, most));
        return steps <= int.MaxValue ? (int)steps
            : throw new NolaException(
                $"epochs is {options.Epochs}, which makes more than {int.MaxValue} steps of these data; lower it, or set max-steps.");
    }

    // One optimizer step. Nothing here waits for the device.
    private void Step(
        TrainState state, AdamW optimizer, StepMeter meter, ITrainingSet data, ShardedStep? shards, ref List<int[]> epoch, int total)
    {
        List<(int[] Batch, int Epoch)> batches = [];
        for (int i = 0; i < options.Accumulation; i++) batches.Add(Next(state, data, ref epoch));
        if (shards is not null) state.Tokens += shards.Gradients(data, batches, meter);
        else
        {
            TokenStream[] streams = [.. batches.Select(batch => data.Stream(batch.Batch, batch.Epoch).With(adapter))];
            if (state.Step + 1 < total) data.Prepare(epoch[state.Batch], state.Epoch);
            state.Tokens += Driver.Gradients(new(model, adapter, streams, options, meter));
        }
        float rate = LearningRate.At(state.Step, total, options);
        optimizer.Step(rate, meter.Record, meter.Waiting);
        if (adapter is not null) Driver.Update(adapter);
        state.Step++;
        double passes = state.Epoch + (double)state.Batch / epoch.Count;
        meter.End(new StepReport(state.Step, total, passes, 0, rate, 0, state.Tokens, 0, default, model.Device.Pool.PeakBytes));
    }

    private static (int[] Batch, int Epoch) Next(TrainState state, ITrainingSet data, ref List<int[]> epoch)
    {
        (int[] Batch, int Epoch) next = (epoch[state.Batch++], state.Epoch);
        data.Count(next.Batch);
        if (state.Batch == epoch.Count)
        {
            (state.Batch, state.Epoch) = (0, state.Epoch + 1);
            epoch = data.Epoch(state.Epoch);
        }
        return next;
    }

    private void Evaluate(TrainState state, ITrainingSet data, AdamW optimizer, CancellationToken cancel = default)
    {
        if (!data.HasValidation) return;
        EvalReport result = null!;
        Driver.Do(() => result = data.Evaluate(model, adapter, Ranks, cancel));
        if (!double.IsFinite(result.Loss)) throw NotFinite(state.Step, "validation loss");
        if (state.Step == 0) state.FirstLoss = result.Loss;
        state.LastLoss = result.Loss;
        // That of step 0 is the first, also where it is made again.
        bool best = state.Step == 0 || !(result.Loss >= state.BestLoss);
        if (best) (state.BestLoss, state.BestStep, state.Waited) = (result.Loss, state.Step, 0);
        else state.Waited++;
        Tell(o => o.OnEvaluation(result with { Step = state.Step, Best = best }));
        if (!best || state.Step == 0) return;
        if (run is not null)
        {
            Restore(state);
            run.SaveBest(model, adapter);
        }
        // All ranks come here, and compare what they have.
        Save(state, optimizer);
    }

    // Somebody removed the directory, or moved it away: the run goes on in a new one.
    private void Restore(TrainState state)
    {
        if (!run!.Restore()) return;
        string best = state.BestStep > 0 && state.BestStep < state.Step ? $", and the best so far, of step {state.BestStep}" : "";
        string lost = $"its log up to step {state.Step} is lost{best}";
        Tell(o => o.OnNotice($"{run.Path} was removed while the run was in it and is made again; {lost}."));
    }

    // The values that the last step made are in no loss yet.
    private void CheckFinite(TrainState state, AdamW optimizer)
    {
        Tensor[] trained = [.. optimizer.States.Select(s => s.Parameter.Value)];
        if (trained.Length == 0 || double.IsFinite(model.Device.SumSquares(trained))) return;
        throw NotFinite(state.Step, "sum of the trained values' squares");
    }

    private void Save(TrainState state, AdamW optimizer)
    {
        CheckAlike(state, optimizer);
        if (run is null) return;
        Restore(state);
        state.Save(run.LastState, optimizer, identity!);
        Tell(o => o.OnCheckpoint(run.LastState, state.Step));
    }

    private NolaException NotFinite(int step, string what)
    {
        Diverged = true;
        string kept = run is not null && File.Exists(run.LastState)
            ? $" The checkpoint in {run.Path} is from before this and is unchanged."
            : "";
        return new(
            $"The {what} is not a finite number at step {step}. Lower the learning rate (now {options.LearningRate}), "
            + $"take more warm-up steps (now {options.WarmupSteps}) or clip the gradient to a norm of 1.{kept}")
        {
            Options = [nameof(TrainOptions.LearningRate), nameof(TrainOptions.WarmupSteps), nameof(TrainOptions.ClipNorm)],
        };
    }

    private void Tell(Action<ITrainObserver> what)
    {
        foreach (ITrainObserver observer in observers) what(observer);
    }
}
