using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>How FourierFT's coefficients start.</summary>
public enum FourierFtStart
{
    /// <summary>Normal with deviation 1, as published.</summary>
    Normal,

    /// <summary>Zero, so that the first output is the base model's.</summary>
    Zero,
}

/// <summary>Settings of FourierFT.</summary>
public sealed record FourierFtOptions : AdapterOptions
{
    /// <summary>PEFT's settings: 1000 frequencies, scaling 150, seed 777.</summary>
    public FourierFtOptions() { }

    /// <summary>n: trained coefficients of each map, PEFT's <c>n_frequency</c>.</summary>
    public int Frequencies { get; init; } = 1000;

    /// <summary>What ΔW is multiplied by, PEFT's <c>scaling</c>.</summary>
    public float Scaling { get; init; } = 150;

    /// <summary>
    /// Seed that chooses the frequencies, PEFT's <c>random_loc_seed</c>; of PyTorch's generator, which reads 32 bits of it. The
    /// coefficients' first values come from it too.
    /// </summary>
    public ulong Seed { get; init; } = 777;

    /// <summary>How the coefficients start.</summary>
    public FourierFtStart Start { get; init; }

    /// <inheritdoc/>
    public override AdapterMethod Method => FourierFtMethod.Instance;
}

/// <summary>
/// FourierFT (Gao et al., ICML 2024, arXiv 2405.03003): ΔW is the inverse Fourier transform of a matrix whose n entries, at places
/// that a seed chooses, are trained, and whose others are zero: y += x · ΔWᵀ with
/// ΔW[p, q] = scaling / (out · in) · Σⱼ cⱼ · cos(2π · (uⱼ · p / out + vⱼ · q / in)). As in PEFT, maps of equal shape share their places.
/// </summary>
internal sealed class FourierFtMethod : AdapterMethod
{
    public static readonly FourierFtMethod Instance = new();

    private FourierFtMethod() { }

    public override string Name => "fourierft";

    public override string Title => "FourierFT";

    public override AdapterOptions Defaults { get; } = new FourierFtOptions();

    // On small maps the published start would cover what the model knows.
    public override AdapterOptions DefaultsForEmbedded { get; } = new FourierFtOptions { Targets = ["*"], Start = FourierFtStart.Zero };

    public override double LearningRate => 0.02;

    public override IReadOnlyList<AdapterOption> CommonOptions => AdapterOption.TargetsAlone;

    public override IReadOnlyList<AdapterOption> OwnOptions { get; } =
    [
        AdapterOption.Whole<FourierFtOptions>(
            "frequencies", "frequencies", "n of FourierFT: trained coefficients of each map", "a whole number from 1",
            o => o.Frequencies, (o, value) => o with { Frequencies = value }),
        AdapterOption.Real<FourierFtOptions>(
            "scaling", "scaling", "FourierFT's output is multiplied by it", "a positive number",
            o => o.Scaling, (o, value) => o with { Scaling = value }),
        AdapterOption.BasisSeed<FourierFtOptions>("seed", o => o.Seed, (o, value) => o with { Seed = value }),
        AdapterOption.Choice<FourierFtOptions, FourierFtStart>(
            "spectrum", null, "How FourierFT's coefficients start", [("normal", FourierFtStart.Normal), ("zero", FourierFtStart.Zero)],
            o => o.Start, (o, value) => o with { Start = value }),
    ];

    public override string Generator => "torch-randperm/1";

    internal override PeftForm Peft => PeftFourierFt.Instance;

    public override void Check(AdapterOptions options)
    {
        FourierFtOptions o = (FourierFtOptions)options;
        if (o.Frequencies < 1) throw new NolaException($"frequencies is {o.Frequencies}; expected 1 or more.");
        if (!(o.Scaling > 0 && float.IsFinite(o.Scaling)))
            throw new NolaException(FormattableString.Invariant($"scaling is {o.Scaling}; expected a finite number above 0."));
        CheckTorchSeed(o.Seed);
        if (!Enum.IsDefined(o.Start)) throw new NolaException($"spectrum is {o.Start}; expected normal or zero.");
    }

    public override void Check(AdapterOptions options, IReadOnlyList<MapGroup> groups)
    {
        RefuseTokenEmbedding(groups);
        int n = ((FourierFtOptions)options).Frequencies;
        MapGroup smallest = groups.MinBy(group => (long)group.In * group.Out)!;
        long most = (long)smallest.In * smallest.Out;
        if (n < 1 || n > most)
            throw new NolaException($"frequencies is {n}; expected 1 to {most}, the number of entries of {smallest.Kind}.");
        MapGroup widest = groups.MaxBy(group => Math.Max(group.In, group.Out))!;
        long waves = 2L * n * Math.Max(widest.In, widest.Out);
        if (waves > Array.MaxLength)
            throw new NolaException(
                $"frequencies is {n}; with it, the waves of {widest.Kind} have {waves} elements, and at most {Array.MaxLength} "
                + "are supported.");
        WeightStack.Check(Title, groups);
    }

    public override IReadOnlyList<(string Name, int[] Shape)> Trained(
        AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups) =>
        [.. groups.Select(group => (group.Kind + ".c", (int[])[group.Count, ((FourierFtOptions)options).Frequencies]))];

    public override IReadOnlyList<DeltaStack> Create(AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups) =>
        ForEach(groups, group => new Stack(group, (FourierFtOptions)options, model.Device));

    internal override long LoadedBytes(AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups) =>
        base.LoadedBytes(options, model, groups) + WeightStack.Bytes(groups);

    /// <summary>FNV-1a over (u, v) of the first 32 places of each kind of map, as float32. 16 hex digits.</summary>
    public override string Fingerprint(AdapterOptions options, IReadOnlyList<MapGroup> groups)
    {
        FourierFtOptions o = (FourierFtOptions)options;
        return BasisFingerprint.Of(groups.SelectMany(group =>
            Places(o.Seed, group.In, group.Out, Math.Min(32, o.Frequencies)).SelectMany(place => (float[])[place.U, place.V])));
    }

    /// <summary>
    /// The places of the trained entries, as PEFT draws them: the first n of <c>torch.randperm(out · in)</c>, each p as (p / in, p mod in).
    /// </summary>
    internal static (int U, int V)[] Places(ulong seed, int inputs, int outputs, int count)
    {
        long[] chosen = new TorchGenerator(seed).Permutation((long)inputs * outputs, count);
        return Array.ConvertAll(chosen, place => ((int)(place / inputs), (int)(place % inputs)));
    }

    /// <summary>The coefficients of one kind of map, and what they make.</summary>
    internal sealed class Stack : WeightStack
    {
        private readonly Parameter coefficients;                                  // (L, n)
        private readonly FourierBasis basis;

        public Stack(MapGroup group, FourierFtOptions options, Device device) : base(group, device)
        {
            using Rollback made = new(Weight);
            coefficients = made.Add(
                new Parameter(group.Kind + ".c", device.From(First(group, options), [group.Count, options.Frequencies])));
            (int U, int V)[] places = Places(options.Seed, group.In, group.Out, options.Frequencies);
            basis = new FourierBasis(device, group.In, group.Out, places, options.Scaling);
            made.Commit();
            Parameters = [coefficients];
        }

        public override IReadOnlyList<Parameter> Parameters { get; }

        public override void Freeze()
        {
            base.Freeze();
            basis.Dispose();
        }

        protected override void Make(Tensor weight)
        {
            for (int layer = 0; layer < Group.Count; layer++) basis.Mix(Row(coefficients.Value, layer), Matrix.OfStack(weight, layer));
        }

        protected override void Gradients(Tensor dweight, IReadOnlyList<Tensor> gradients)
        {
            for (int layer = 0; layer < Group.Count; layer++) basis.Gradient(Matrix.OfStack(dweight, layer), Row(gradients[0], layer));
        }

        protected override void Release()
        {
            base.Release();
            basis.Dispose();
        }

        // The coefficients of a layer as a column. (n, 1)
        private static Matrix Row(Tensor stacked, int layer)
        {
            int n = stacked.Shape[1];
            return new(stacked, n, 1, layer * n, 1);
        }

        private static float[] First(MapGroup group, FourierFtOptions options)
        {
            int n = options.Frequencies;
            float[] all = new float[group.Count * n];
            if (options.Start == FourierFtStart.Zero) return all;
            for (int i = 0; i < group.Count; i++)
            {
                RandomBasis one = new(
                    options.Seed, RandomBasis.StreamOf(group.Stream, 0), (uint)group.Layers[i] + 1, 1, 1, n, BasisEntries.Normal);
                one.Fill(RandomBasis.OffsetIndex, all.AsSpan(i * n, n));
            }
            return all;
        }
    }
}

/// <summary>
/// The waves of a sparse spectrum. With cos(a + b) = cos a · cos b − sin a · sin b, each place gives two products of a wave along the
/// longer side of ΔW and one along its shorter side. Places whose waves along the shorter side are the same, but for a sign, are
/// summed before the product with it: of n places and sides N ≥ M, ΔW takes 4 · n · N operations and a product of N · K · M with
/// K ≤ min(2n, M), in place of N · 2n · M.
/// </summary>
internal sealed class FourierBasis : IDisposable
{
    private readonly Device device;
    private readonly bool alongInputs;
    private readonly int places, length;
    private readonly Tensor waves, rows, table, ones;

    /// <summary>The waves of some places.</summary>
    /// <param name="device">Where they are put.</param>
    /// <param name="inputs">in.</param>
    /// <param name="outputs">out.</param>
    /// <param name="chosen">(u, v) of each place.</param>
    /// <param name="scaling">What ΔW is multiplied by, beside 1 / (in · out).</param>
    public FourierBasis(Device device, int inputs, int outputs, (int U, int V)[] chosen, float scaling)
    {
        (this.device, places, alongInputs) = (device, chosen.Length, inputs >= outputs);
        length = Math.Max(inputs, outputs);
        int side = Math.Min(inputs, outputs);
        double[] cosines = Table(Math.Cos, length), sines = Table(Math.Sin, length);
        double factor = scaling / ((double)inputs * outputs);
        float[] longWaves = new float[2 * places * length];
        int[] rowOf = new int[2 * places];
        Dictionary<(int Frequency, bool IsSine), int> known = [];
        for (int j = 0; j < places; j++)
        {
            (int along, int across) = alongInputs ? (chosen[j].V, chosen[j].U) : (chosen[j].U, chosen[j].V);
            // Frequencies f and M − f are the same cosine, and the same sine with another sign; of f = 0 and M / 2 the sine is zero.
            int folded = Math.Min(across, side - across);
            bool hasSine = across != 0 && 2 * across != side;
            double sign = 2 * across < side ? -1 : 1;
            rowOf[2 * j] = RowOf(across == 0 ? 0 : folded, false);
            rowOf[2 * j + 1] = hasSine ? RowOf(folded, true) : rowOf[2 * j];
            for (int t = 0; t < length; t++)
            {
                long phase = (long)along * t;
                longWaves[2 * j * length + t] = (float)(factor * cosines[phase % length]);
                if (hasSine) longWaves[(2 * j + 1) * length + t] = (float)(sign * factor * sines[phase % length]);
            }
        }
        double[] shortCosines = Table(Math.Cos, side), shortSines = Table(Math.Sin, side);
        float[] shortWaves = new float[known.Count * side];
        foreach (((int frequency, bool isSine), int row) in known)
        {
            double[] wave = isSine ? shortSines : shortCosines;
            for (int t = 0; t < side; t++) shortWaves[row * side + t] = (float)wave[(long)frequency * t % side];
        }
        using Rollback made = new();
        waves = made.Add(device.From(longWaves, [2 * places, length]));
        rows = made.Add(device.From(rowOf));
        table = made.Add(device.From(shortWaves, [known.Count, side]));
        ones = device.Empty([2 * length, 1]);
        made.Commit();
        device.Fill(ones, 1);

        int RowOf(int frequency, bool isSine)
        {
            if (!known.TryGetValue((frequency, isSine), out int row)) known[(frequency, isSine)] = row = known.Count;
            return row;
        }
    }

    /// <summary>ΔWᵀ of coefficients. c: (n, 1), weight: (in, out).</summary>
    public void Mix(Matrix c, Matrix weight)
    {
        using Tensor spread = device.Empty([2 * places, length]), scaled = device.Empty([2 * places, length]);
        device.MatMul(c, false, new Matrix(ones, 1, 2 * length, 0, 2 * length), false, Paired(spread));
        device.Multiply(spread, waves, scaled);
        using Tensor sums = device.Empty([table.Shape.Rows, length]);             // (K, N)
        device.Fill(sums, 0);
        device.ScatterAddRows(scaled, rows, sums);
        if (alongInputs) device.MatMul(sums, true, table, false, weight);
        else device.MatMul(table, true, sums, false, weight);
    }

    /// <summary>dc of dΔWᵀ. dweight: (in, out), dc: (n, 1).</summary>
    public void Gradient(Matrix dweight, Matrix dc)
    {
        using Tensor dsums = device.Empty([table.Shape.Rows, length]);            // (K, N)
        device.MatMul(table, false, dweight, alongInputs, dsums);
        using Tensor spread = device.Empty([2 * places, length]), scaled = device.Empty([2 * places, length]);
        device.GatherRows(dsums, rows, spread);
        device.Multiply(spread, waves, scaled);
        device.MatMul(Paired(scaled), false, ones, false, dc);
    }

    public void Dispose()
    {
        waves.Dispose();
        rows.Dispose();
        table.Dispose();
        ones.Dispose();
    }

    // Both waves of a place side by side. (n, 2N)
    private Matrix Paired(Tensor both) => new(both, places, 2 * length, 0, 2 * length);

    // A wave of one period.
    private static double[] Table(Func<double, double> wave, int period) =>
        [.. Enumerable.Range(0, period).Select(t => wave(2 * Math.PI * t / period))];
}
