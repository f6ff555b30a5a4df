using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// Trains adapters of one form for many tasks beside one model. Each task is a run of a <see cref="Trainer"/> with its own data, steps,
/// validation, early stop and directory; but their batches are read in one pass of the model, and what their adapters have in common,
/// such as NOLA's random bases, is made once for all. What a task gives does not depend on which others run beside it: on the CPU it is,
/// to the bit, what the trainer gives for it alone.
/// </summary>
public sealed class TaskTrainer
{
    private readonly LanguageModel model;
    private readonly AdapterOptions adapter;
    private readonly TrainOptions options;

    /// <summary>Prepares the runs.</summary>
    /// <param name="model">A frozen model.</param>
    /// <param name="adapter">Method and settings of all adapters.</param>
    /// <param name="options">Settings of all runs.</param>
    /// <exception cref="NolaException">A setting is out of range, or the model's own weights are trained.</exception>
    public TaskTrainer(LanguageModel model, AdapterOptions adapter, TrainOptions? options = null)
    {
        (this.model, this.adapter, this.options) = (model, adapter, options ?? new());
        this.options.Validate();
        if (model.Trainable) throw new NolaException("TaskTrainer: the model's weights are trained; load it frozen to train adapters.");
    }

    /// <summary>Most tasks that run at once.</summary>
    /// <exception cref="NolaException">It is out of range.</exception>
    public int Together
    {
        get;
        init => field = value is >= 1 and <= 10_000 ? value : throw new NolaException($"Together is {value}; expected 1 to 10000.");
    } = 64;

    /// <summary>Most tokens of all tasks in a pass of the model; a larger batch of a single task is read by itself.</summary>
    /// <exception cref="NolaException">It is out of range.</exception>
    public int JointTokens
    {
        get;
        init => field = value >= 1 ? value : throw new NolaException($"JointTokens is {value}; expected 1 or more.");
    } = 4096;

    /// <summary>
    /// Trains all tasks, in their order as far as they do not fit together. A task that fails, for example since its data cannot be
    /// read, does not stop the others.
    /// </summary>
    /// <param name="tasks">The tasks.</param>
    /// <param name="resume">Whether those whose directory has a checkpoint go on from it.</param>
    /// <param name="onEnd">Told each result as soon as it is there, with the adapter, which is disposed afterwards.</param>
    /// <param name="cancel">Stops all after the current step, with their last checkpoints written.</param>
    /// <returns>The results, in the order of the tasks; of those that had not begun when it was canceled there is none.</returns>
    public IReadOnlyList<TaskResult> Run(
        IReadOnlyList<TrainTask> tasks, bool resume = false, Action<TaskResult, TrainableAdapter?>? onEnd = null,
        CancellationToken cancel = default)
    {
        TaskResult?[] results = new TaskResult?[tasks.Count];
        using JointSteps steps = new(model, JointTokens);
        steps.Run(Together, tasks.Select(Work));
        return [.. results.OfType<TaskResult>()];

        Action<ITrainDriver> Work(TrainTask task, int i) => driver => results[i] = Train(task, driver, resume, onEnd, cancel);
    }

    private TaskResult? Train(
        TrainTask task, ITrainDriver driver, bool resume, Action<TaskResult, TrainableAdapter?>? onEnd, CancellationToken cancel)
    {
        if (cancel.IsCancellationRequested) return null;
        TrainableAdapter? trained = null;
        try
        {
            (EncodedPair[] training, EncodedPair[] validation) = task.Read();
            driver.Do(() => trained = model.NewAdapter(adapter));
            TaskResult result = new(task, Run(task, trained!, training, validation, driver, resume, cancel), null);
            onEnd?.Invoke(result, trained);
            return result;
        }
        catch (Exception error) when (error is NolaException or OutOfMemoryException)
        {
            NolaException said = error as NolaException ?? new(
                "There is not enough memory for the tasks that train together; train fewer at once, or lower batch-tokens.", error);
            TaskResult result = new(task, null, said);
            onEnd?.Invoke(result, null);
            return result;
        }
        finally
        {
            trained?.Dispose();
        }
    }

    private TrainResult Run(
        TrainTask task, TrainableAdapter trained, EncodedPair[] training, EncodedPair[] validation, ITrainDriver driver, bool resume,
        CancellationToken cancel)
    {
        bool goesOn = resume && task.Directory is { } path && File.Exists(Path.Combine(path, RunDirectory.LastStateName));
        using RunDirectory? run = task.Directory is null ? null : new RunDirectory(task.Directory, goesOn);
        if (run is not null) task.OnDirectory?.Invoke(run);
        Trainer trainer = new(model, trained, options, run) { Driver = driver, Source = task.Source };
        try
        {
            return trainer.Run(training, validation, goesOn, cancel);
        }
        catch (OperationCanceledException) when (trainer.Result is not null)
        {
            return trainer.Result;
        }
    }
}
