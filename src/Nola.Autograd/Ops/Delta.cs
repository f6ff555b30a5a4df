using Nola.Tensors;

namespace Nola.Autograd;

/// <summary>
/// What an adapter adds to the output of a linear map, y = x · W + b. A delta adds to y in the forward pass, and to dx and to
/// the gradients of its own variables in the reverse sweep. <see cref="LowRank"/> is one case, <see cref="AddedBias"/> another.
/// </summary>
public abstract class Delta
{
    /// <summary>The variables that it reads; gradients flow to them.</summary>
    public abstract IReadOnlyList<Variable> Inputs { get; }

    /// <summary>Whether the gradient reads x, which is kept for it then.</summary>
    public virtual bool ReadsInput => true;

    /// <summary>Checks that it fits a map of so many inputs and outputs.</summary>
    /// <exception cref="ShapeException">It does not.</exception>
    public abstract void Check(int inputs, int outputs);

    /// <summary>y += the delta of x. x: (n, in), y: (n, out), both windows of a batch's rows.</summary>
    /// <returns>What <see cref="Backward"/> needs beside x and the inputs, or null; the tape takes it over.</returns>
    public abstract Tensor? Forward(Device device, Matrix x, Matrix y);

    /// <summary>
    /// The same as a low-rank product of some rows of a batch, for a device to add many of them at once; null where it is none.
    /// </summary>
    internal virtual LowRankTerm? TermFor(int first, int count) => null;

    /// <summary>Adds to the gradients that are given. x, dx: (n, in), dy: (n, out).</summary>
    /// <param name="device">Where to compute.</param>
    /// <param name="x">As in <see cref="Forward"/>.</param>
    /// <param name="saved">What <see cref="Forward"/> returned.</param>
    /// <param name="dy">Gradient of the output.</param>
    /// <param name="dx">Gradient of the input, which holds something already; null when nobody wants it.</param>
    /// <param name="gradients">Those of <see cref="Inputs"/>, which hold something already; null where nobody wants one.</param>
    public abstract void Backward(
        Device device, Matrix x, Tensor? saved, Matrix dy, Matrix? dx, IReadOnlyList<Tensor?> gradients);

    /// <summary>
    /// y += the delta of rows that each have a single one, at the columns that ids name, as a token embedding reads its table.
    /// ids: (N) int32, y: (n, out), the rows from <paramref name="first"/> on.
    /// </summary>
    /// <param name="device">Where to compute.</param>
    /// <param name="ids">Those of all rows of the batch.</param>
    /// <param name="first">The row of the batch that is the first of y.</param>
    /// <param name="y">A window of the batch's rows.</param>
    /// <returns>What <see cref="BackwardLookup"/> needs beside the ids and the inputs, or null; the tape takes it over.</returns>
    /// <exception cref="ShapeException">It cannot look rows up.</exception>
    public virtual Tensor? Lookup(Device device, Tensor ids, int first, Matrix y) =>
        throw new ShapeException($"Lookup: a delta of kind {GetType().Name} cannot be on a table whose rows are looked up.");

    /// <summary>Adds to the gradients that are given, which are as in <see cref="Backward"/>. dy: (n, out).</summary>
    /// <param name="device">Where to compute.</param>
    /// <param name="ids">As in <see cref="Lookup"/>.</param>
    /// <param name="first">As in <see cref="Lookup"/>.</param>
    /// <param name="saved">What <see cref="Lookup"/> returned.</param>
    /// <param name="dy">Gradient of the window.</param>
    /// <param name="gradients">Those of <see cref="Inputs"/>; null where nobody wants one.</param>
    public virtual void BackwardLookup(
        Device device, Tensor ids, int first, Tensor? saved, Matrix dy, IReadOnlyList<Tensor?> gradients) =>
        throw new ShapeException($"Lookup: a delta of kind {GetType().Name} cannot be on a table whose rows are looked up.");

    /// <summary>Merging: adds itself to a copy of the map's weight, so that the map alone gives what map and delta gave.</summary>
    /// <param name="device">Where to compute.</param>
    /// <param name="weight">W. (in, out)</param>
    /// <param name="bias">b (out); null where the map has none.</param>
    /// <exception cref="NolaException">The map has no place for it.</exception>
    public abstract void AddTo(Device device, Matrix weight, Tensor? bias);

    /// <summary>sums += column sums of dy, a product with a row of ones. dy: (n, out), sums: (1, out).</summary>
    private protected static void AddColumnSums(Device device, Matrix dy, Matrix sums)
    {
        using Tensor ones = Ones(device, dy.Rows);
        device.MatMul(ones, true, dy, false, sums, 1, 1);
    }

    /// <summary>A column of ones. (n, 1)</summary>
    private protected static Tensor Ones(Device device, int rows)
    {
        Tensor ones = device.Empty([rows, 1]);
        device.Fill(ones, 1);
        return ones;
    }
}

/// <summary>
/// A delta and the rows of the batch that it is for: the sequences of one adapter. Rows of one adapter are neighbors, and what a
/// row gets depends on its own adapter alone, to the bit.
/// </summary>
/// <param name="Delta">What is added.</param>
/// <param name="First">The first row.</param>
/// <param name="Count">Number of rows; −1 for all that follow.</param>
public readonly record struct DeltaRows(Delta Delta, int First, int Count)
{
    /// <summary>A delta for every row of the batch.</summary>
    public static implicit operator DeltaRows(Delta delta) => new(delta, 0, -1);

    internal Matrix Of(Matrix whole) => whole.SliceRows(First, CountOf(whole.Rows));

    internal void Check(int rows, int inputs, int outputs)
    {
        if (First < 0 || First > rows || CountOf(rows) < 0 || First + CountOf(rows) > rows)
            throw new ShapeException($"Linear: a delta is for rows {First} … {First + Count - 1} of a batch of {rows}.");
        Delta.Check(inputs, outputs);
    }

    // Where to add the gradients of the inputs.
    internal Tensor?[] TakeGradients() =>
        [.. Delta.Inputs.Select(input => input.TakesPartialGradient(out Tensor gradient) ? gradient : null)];

    // The rows that it has in common with some of the batch's, counted in the batch.
    internal (int First, int Count) Within(int first, int count, int rows)
    {
        int from = Math.Max(First, first), to = Math.Min(First + CountOf(rows), first + count);
        return (from, Math.Max(0, to - from));
    }

    private int CountOf(int rows) => Count < 0 ? rows - First : Count;
}
