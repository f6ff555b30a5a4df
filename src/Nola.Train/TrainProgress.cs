namespace Nola.Train;

/// <summary>One optimizer step.</summary>
/// <param name="Step">Its number, from 1.</param>
/// <param name="TotalSteps">The last one's number.</param>
/// <param name="Epoch">Passes over the data so far.</param>
/// <param name="Loss">Training loss of the step's positions, label smoothing included.</param>
/// <param name="LearningRate">Learning rate of the step.</param>
/// <param name="GradientNorm">Before clipping.</param>
/// <param name="Tokens">Tokens since the run's start.</param>
/// <param name="TokensPerSecond">Speed of this process, evaluations not counted.</param>
/// <param name="Elapsed">Training time since the run's start.</param>
/// <param name="PeakBytes">Largest device memory in tensors.</param>
public sealed record StepReport(
    int Step, int TotalSteps, double Epoch, double Loss, float LearningRate, double GradientNorm,
    long Tokens, double TokensPerSecond, TimeSpan Elapsed, long PeakBytes);

/// <summary>One evaluation.</summary>
/// <param name="Step">Optimizer steps before it.</param>
/// <param name="Loss">Mean validation loss, without label smoothing.</param>
/// <param name="Tokens">Positions scored.</param>
/// <param name="Best">Whether it is the lowest so far.</param>
public sealed record EvalReport(int Step, double Loss, long Tokens, bool Best)
{
    /// <summary>The share of images that are told right; NaN for text.</summary>
    public double Accuracy { get; init; } = double.NaN;

    /// <summary>The sources one by one, where there are several; then the loss is their mean, weighted by their shares.</summary>
    public IReadOnlyList<SourceReport> Sources { get; init; } = [];
}

/// <summary>One of several sources at an evaluation.</summary>
/// <param name="Name">What it is called.</param>
/// <param name="Tokens">Tokens of it that were trained on so far.</param>
/// <param name="Share">Their part of all tokens that were trained on; 0 before the first step.</param>
/// <param name="Loss">Mean loss over its validation data in nats a token; NaN without such data.</param>
/// <param name="BitsPerByte">
/// The same loss in bits for each UTF-8 byte of the text,
/// which tokenizers do not change; NaN when it is unknown.
/// </param>
public sealed record SourceReport(string Name, long Tokens, double Share, double Loss, double BitsPerByte);

/// <summary>Who wants to know how a run goes on. All members have empty defaults.</summary>
public interface ITrainObserver
{
    /// <summary>After each optimizer step.</summary>
    void OnStep(StepReport report) { }

    /// <summary>After each evaluation.</summary>
    void OnEvaluation(EvalReport report) { }

    /// <summary>After a checkpoint was written.</summary>
    void OnCheckpoint(string path, int step) { }

    /// <summary>
    /// Something that the person at the keyboard should read, in a sentence: a run that is continued beyond its end, a directory that
    /// was removed.
    /// </summary>
    void OnNotice(string sentence) { }
}

/// <summary>How a run ended.</summary>
public enum TrainOutcome
{
    /// <summary>All steps are done.</summary>
    Finished,

    /// <summary>The validation loss stopped falling.</summary>
    StoppedEarly,

    /// <summary>Somebody asked it to stop; the last checkpoint is written.</summary>
    Interrupted,
}

/// <summary>What a run gave.</summary>
/// <param name="Outcome">How it ended.</param>
/// <param name="Steps">Optimizer steps since the run's start.</param>
/// <param name="FirstLoss">Validation loss before the first step; NaN without validation data.</param>
/// <param name="LastLoss">Validation loss at the end; NaN without validation data.</param>
/// <param name="BestLoss">Lowest validation loss; NaN without validation data.</param>
/// <param name="BestStep">When it was.</param>
/// <param name="Tokens">Tokens trained on.</param>
/// <param name="Elapsed">Training time.</param>
public sealed record TrainResult(
    TrainOutcome Outcome, int Steps, double FirstLoss, double LastLoss, double BestLoss, int BestStep, long Tokens, TimeSpan Elapsed);
