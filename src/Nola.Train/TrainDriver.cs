using Nola.Models;

namespace Nola.Train;

/// <summary>
/// Who works on the device for a <see cref="Trainer"/>. It may do the same for many trainers at once; what each gets is the same.
/// </summary>
internal interface ITrainDriver
{
    /// <summary>Puts the gradients of a step into the parameters, and the loss into the meter.</summary>
    /// <returns>Number of tokens that were read.</returns>
    long Gradients(StepWork work);

    /// <summary>Brings what is made of an adapter's parameters up to date.</summary>
    void Update(TrainableAdapter adapter);

    /// <summary>Does other work on the device, and returns when it is done.</summary>
    void Do(Action work);
}

/// <summary>Does at once what it is asked for.</summary>
internal sealed class DirectDriver : ITrainDriver
{
    public static readonly DirectDriver Instance = new();

    public long Gradients(StepWork work) => TrainStep.Gradients(work);

    public void Update(TrainableAdapter adapter) => adapter.Update();

    public void Do(Action work) => work();
}
