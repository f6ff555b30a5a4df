namespace Nola.Tensors;

/// <summary>
/// What a training step leaves on its device until somebody reads it: a record of (loss, norm of the gradients) for each
/// of a few steps, in double precision, and the factor by which the optimizer scales its gradients.
/// </summary>
public abstract partial class Device
{
    /// <summary>record[step].loss = loss + beta · record[step].loss. loss: one element; record: (n, 2) float64; beta 0 or 1.</summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public void AddLoss(Tensor loss, Tensor record, int step, float beta)
    {
        CheckRecord(nameof(AddLoss), record, step);
        if (loss.Length != 1) throw new ShapeException($"AddLoss: loss is {loss.Shape}; expected one element.");
        CheckBeta(nameof(AddLoss), beta);
        AddLossCore(loss, record, step, beta);
    }

    /// <summary>
    /// Clipping by the norm of all gradients together: norm = √Σ g² in double precision, record[step].norm = norm, and scale
    /// = limit / norm where norm is above a limit that is not 0, else 1. When the norm or record[step].loss is not finite,
    /// scale becomes NaN, and it stays NaN in every later call: nothing is updated from then on, however late the host learns
    /// of it. record: (n, 2) float64; scale: one element, 1 at first.
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public void ClipScale(ReadOnlySpan<Tensor> gradients, float limit, Tensor record, int step, Tensor scale)
    {
        CheckRecord(nameof(ClipScale), record, step);
        if (scale.Length != 1) throw new ShapeException($"ClipScale: scale is {scale.Shape}; expected one element.");
        ClipScaleCore(gradients, limit, record, step, scale);
    }

    private protected abstract void AddLossCore(Tensor loss, Tensor record, int step, float beta);

    private protected abstract void ClipScaleCore(ReadOnlySpan<Tensor> gradients, float limit, Tensor record, int step, Tensor scale);

    private static void CheckRecord(string call, Tensor record, int step)
    {
        if (record.Shape.Rank != 2 || record.Shape[1] != 2 || step < 0 || step >= record.Shape[0])
            throw new ShapeException($"{call}: step {step} of a record {record.Shape}; expected (n, 2) and a step below n.");
    }
}
