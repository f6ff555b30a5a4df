using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// Loss and gradient norm of the latest steps, which stay on the device until several steps can be read at once: a read waits
/// for everything that was queued before it. What the optimiser must know of them, it reads on the device too.
/// </summary>
internal sealed class StepMeter : IDisposable
{
    private readonly Device device;
    private readonly Tensor record, scale, zero;
    private readonly List<StepReport> waiting = [];
    private readonly int every;

    // Batches of the step that is under way.
    private int batches;

    /// <summary>Room for <paramref name="every"/> steps between two reads.</summary>
    public StepMeter(Device device, int every)
    {
        (this.device, this.every) = (device, every);
        record = device.Empty([every, 2], DType.Float64);
        (scale, zero) = (device.Empty([]), device.Zeros([]));
        device.Fill(scale, 1);
    }

    /// <summary>Steps that have not been read.</summary>
    public int Waiting => waiting.Count;

    /// <summary>Whether the next step needs a read before it.</summary>
    public bool IsFull => waiting.Count == every;

    /// <summary>Adds the loss of a batch to its step's.</summary>
    public void Add(Tensor loss) => device.AddLoss(loss, record, waiting.Count, batches++ == 0 ? 0 : 1);

    /// <summary>
    /// What the optimiser scales the step's gradients by: it clips their norm to <paramref name="limit"/>, and is NaN from the
    /// first step on whose loss or norm is not finite.
    /// </summary>
    public Tensor Clip(ReadOnlySpan<Tensor> gradients, float limit)
    {
        if (batches == 0) Add(zero);
        device.ClipScale(gradients, limit, record, waiting.Count, scale);
        return scale;
    }

    /// <summary>Ends a step; its loss and norm are put into <paramref name="report"/> when they are read.</summary>
    public void End(StepReport report)
    {
        waiting.Add(report);
        batches = 0;
    }

    /// <summary>The steps since the last read, in order.</summary>
    public StepReport[] Read()
    {
        double[] numbers = new double[2 * every];
        device.Download(record, numbers);
        StepReport[] reports = [.. waiting.Select((report, i) => report with { Loss = numbers[2 * i], GradientNorm = numbers[2 * i + 1] })];
        waiting.Clear();
        return reports;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        record.Dispose();
        scale.Dispose();
        zero.Dispose();
    }
}
