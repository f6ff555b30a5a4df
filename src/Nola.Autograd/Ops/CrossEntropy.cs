using Nola.Tensors;

namespace Nola.Autograd;

public static partial class Ops
{
    /// <summary>
    /// Per-row losses from logits: (1 − ε) · (lse − logits[t]) + ε · (lse − mean(logits)). logits: (P, V),
    /// targets: (P) int32, y: (P). ε is label smoothing over the whole vocabulary.
    /// dlogits = dy · (softmax − (1 − ε) · 1ₜ − ε/V).
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public static Variable CrossEntropy(Variable logits, Tensor targets, float labelSmoothing = 0)
    {
        Tape tape = logits.Tape;
        Variable y = tape.New([targets.Length]);
        tape.Device.CrossEntropy(logits.Value, targets, labelSmoothing, y.Value);
        return tape.Record(y, [logits], [logits], [], dy =>
        {
            if (!logits.TakesGradient(out Tensor dlogits, out float beta)) return;
            using Tensor unused = tape.Device.Empty(dy.Shape);
            tape.Device.CrossEntropy(logits.Value, targets, labelSmoothing, unused, dlogits, dy, beta);
        });
    }

    /// <summary>
    /// scale · Σ of the per-row losses of logits = x · W, head and loss in one, over blocks of rows: the (P, V) logits
    /// never exist at once, and x's gradient is made in the same pass. x: (P, C), W: (C, V) frozen, targets: (P) int32.
    /// </summary>
    /// <param name="x">Rows whose loss counts.</param>
    /// <param name="head">The language-model head.</param>
    /// <param name="targets">The token to be predicted for each row.</param>
    /// <param name="labelSmoothing">ε, over the whole vocabulary.</param>
    /// <param name="scale">For example 1/P for the mean.</param>
    /// <param name="losses">Receives the per-row losses when given. (P)</param>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public static Variable HeadCrossEntropy(
        Variable x, FrozenMatrix head, Tensor targets, float labelSmoothing, float scale, Tensor? losses = null)
    {
        Tape tape = x.Tape;
        Tensor? dx = tape.Records && x.NeedsGradient ? tape.Device.Empty(x.Shape) : null;
        Variable y = HeadLoss(x, head, targets, labelSmoothing, scale, losses, dx, null);
        return tape.Record(y, [x], [], dx is null ? [] : [dx], dy => AddScaled(x, dx!, dy));
    }

    /// <summary>As above, with a trainable tied head: table (V, C), W = tableᵀ; dtable = gᵀ · x.</summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public static Variable HeadCrossEntropy(
        Variable x, Variable table, Tensor targets, float labelSmoothing, float scale, Tensor? losses = null)
    {
        Tape tape = x.Tape;
        Device device = tape.Device;
        bool needed = tape.Records && (x.NeedsGradient || table.NeedsGradient);
        using FrozenMatrix head = device.Freeze(table.Value, transposed: true);
        Tensor? dx = needed ? device.Empty(x.Shape) : null;
        Tensor? dtable = needed && table.NeedsGradient ? device.Empty(table.Shape) : null;
        Variable y = HeadLoss(x, head, targets, labelSmoothing, scale, losses, dx, dtable);
        Tensor[] extras = [.. new[] { dx, dtable }.OfType<Tensor>()];
        return tape.Record(y, [x, table], [], extras, dy =>
        {
            AddScaled(x, dx!, dy);
            if (dtable is not null) AddScaled(table, dtable, dy);
        });
    }

    private static Variable HeadLoss(
        Variable x, FrozenMatrix head, Tensor targets, float labelSmoothing, float scale, Tensor? losses, Tensor? dx, Tensor? dtable)
    {
        Device device = x.Tape.Device;
        using Tensor? own = losses is null ? device.Empty([targets.Length]) : null;
        Tensor rows = losses ?? own!;
        device.HeadCrossEntropy(x.Value, head, targets, labelSmoothing, rows, dx, dtable, scale);
        Variable y = x.Tape.New([]);
        device.Sum(rows, y.Value, scale);
        return y;
    }

    private static void AddScaled(Variable x, Tensor gradient, Tensor factor)
    {
        if (x.TakesGradient(out Tensor dx, out float beta)) x.Tape.Device.Axpby(factor, gradient, beta, dx);
    }
}
