using Nola.Autograd;
using Nola.Models;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>A whole training step of a small model: every kernel in its place.</summary>
public sealed class GpuModelTests
{
    [Fact]
    public void A_step_with_adapters_gives_the_CPUs_loss_and_gradients()
    {
        using CpuDevice cpu = new(2);
        (float expected, float[][] gradients) = Step(cpu);
        (float loss, float[][] got) = Step(TestGpu.Device);
        Assert.Equal(expected, loss, 1e-5f);
        // Two layers of float32 sums of other orders.
        foreach ((float[] wanted, float[] gradient) in gradients.Zip(got)) OpCheck.Close(OpCheck.Wide(wanted), gradient, 1e-5);
    }

    private static (float Loss, float[][] Gradients) Step(Device device)
    {
        Random r = new(5);
        using LanguageModel model = TinyModels.Create(device);
        using TrainableAdapter adapter = model.NewAdapter(new NolaOptions
        {
            Rank = 2,
            Alpha = 2,
            Bases = 5,
            Targets = ["q", "v"],
            Seed = 3,
        });
        TinyModels.Randomize(adapter, r);
        TokenStream stream = TokenStreams.FromPairs(TinyModels.Pairs(r, 2, model.Shape.Vocabulary, 8)).With(adapter);
        using StreamTensors batch = new(device, stream);
        using Tape tape = new(device);
        Variable y = model.Loss(tape, batch, 0.1f, 1f / stream.Targets.Length);
        float loss = y.Value.Item();
        tape.Backward(y);
        adapter.CollectGradients();
        return (loss, [.. adapter.Parameters.Select(p => p.Gradient.ToArray())]);
    }
}
