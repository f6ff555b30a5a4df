using Nola.Models;

namespace Nola.Train;

/// <summary>
/// What a trainer learns from, text or images: batches of each epoch, and what the model is evaluated on. What an epoch holds, and each
/// batch of it, is a pure function of the seed and the epoch, so that (epoch, batch) is all that resuming needs.
/// </summary>
internal interface ITrainingSet
{
    /// <summary>Whether there is nothing to learn.</summary>
    bool IsEmpty { get; }

    /// <summary>A digest of all that is learned from.</summary>
    string Digest { get; }

    /// <summary>A digest of all that is evaluated on.</summary>
    string ValidationDigest { get; }

    /// <summary>Whether there is something to evaluate on.</summary>
    bool HasValidation { get; }

    /// <summary>The batches of an epoch, each as indices of what is learned from.</summary>
    List<int[]> Epoch(int epoch);

    /// <summary>A batch of an epoch, to be read by the model.</summary>
    TokenStream Stream(int[] batch, int epoch);

    /// <summary>How many positions of a batch count in the loss.</summary>
    int Positions(int[] batch);

    /// <summary>Says which batch will be asked for next, so that it can be made while the present one is computed.</summary>
    void Prepare(int[] batch, int epoch) { }

    /// <summary>Says what was read up to a state that a run goes on from; once, before anything is counted.</summary>
    void Begin(TrainState state) { }

    /// <summary>Says that a batch is read.</summary>
    void Count(int[] batch) { }

    /// <summary>
    /// The mean loss over what is evaluated on, with the parts of it where there are several. The ranks share the work, and each gets the
    /// same result.
    /// </summary>
    EvalReport Evaluate(IModel model, IAdapter? adapter, ICollective ranks, CancellationToken cancel);
}
