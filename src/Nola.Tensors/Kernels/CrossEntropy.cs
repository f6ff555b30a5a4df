namespace Nola.Tensors;

public abstract partial class Device
{
    /// <summary>
    /// Language-model head and cross-entropy in one, over blocks of rows, so that the (P, V) logits never exist at once.
    /// logits = x · W; losses[p] = (1 − ε) · (lse − logits[t]) + ε · (lse − mean(logits)), t = targets[p], ε = label
    /// smoothing over the whole vocabulary. When dx is given, with g = scale · (softmax − (1 − ε) · 1ₜ − ε/V):
    /// dx = g · Wᵀ; and when dhead is given too, dhead = gᵀ · x + betaHead · dhead.
    /// x, dx: (P, C); head W: (C, V); targets: (P) int32; losses: (P); dhead: (V, C). What else the logits are made of,
    /// <paramref name="deltas"/> adds to each block, and gets the block's gradient g after dx has its own part of it.
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public void HeadCrossEntropy(
        Tensor x, FrozenMatrix head, Tensor targets, float labelSmoothing, Tensor losses,
        Tensor? dx = null, Tensor? dhead = null, float scale = 1, float betaHead = 0, ILogitDeltas? deltas = null)
    {
        int p = x.Shape.Rows;
        if (x.Shape.Columns != head.Rows || targets.Length != p || losses.Length != p || (dx is not null && dx.Length != x.Length)
            || (dhead is not null && (dhead.Shape.Rows != head.Columns || dhead.Shape.Columns != head.Rows)))
            throw new ShapeException($"HeadCrossEntropy: x is {x.Shape}, the head ({head.Rows}, {head.Columns}), "
                + $"targets {targets.Shape}, losses {losses.Shape}; expected (P, C), (C, V), (P), (P).");
        if (dhead is not null && dx is null) throw new ArgumentException("HeadCrossEntropy: dhead is given without dx; give both.");
        CheckBeta(nameof(HeadCrossEntropy), betaHead);
        HeadCrossEntropyCore(x, head, targets, labelSmoothing, losses, dx, dhead, scale, betaHead, deltas);
    }

    /// <summary>
    /// Softmax cross-entropy from logits that exist: losses as in <see cref="HeadCrossEntropy"/>; when dlogits is given,
    /// dlogits[p] = scales[p] · (softmax − (1 − ε) · 1ₜ − ε/V) + beta · dlogits[p]. logits, dlogits: (P, V); scales: (P).
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public void CrossEntropy(
        Tensor logits, Tensor targets, float labelSmoothing, Tensor losses, Tensor? dlogits = null, Tensor? scales = null, float beta = 0)
    {
        int p = logits.Shape.Rows;
        if (targets.Length != p || losses.Length != p || (dlogits is null) != (scales is null)
            || (dlogits is not null && dlogits.Length != logits.Length) || (scales is not null && scales.Length != p))
            throw new ShapeException($"CrossEntropy: logits {logits.Shape}, targets {targets.Shape}, losses {losses.Shape}; "
                + "expected (P, V), (P), (P), and dlogits (P, V) with scales (P) or neither.");
        CheckBeta(nameof(CrossEntropy), beta);
        CrossEntropyCore(logits, targets, labelSmoothing, losses, dlogits, scales, beta);
    }

    private protected abstract void HeadCrossEntropyCore(
        Tensor x, FrozenMatrix head, Tensor targets, float labelSmoothing,
        Tensor losses, Tensor? dx, Tensor? dhead, float scale, float betaHead, ILogitDeltas? deltas);

    private protected abstract void CrossEntropyCore(
        Tensor logits, Tensor targets, float labelSmoothing, Tensor losses, Tensor? dlogits, Tensor? scales, float beta);
}

/// <summary>What is added to a head's logits, block by block of rows, and takes their gradients.</summary>
public interface ILogitDeltas
{
    /// <summary>Adds to some rows of logits.</summary>
    /// <param name="logits">Of rows from <paramref name="first"/> on. (n, V)</param>
    /// <param name="first">The row of x that row 0 belongs to.</param>
    void AddTo(Matrix logits, int first);

    /// <summary>Takes the gradient of the rows that it was last given, before another block.</summary>
    /// <param name="gradient">Of the logits. (n, V)</param>
    /// <param name="first">The row of x that row 0 belongs to.</param>
    void Backward(Matrix gradient, int first);
}
