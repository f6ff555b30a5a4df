using Nola.Tensors;

namespace Nola.Autograd;

/// <summary>
/// A trained vector that multiplies what a linear map reads or gives, bias included: y = (x ∘ l) · W + b, or y = (x · W + b) ∘ l, where l
/// is row <paramref name="layer"/> of stacked ones (IA3, Liu et al. 2022). It is no sum, so that <see cref="Ops"/> applies it around the
/// product; what other deltas add to the same rows is multiplied too.
/// </summary>
/// <param name="l">Stacked vectors. (L, in) or (L, out)</param>
/// <param name="layer">Which of the L.</param>
/// <param name="ofInputs">Whether it multiplies x, and not y.</param>
/// <param name="column">First column of y that it multiplies; 0 for inputs.</param>
public sealed class Scaling(Variable l, int layer, bool ofInputs, int column = 0) : Delta
{
    /// <summary>Whether it multiplies x, and not y.</summary>
    public bool OfInputs => ofInputs;

    private int Width => l.Shape[1];

    /// <inheritdoc/>
    public override IReadOnlyList<Variable> Inputs => [l];

    /// <inheritdoc/>
    public override void Check(int inputs, int outputs)
    {
        if (l.Shape.Rank != 2 || layer < 0 || layer >= l.Shape[0] || column < 0
            || (ofInputs ? column != 0 || Width != inputs : column + Width > outputs))
        {
            throw new ShapeException(
                $"Linear: a scaling of {(ofInputs ? "inputs" : "outputs")} is {l.Shape}, layer {layer}, column {column} on a map "
                + $"({inputs}, {outputs}); expected (L, in), or (L, out) with out columns inside the map.");
        }
    }

    /// <inheritdoc/>
    public override Tensor? Forward(Device device, Matrix x, Matrix y) => throw NoSum();

    /// <inheritdoc/>
    public override void Backward(
        Device device, Matrix x, Tensor? saved, Matrix dy, Matrix? dx, IReadOnlyList<Tensor?> gradients) => throw NoSum();

    /// <summary>W's rows or columns, and the bias, are multiplied.</summary>
    public override void AddTo(Device device, Matrix weight, Tensor? bias)
    {
        Matrix window = ofInputs ? weight : weight.SliceColumns(column, Width);
        using Tensor scaled = device.Empty([window.Rows, window.Columns]);
        if (ofInputs) ScaleRows(device, window, scaled);
        else device.ScaleColumns(window, Row(l.Value), scaled);
        device.CopyColumns(scaled, window);
        if (ofInputs || bias is null) return;
        Matrix own = new(bias, 1, Width, column, bias.Length);
        using Tensor product = device.Empty([1, Width]);
        device.ScaleColumns(own, Row(l.Value), product);
        device.CopyColumns(product, own);
    }

    /// <summary>The part of some rows that it multiplies.</summary>
    internal Matrix Of(Matrix rows) => rows.SliceColumns(column, Width);

    /// <summary>to = from ∘ l. from, to: (n, width).</summary>
    internal void Multiply(Device device, Matrix from, Matrix to) => device.ScaleColumns(from, Row(l.Value), to);

    /// <summary>dl += Σ x ∘ dy. x, dy: (n, width).</summary>
    internal void AddGradient(Device device, Matrix x, Matrix dy)
    {
        if (l.TakesPartialGradient(out Tensor dl)) device.ScaleColumnsGrad(x, dy, Row(dl), 1);
    }

    // to[i, :] = from[i, :] · l[i]: from times the product of l and a row of ones.
    private void ScaleRows(Device device, Matrix from, Tensor to)
    {
        using Tensor ones = device.Empty([1, from.Columns]), spread = device.Empty(to.Shape), copy = device.Empty(to.Shape);
        device.Fill(ones, 1);
        device.MatMul(new Matrix(l.Value, from.Rows, 1, layer * Width, 1), false, ones, false, spread);
        device.CopyColumns(from, copy);
        device.Multiply(copy, spread, to);
    }

    private Matrix Row(Tensor stacked) => ((Matrix)stacked).SliceRows(layer, 1);

    private static ShapeException NoSum() =>
        new("Linear: a scaling of inputs or outputs adds nothing, and can be on no table of tokens.");
}

public static partial class Ops
{
    private static bool HasScalings(DeltaRows[] deltas) => Array.Exists(deltas, rows => rows.Delta is Scaling);

    /// <summary>
    /// A product between scalings of its inputs and of its outputs, residual + (product(x ∘ l) ∘ l′). Rows without a scaling get, to the
    /// bit, what they get without one beside them: the residual is added with the product, as ever, and of the scaled rows alone after it.
    /// </summary>
    private static Variable Scaled(
        Variable x, int outputs, Variable? residual, DeltaRows[] deltas, Func<Variable, Variable?, DeltaRows[], Variable> product)
    {
        foreach (DeltaRows rows in deltas) rows.Check(x.Shape.Rows, x.Shape[^1], outputs);
        DeltaRows[] before = [.. deltas.Where(rows => rows.Delta is Scaling { OfInputs: true })];
        DeltaRows[] after = [.. deltas.Where(rows => rows.Delta is Scaling { OfInputs: false })];
        DeltaRows[] others = [.. deltas.Where(rows => rows.Delta is not Scaling)];
        if (before.Length > 0) x = Scale(x, before);
        if (after.Length == 0) return product(x, residual, others);
        if (residual is not { } added) return Scale(product(x, null, others), after);
        (Variable here, Variable later) = Parted(added, after);
        return Scale(product(x, here, others), after) + later;
    }

    // y = x but for the windows of the scalings. dx = dy ∘ l there, and dl = Σ x ∘ dy.
    private static Variable Scale(Variable x, DeltaRows[] scalings)
    {
        Device device = x.Tape.Device;
        Variable y = x.Tape.New(x.Shape);
        Apply(x.Value, y.Value);
        return x.Tape.Record(y, [x, .. InputsOf(scalings)], [x, .. InputsOf(scalings)], [], dy =>
        {
            foreach (DeltaRows rows in scalings)
            {
                Scaling scaling = (Scaling)rows.Delta;
                scaling.AddGradient(device, scaling.Of(rows.Of(x.Value)), scaling.Of(rows.Of(dy)));
            }
            Give(x, dy, Apply);
        });

        void Apply(Tensor from, Tensor to)
        {
            device.Axpby(1, from, 0, to);
            foreach (DeltaRows rows in scalings)
            {
                Scaling scaling = (Scaling)rows.Delta;
                scaling.Multiply(device, scaling.Of(rows.Of(from)), scaling.Of(rows.Of(to)));
            }
        }
    }

    // The rows of x that scalings are not for, and those that they are for; zero elsewhere.
    private static (Variable Others, Variable Scaled) Parted(Variable x, DeltaRows[] scalings)
    {
        int n = x.Shape.Rows;
        List<(int First, int Count)> scaled = [.. scalings.Select(rows => rows.Within(0, n, n)).Distinct().Order()], others = [];
        int end = 0;
        foreach ((int first, int count) in scaled)
        {
            if (first > end) others.Add((end, first - end));
            end = Math.Max(end, first + count);
        }
        if (end < n) others.Add((end, n - end));
        return (RowsOf(x, others), RowsOf(x, scaled));
    }

    // Some rows of x, and zeros. dx is dy in these rows.
    private static Variable RowsOf(Variable x, List<(int First, int Count)> kept)
    {
        Device device = x.Tape.Device;
        Variable y = x.Tape.New(x.Shape);
        Apply(x.Value, y.Value);
        return x.Tape.Record(y, [x], [], [], dy => Give(x, dy, Apply));

        void Apply(Tensor from, Tensor to)
        {
            device.Fill(to, 0);
            foreach ((int first, int count) in kept)
                device.CopyColumns(((Matrix)from).SliceRows(first, count), ((Matrix)to).SliceRows(first, count));
        }
    }

    // dx = or += what is made of dy.
    private static void Give(Variable x, Tensor dy, Action<Tensor, Tensor> make)
    {
        if (!x.TakesGradient(out Tensor dx, out float beta)) return;
        if (beta == 0)
        {
            make(dy, dx);
            return;
        }
        using Tensor part = dy.Device.Empty(x.Shape);
        make(dy, part);
        dy.Device.Axpby(1, part, 1, dx);
    }
}
