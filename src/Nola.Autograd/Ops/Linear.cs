using Nola.Tensors;

namespace Nola.Autograd;

public static partial class Ops
{
    // Up to here products of many terms in one call are faster than two calls for each.
    private const int FewRows = 16;

    /// <summary>
    /// y = x · W + bias + Σ deltas, with a frozen W. x: (…, in), W: (in, out), y: (…, out).
    /// dx = dy · Wᵀ + the deltas' part; W and bias get nothing. x is kept only when a delta needs it.
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public static Variable Linear(Variable x, FrozenMatrix w, Tensor? bias = null, params DeltaRows[] deltas) =>
        Linear(x, w, bias, null, deltas);

    /// <summary>The same with a residual (…, out) added: y = residual + x · W + bias + Σ deltas. dresidual = dy.</summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public static Variable Linear(Variable x, FrozenMatrix w, Tensor? bias, Variable? residual, params DeltaRows[] deltas)
    {
        if (HasScalings(deltas))
            return Scaled(x, w.Columns, residual, deltas, (scaled, added, others) => Linear(scaled, w, bias, added, others));
        Tape tape = x.Tape;
        Variable y = tape.New(WithColumns(x.Shape, w.Columns));
        tape.Device.MatMul(x.Value, w, bias, y.Value, 0, residual?.Value);
        Tensor?[] kept = AddDeltas(x, y, deltas);
        Variable[] inputs = residual is { } added ? [x, added] : [x];
        return tape.Record(y, [.. inputs, .. InputsOf(deltas)], Saved([], x, deltas), Extras(kept), dy =>
        {
            Tensor? dx = null;
            if (x.TakesGradient(out Tensor gradient, out float beta)) tape.Device.MatMulTransposed(dy, w, dx = gradient, beta);
            BackwardDeltas(x, deltas, kept, dy, dx);
            if (residual is { } r) tape.PassGradient(y, r);
        });
    }

    /// <summary>
    /// y = x · w + bias + Σ deltas, with a trainable w. x: (…, in), w: (in, out), bias: (out), y: (…, out).
    /// dx = dy · wᵀ + the deltas' part, dw = xᵀ · dy, dbias = column sums of dy.
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public static Variable Linear(Variable x, Variable w, Variable? bias = null, params DeltaRows[] deltas)
    {
        if (w.Shape.Rank != 2 || x.Shape[^1] != w.Shape[0] || (bias is { } b && b.Value.Length != w.Shape[1]))
        {
            throw new ShapeException(
                $"Linear: x is {x.Shape}, w {w.Shape}, bias {bias?.Shape.ToString() ?? "none"}; expected (…, in), (in, out) and (out).");
        }
        if (HasScalings(deltas)) return Scaled(x, w.Shape[1], null, deltas, (scaled, _, others) => Linear(scaled, w, bias, others));
        Tape tape = x.Tape;
        Device device = tape.Device;
        Variable y = tape.New(WithColumns(x.Shape, w.Shape[1]));
        device.MatMul(x.Value, false, w.Value, false, y.Value, 1, 0, bias?.Value);
        Tensor?[] kept = AddDeltas(x, y, deltas);
        Variable[] inputs = bias is { } given ? [x, w, given] : [x, w];
        return tape.Record(y, [.. inputs, .. InputsOf(deltas)], Saved([x, w], x, deltas), Extras(kept), dy =>
        {
            Tensor? dx = null;
            if (x.TakesGradient(out Tensor gradient, out float beta)) device.MatMul(dy, false, w.Value, true, dx = gradient, 1, beta);
            if (w.TakesGradient(out Tensor dw, out float betaW)) device.MatMul(x.Value, true, dy, false, dw, 1, betaW);
            if (bias is { } last && last.TakesGradient(out Tensor db, out float betaB)) device.ColumnSums(dy, db, betaB);
            BackwardDeltas(x, deltas, kept, dy, dx);
        });
    }

    /// <summary>y += Σ deltas, outside any step: nothing is recorded. x: (N, in), y: (N, out).</summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public static void AddTo(Tensor x, Tensor y, params DeltaRows[] deltas)
    {
        if (deltas.Length == 0) return;
        // Products of few rows go together, one call for a batch in which every sequence has its own adapter.
        List<LowRankTerm> few = [];
        foreach (DeltaRows rows in deltas)
        {
            rows.Check(x.Shape.Rows, x.Shape.Columns, y.Shape.Columns);
            (int first, int count) = rows.Within(0, x.Shape.Rows, x.Shape.Rows);
            if (count <= FewRows && rows.Delta.TermFor(first, count) is { } term)
            {
                few.Add(term);
                continue;
            }
            // The sums of a row are in the order of its deltas.
            Flush();
            rows.Delta.Forward(x.Device, rows.Of(x), rows.Of(y))?.Dispose();
        }
        Flush();

        void Flush()
        {
            x.Device.AddLowRank(x, y, few);
            few.Clear();
        }
    }

    private static Tensor?[] AddDeltas(Variable x, Variable y, DeltaRows[] deltas)
    {
        if (!x.Tape.Records)
        {
            AddTo(x.Value, y.Value, deltas);
            return [];
        }
        Tensor?[] kept = new Tensor?[deltas.Length];
        for (int i = 0; i < deltas.Length; i++)
        {
            deltas[i].Check(x.Shape.Rows, x.Shape[^1], y.Shape[^1]);
            kept[i] = deltas[i].Delta.Forward(x.Tape.Device, deltas[i].Of(x.Value), deltas[i].Of(y.Value));
        }
        return kept;
    }

    private static void BackwardDeltas(Variable x, DeltaRows[] deltas, Tensor?[] kept, Tensor dy, Tensor? dx)
    {
        for (int i = 0; i < deltas.Length; i++)
        {
            DeltaRows rows = deltas[i];
            // Where no delta reads x it may be gone, but for its shape.
            Matrix? gradient = dx is null ? default(Matrix?) : rows.Of(dx);
            rows.Delta.Backward(x.Tape.Device, rows.Of(x.Value), kept[i], rows.Of(dy), gradient, rows.TakeGradients());
        }
    }

    private static IEnumerable<Variable> InputsOf(DeltaRows[] deltas) => deltas.SelectMany(rows => rows.Delta.Inputs);

    private static Variable[] Saved(Variable[] saved, Variable x, DeltaRows[] deltas)
    {
        bool reads = saved.Length == 0 && deltas.Any(rows => rows.Delta.ReadsInput);
        return [.. saved, .. reads ? [x] : Array.Empty<Variable>(), .. InputsOf(deltas)];
    }

    private static Tensor[] Extras(Tensor?[] kept) => [.. kept.OfType<Tensor>()];
}
