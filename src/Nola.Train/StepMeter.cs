using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// Loss and gradient norm of the latest steps, which stay on the device until several steps can be read at once: a read waits
/// for everything that was queued before it.
/// </summary>
internal sealed class StepMeter : IDisposable
{
    private readonly Device device;
    private readonly Tensor zero;
    private readonly List<StepReport> waiting = [];
    private readonly int every;

    // Batches of the step that is under way.
    private int batches;

    /// <summary>Room for <paramref name="every"/> steps between two reads.</summary>
    public StepMeter(Device device, int every)
    {
        (this.device, this.every) = (device, every);
        (Record, zero) = (device.Empty([every, 2], DType.Float64), device.Zeros([]));
    }

    /// <summary>Loss and norm of each step that has not been read, and of the one under way. (every, 2) float64.</summary>
    public Tensor Record { get; }

    /// <summary>Steps that have not been read; the one under way is put into the record behind them.</summary>
    public int Waiting => waiting.Count;

    /// <summary>Whether the next step needs a read before it.</summary>
    public bool IsFull => waiting.Count == every;

    /// <summary>Adds the loss of a batch to its step's.</summary>
    public void Add(Tensor loss) => device.AddLoss(loss, Record, waiting.Count, batches++ == 0 ? 0 : 1);

    /// <summary>The loss of the batches so far of the step that is under way, which begins anew.</summary>
    public double TakeLoss()
    {
        double[] numbers = new double[2 * every];
        device.Download(Record, numbers);
        batches = 0;
        return numbers[2 * waiting.Count];
    }

    /// <summary>The loss of a step without a position that counts.</summary>
    public void AddNothing() => Add(zero);

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
        device.Download(Record, numbers);
        StepReport[] reports = [.. waiting.Select((report, i) => report with { Loss = numbers[2 * i], GradientNorm = numbers[2 * i + 1] })];
        waiting.Clear();
        return reports;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Record.Dispose();
        zero.Dispose();
    }
}
