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
    /// <param name="deltas">What adapters add to the logits of their rows.</param>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public static Variable HeadCrossEntropy(
        Variable x, FrozenMatrix head, Tensor targets, float labelSmoothing, float scale, Tensor? losses = null,
        params DeltaRows[] deltas)
    {
        Tape tape = x.Tape;
        Tensor? dx = NeedGradient(tape, [x, .. InputsOf(deltas)]) ? tape.Device.Empty(x.Shape) : null;
        HeadDeltas? added = HeadDeltas.Of(x, head.Columns, deltas, dx);
        Variable y = HeadLoss(x, head, targets, labelSmoothing, scale, losses, dx, null, added);
        return RecordLoss(y, [(x, dx), .. added?.Gradients ?? []]);
    }

    /// <summary>As above, with a trainable tied head: table (V, C), W = tableᵀ; dtable = gᵀ · x.</summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public static Variable HeadCrossEntropy(
        Variable x, Variable table, Tensor targets, float labelSmoothing, float scale, Tensor? losses = null,
        params DeltaRows[] deltas)
    {
        Tape tape = x.Tape;
        Device device = tape.Device;
        using FrozenMatrix head = device.Freeze(table.Value, transposed: true);
        Tensor? dx = NeedGradient(tape, [x, table, .. InputsOf(deltas)]) ? device.Empty(x.Shape) : null;
        Tensor? dtable = dx is not null && table.NeedsGradient ? device.Empty(table.Shape) : null;
        HeadDeltas? added = HeadDeltas.Of(x, head.Columns, deltas, dx);
        Variable y = HeadLoss(x, head, targets, labelSmoothing, scale, losses, dx, dtable, added);
        return RecordLoss(y, [(x, dx), (table, dtable), .. added?.Gradients ?? []]);
    }

    private static Variable HeadLoss(
        Variable x, FrozenMatrix head, Tensor targets, float labelSmoothing, float scale,
        Tensor? losses, Tensor? dx, Tensor? dtable, HeadDeltas? deltas)
    {
        Device device = x.Tape.Device;
        using Tensor? own = losses is null ? device.Empty([targets.Length]) : null;
        Tensor rows = losses ?? own!;
        device.HeadCrossEntropy(x.Value, head, targets, labelSmoothing, rows, dx, dtable, scale, 0, deltas);
        Variable y = x.Tape.New([]);
        device.Sum(rows, y.Value, scale);
        return y;
    }

    private static bool NeedGradient(Tape tape, Variable[] inputs) => tape.Records && Array.Exists(inputs, input => input.NeedsGradient);

    // The gradients were made in the same pass as the loss, and wait for its own.
    private static Variable RecordLoss(Variable y, (Variable Input, Tensor? Gradient)[] made)
    {
        Tensor[] extras = [.. made.Select(part => part.Gradient).OfType<Tensor>()];
        return y.Tape.Record(y, [.. made.Select(part => part.Input)], [], extras, dy =>
        {
            foreach ((Variable input, Tensor? gradient) in made)
                if (gradient is not null && input.TakesGradient(out Tensor target, out float beta))
                    y.Tape.Device.Axpby(dy, gradient, beta, target);
        });
    }

    /// <summary>Deltas of a head's logits, whose gradients are made block by block and kept apart until the loss has its own.</summary>
    private sealed class HeadDeltas : ILogitDeltas
    {
        private readonly Device device;
        private readonly Tensor x;                                                // (P, C)
        private readonly Tensor? dx;
        private readonly DeltaRows[] deltas;
        private readonly Tensor?[][] gradients;

        // What the deltas keep of the present block.
        private readonly Tensor?[] kept;

        private HeadDeltas(Tensor x, DeltaRows[] deltas, Tensor? dx)
        {
            (device, this.x, this.dx, this.deltas) = (x.Device, x, dx, deltas);
            kept = new Tensor?[deltas.Length];
            gradients = Array.ConvertAll(deltas, rows => rows.Delta.Inputs.Select(Zeros).ToArray());
        }

        /// <summary>Each variable that a delta reads, with its gradient if it needs one.</summary>
        public IEnumerable<(Variable Input, Tensor? Gradient)> Gradients =>
            deltas.SelectMany((rows, i) => rows.Delta.Inputs.Zip(gradients[i]));

        public static HeadDeltas? Of(Variable x, int vocabulary, DeltaRows[] deltas, Tensor? dx)
        {
            foreach (DeltaRows rows in deltas) rows.Check(x.Shape.Rows, x.Shape.Columns, vocabulary);
            return deltas.Length == 0 ? null : new(x.Value, deltas, dx);
        }

        public void AddTo(Matrix logits, int first)
        {
            for (int i = 0; i < deltas.Length; i++)
            {
                (int from, int count) = deltas[i].Within(first, logits.Rows, x.Shape.Rows);
                if (count == 0) continue;
                Matrix rows = ((Matrix)x).SliceRows(from, count);
                Tensor? saved = deltas[i].Delta.Forward(device, rows, logits.SliceRows(from - first, count));
                if (dx is null) saved?.Dispose();
                else kept[i] = saved;
            }
        }

        public void Backward(Matrix gradient, int first)
        {
            for (int i = 0; i < deltas.Length; i++)
            {
                (int from, int count) = deltas[i].Within(first, gradient.Rows, x.Shape.Rows);
                if (count == 0) continue;
                Matrix rows = ((Matrix)x).SliceRows(from, count), down = ((Matrix)dx!).SliceRows(from, count);
                deltas[i].Delta.Backward(device, rows, kept[i], gradient.SliceRows(from - first, count), down, gradients[i]);
                kept[i]?.Dispose();
                kept[i] = null;
            }
        }

        private Tensor? Zeros(Variable input) => dx is not null && input.NeedsGradient ? device.Zeros(input.Shape) : null;
    }
}
