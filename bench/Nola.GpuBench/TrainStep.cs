using Nola.Autograd;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;

namespace Nola.GpuBench;

/// <summary>
/// A training step with an adapter as the trainer makes it: the batch is uploaded, factors are mixed, forward, backward, AdamW
/// with clipping; loss and norm stay on the device, and nothing waits. The learning rate is 0, so every repetition is the same step.
/// </summary>
internal sealed class TrainStep : IDisposable
{
    private readonly TrainableAdapter adapter;
    private readonly AdamW optimizer;
    private readonly Tensor record;

    private TrainStep(TrainableAdapter adapter)
    {
        this.adapter = adapter;
        optimizer = new(adapter.Parameters, new TrainOptions { LearningRate = 0 });
        record = adapter.Model.Device.Empty([1, 2], DType.Float64);
    }

    /// <summary>With LoRA on q and v.</summary>
    public static TrainStep Lora(LanguageModel model) => new(model.NewAdapter(new LoraOptions { Rank = Workload.Rank }));

    /// <summary>With NOLA on q and v.</summary>
    public static TrainStep Nola(LanguageModel model, bool perLayer) =>
        new(model.NewAdapter(new NolaOptions { Rank = Workload.Rank, Bases = Workload.Bases, PerLayer = perLayer }));

    /// <summary>The loss of the last step, after everything that was queued.</summary>
    public double Loss
    {
        get
        {
            double[] numbers = new double[2];
            record.Device.Download(record, numbers);
            return numbers[0];
        }
    }

    /// <summary>One step.</summary>
    public void Run(TokenStream stream)
    {
        IModel model = adapter.Model;
        using StreamTensors batch = new(model.Device, stream.With(adapter));
        using (Tape tape = new(model.Device))
        {
            Variable loss = model.Loss(tape, batch, 0, 1f / stream.Targets.Length);
            model.Device.AddLoss(loss.Value, record, 0, 0);
            tape.Backward(loss);
        }
        adapter.CollectGradients();
        optimizer.Step(0, record, 0);
        adapter.Update();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        optimizer.Dispose();
        record.Dispose();
        adapter.Dispose();
    }
}
