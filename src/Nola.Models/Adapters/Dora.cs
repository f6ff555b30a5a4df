using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// LoRA with trained lengths (DoRA, Liu et al. 2024, arXiv 2402.09353): y = (x · V) ∘ (m / n) + b with V = W + scale · A · B, n the
/// lengths of V's columns and m (out) trained. As in PEFT, n is made anew for each step and is a constant in its gradient. m starts as
/// the lengths of W's columns, so the first output is the base model's.
/// </summary>
internal sealed class DoraStack : LowRankStack
{
    // Below this a column counts as nothing, and the quotient stays finite.
    private const double LeastSquare = 1e-24;

    private readonly Device device;
    private readonly float scale;
    private readonly double[][] squares;                                          // of W's columns, for each layer
    private readonly Parameter m;                                                 // (L, out)
    private readonly Tensor gains;                                                // (3 L, out): m / n, m / n − 1 and 1 / n for each layer

    /// <summary>Factors with LoRA's initial values, and the lengths of the model's columns.</summary>
    public DoraStack(MapGroup group, LoraOptions options, Device device) : base(group, options, device)
    {
        (this.device, scale) = (device, options.Scale);
        using Rollback made = new(A, B);
        device.Upload(InitialFactors.Uniform(options.Seed, group, options.Rank), A.Value);
        squares = [.. group.Maps.Select(map => Squares((LinearMap)map.Host, map.Column, map.Out))];
        m = made.Add(new Parameter(group.Kind + ".m", device.From(Lengths(squares), [group.Count, group.Out])));
        gains = device.Empty([3 * group.Count, group.Out]);
        made.Commit();
        Parameters = [A, B, m];
    }

    public override IReadOnlyList<Parameter> Parameters { get; }

    /// <summary>Bytes that a loaded adapter takes beside what was trained.</summary>
    public static long GainBytes(IReadOnlyList<MapGroup> groups) => groups.Sum(group => 3L * group.Count * group.Out * sizeof(float));

    /// <summary>The lengths of some columns of a map's weight. (out)</summary>
    public static float[] Lengths(LinearMap host, int column, int outputs) => Lengths([Squares(host, column, outputs)]);

    public override IEnumerable<Delta> On(Tape tape, int row)
    {
        AdaptableMap map = Group.Maps[row];
        Matrix own = ((Matrix)gains).SliceRows(3 * row, 3);
        return
        [
            new WeightDecomposed(
                ((LinearMap)map.Host).Frozen!, tape.Read(A), tape.Read(B), tape.Read(m), own, row, scale, map.Column),
        ];
    }

    /// <summary>n² = ‖W‖² + 2 scale · ⟨W, AB⟩ + scale² · ‖AB‖², each for a column, without W or V in memory.</summary>
    public override void Update()
    {
        int rank = A.Shape[2], outputs = Group.Out, inputs = Group.In;
        using Tensor identity = device.From(Identity(rank), [rank, rank]), turned = device.Empty([rank, inputs]);
        using Tensor gram = device.Empty([rank, rank]), sums = device.Empty([rank, outputs]);
        using Tensor twice = device.Empty([1, outputs]), changes = device.Empty([Group.Count, outputs]);
        device.Fill(twice, 2 * scale);
        for (int row = 0; row < Group.Count; row++)
        {
            AdaptableMap map = Group.Maps[row];
            FrozenMatrix w = ((LinearMap)map.Host).Frozen!;
            Matrix a = new(A.Value, inputs, rank, row * inputs * rank, rank);
            Matrix b = new(B.Value, rank, outputs, row * rank * outputs, outputs);
            using Tensor product = device.Empty([rank, w.Columns]);
            device.MatMul(identity, false, a, true, turned);                      // Aᵀ
            device.MatMul(turned, w, null, product);                              // Aᵀ · W
            device.MatMul(a, true, a, false, gram);
            device.MatMul(gram, false, b, false, sums, scale * scale);
            device.ScaleColumns(((Matrix)product).SliceColumns(map.Column, outputs), twice, sums, 1);
            device.ScaleColumnsGrad(sums, b, ((Matrix)changes).SliceRows(row, 1));
        }
        device.Upload(Gains(changes.ToArray(), m.Value.ToArray()), gains);
    }

    public override void Freeze()
    {
        base.Freeze();
        m.Trainable = false;
    }

    /// <summary>What is added is no low-rank product.</summary>
    internal override LowRankFactors? Factors(int row) => null;

    /// <summary>The factors of V − W, and m. (out)</summary>
    public (LowRankFactors Factors, float[] Lengths) Parts(int row) =>
        (base.Factors(row)!, m.Value.ToArray()[(row * Group.Out)..((row + 1) * Group.Out)]);

    protected override void Release()
    {
        m.Dispose();
        gains.Dispose();
        base.Release();
    }

    private float[] Gains(float[] changes, float[] lengths)
    {
        int outputs = Group.Out;
        float[] all = new float[3 * changes.Length];
        for (int i = 0; i < changes.Length; i++)
        {
            (int row, int o) = (i / outputs, i % outputs);
            float n = (float)Math.Sqrt(Math.Max(squares[row][o] + changes[i], LeastSquare)), gain = lengths[i] / n;
            int at = 3 * row * outputs + o;
            (all[at], all[at + outputs], all[at + 2 * outputs]) = (gain, gain - 1, 1 / n);
        }
        return all;
    }

    private static float[] Lengths(double[][] squares) =>
        [.. squares.SelectMany(row => row.Select(square => (float)Math.Sqrt(Math.Max(square, LeastSquare))))];

    // Of columns of the weight, in double precision.
    private static double[] Squares(LinearMap host, int column, int outputs)
    {
        float[] weight = FrozenWeights.Columns(host, column, outputs);            // (in, out)
        double[] sums = new double[outputs];
        for (int i = 0; i < weight.Length; i++) sums[i % outputs] += (double)weight[i] * weight[i];
        return sums;
    }

    private static float[] Identity(int size)
    {
        float[] values = new float[size * size];
        for (int i = 0; i < size; i++) values[i * size + i] = 1;
        return values;
    }
}
