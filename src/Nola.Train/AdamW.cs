using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// AdamW (Loshchilov and Hutter 2019): decoupled decay, bias correction, and clipping by the norm of all gradients.
/// Owns the moments of every parameter.
/// </summary>
public sealed class AdamW : IDisposable
{
    private readonly (Parameter P, Tensor M, Tensor V)[] states;
    private readonly TrainOptions options;

    // What gradients are scaled by, on the device.
    private readonly Tensor? scale;

    /// <summary>Moments of zero for each parameter.</summary>
    public AdamW(IEnumerable<Parameter> parameters, TrainOptions options)
    {
        this.options = options;
        states = [.. parameters.Select(p => (p, p.Value.Device.Zeros(p.Shape), p.Value.Device.Zeros(p.Shape)))];
        if (states is not [var first, ..]) return;
        scale = first.P.Value.Device.Empty([]);
        scale.Device.Fill(scale, 1);
    }

    /// <summary>Updates done.</summary>
    public int Steps { get; set; }

    /// <summary>Each parameter with its first and second moment.</summary>
    public IEnumerable<(Parameter Parameter, Tensor M, Tensor V)> States => states;

    /// <summary>√ of the sum of squares of all gradients.</summary>
    public double GradientNorm() => states is [var first, ..]
        ? Math.Sqrt(first.P.Value.Device.SumSquares(Gradients()))
        : 0;

    /// <summary>One update with the gradients that the parameters hold, which are cleared.</summary>
    /// <param name="learningRate">Learning rate of this step.</param>
    /// <param name="norm">What <see cref="GradientNorm"/> gave; the gradient is scaled down when it is above the limit.</param>
    public void Step(float learningRate, double norm) =>
        Update(learningRate, options.ClipNorm > 0 && norm > options.ClipNorm ? (float)(options.ClipNorm / norm) : 1, null);

    /// <summary>
    /// The same without a wait: the norm is put into record[step] beside the loss that is there, and clipping is decided on the
    /// device. Once a loss or a norm was not finite, nothing is updated any more, see <see cref="Device.ClipScale"/>.
    /// </summary>
    /// <param name="learningRate">Learning rate of this step.</param>
    /// <param name="record">Loss and norm of steps. (n, 2) float64</param>
    /// <param name="step">Which of them is this one.</param>
    public void Step(float learningRate, Tensor record, int step)
    {
        scale?.Device.ClipScale(Gradients(), options.ClipNorm, record, step, scale);
        Update(learningRate, 1, scale);
    }

    private Tensor[] Gradients() => [.. states.Where(s => s.P.HasGradient).Select(s => s.P.Gradient)];

    private void Update(float learningRate, float ownScale, Tensor? further)
    {
        Steps++;
        foreach ((Parameter p, Tensor m, Tensor v) in states)
        {
            if (!p.HasGradient) continue;
            float decay = p.Decays ? options.WeightDecay : 0;
            p.Value.Device.AdamW(
                p.Value, p.Gradient, m, v,
                new AdamWStep(learningRate * p.RateFactor, options.Beta1, options.Beta2, options.Epsilon, decay, Steps, ownScale), further);
            p.ClearGradient();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        scale?.Dispose();
        foreach ((_, Tensor m, Tensor v) in states)
        {
            m.Dispose();
            v.Dispose();
        }
    }
}
