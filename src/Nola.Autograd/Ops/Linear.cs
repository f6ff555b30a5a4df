using Nola.Tensors;

namespace Nola.Autograd;

public static partial class Ops
{
    /// <summary>
    /// y = x · W + bias + Σ adapters, with a frozen W. x: (…, in), W: (in, out), y: (…, out).
    /// dx = dy · Wᵀ + the adapters' part; W and bias get nothing. x is kept only when an adapter needs it.
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public static Variable Linear(Variable x, FrozenMatrix w, Tensor? bias = null, params LowRank[] adapters) =>
        Linear(x, w, bias, null, adapters);

    /// <summary>The same with a residual (…, out) added: y = residual + x · W + bias + Σ adapters. dresidual = dy.</summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public static Variable Linear(Variable x, FrozenMatrix w, Tensor? bias, Variable? residual, params LowRank[] adapters)
    {
        Tape tape = x.Tape;
        Variable y = tape.New(WithColumns(x.Shape, w.Columns));
        tape.Device.MatMul(x.Value, w, bias, y.Value, 0, residual?.Value);
        Tensor[] u = AddAdapters(x, y, adapters);
        Variable[] inputs = residual is { } added ? [x, added] : [x];
        return tape.Record(y, Inputs(inputs, adapters), Saved(adapters.Length > 0 ? [x] : [], adapters), u, dy =>
        {
            Tensor? dx = null;
            if (x.TakesGradient(out Tensor gradient, out float beta)) tape.Device.MatMulTransposed(dy, w, dx = gradient, beta);
            for (int i = 0; i < adapters.Length; i++) adapters[i].Backward(tape.Device, x.Value, u[i], dy, dx);
            if (residual is { } r) tape.PassGradient(y, r);
        });
    }

    /// <summary>
    /// y = x · w + bias + Σ adapters, with a trainable w. x: (…, in), w: (in, out), bias: (out), y: (…, out).
    /// dx = dy · wᵀ + the adapters' part, dw = xᵀ · dy, dbias = column sums of dy.
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public static Variable Linear(Variable x, Variable w, Variable? bias = null, params LowRank[] adapters)
    {
        if (w.Shape.Rank != 2 || x.Shape[^1] != w.Shape[0] || (bias is { } b && b.Value.Length != w.Shape[1]))
            throw new ShapeException($"Linear: x is {x.Shape}, w {w.Shape}, bias {bias?.Shape.ToString() ?? "none"}; expected (…, in), (in, out) and (out).");
        Tape tape = x.Tape;
        Device device = tape.Device;
        Variable y = tape.New(WithColumns(x.Shape, w.Shape[1]));
        device.MatMul(x.Value, false, w.Value, false, y.Value, 1, 0, bias?.Value);
        Tensor[] u = AddAdapters(x, y, adapters);
        Variable[] inputs = bias is { } given ? [x, w, given] : [x, w];
        return tape.Record(y, Inputs(inputs, adapters), Saved([x, w], adapters), u, dy =>
        {
            Tensor? dx = null;
            if (x.TakesGradient(out Tensor gradient, out float beta)) device.MatMul(dy, false, w.Value, true, dx = gradient, 1, beta);
            if (w.TakesGradient(out Tensor dw, out float betaW)) device.MatMul(x.Value, true, dy, false, dw, 1, betaW);
            if (bias is { } last && last.TakesGradient(out Tensor db, out float betaB)) device.ColumnSums(dy, db, betaB);
            for (int i = 0; i < adapters.Length; i++) adapters[i].Backward(device, x.Value, u[i], dy, dx);
        });
    }

    private static Tensor[] AddAdapters(Variable x, Variable y, LowRank[] adapters)
    {
        Tensor[] u = new Tensor[adapters.Length];
        for (int i = 0; i < adapters.Length; i++)
        {
            adapters[i].Check(x.Shape[^1], y.Shape[^1]);
            u[i] = adapters[i].Forward(x.Tape.Device, x.Value, y.Value);
        }
        return u;
    }

    private static Variable[] Inputs(Variable[] inputs, LowRank[] adapters) =>
        [.. inputs, .. adapters.SelectMany(a => (Variable[])[a.A, a.B])];

    private static Variable[] Saved(Variable[] saved, LowRank[] adapters) => Inputs(saved, adapters);
}
