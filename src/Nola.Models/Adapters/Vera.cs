using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>Settings of VeRA.</summary>
public sealed record VeraOptions : AdapterOptions
{
    /// <summary>PEFT's settings: rank 256, key 0, d from 0.1.</summary>
    public VeraOptions() => (Rank, Alpha) = (256, 1);

    /// <summary>
    /// Key of the frozen projections, PEFT's <c>projection_prng_key</c>;
    /// of PyTorch's generator, which reads 32 bits of it.
    /// </summary>
    public ulong Seed { get; init; }

    /// <summary>Initial value of d, PEFT's <c>d_initial</c>.</summary>
    public float InitialScale { get; init; } = 0.1f;

    /// <inheritdoc/>
    public override AdapterMethod Method => VeraMethod.Instance;
}

/// <summary>
/// VeRA (Kopiczko et al., ICLR 2024, arXiv 2310.11454): y += (((x · A) ∘ d) · B) ∘ b. The projections A (in, r) and B (r, out) are
/// frozen, random and shared by all maps, each of which uses as much of them as it is large; d (r) and b (out) are trained for each
/// map. As in PEFT: the projections come from a key of PyTorch's generator, d starts at 0.1 and b at zero, so the first output is
/// the base model's.
/// </summary>
internal sealed class VeraMethod : AdapterMethod
{
    public static readonly VeraMethod Instance = new();

    private VeraMethod() { }

    public override string Name => "vera";

    public override string Title => "VeRA";

    public override AdapterOptions Defaults { get; } = new VeraOptions();

    public override AdapterOptions DefaultsForEmbedded { get; } = new VeraOptions { Targets = ["*"] };

    // Found on the embedded model; the paper's rates are for other ranks.
    public override double LearningRate => 0.02;

    public override IReadOnlyList<AdapterOption> CommonOptions => AdapterOption.CommonWithoutAlpha;

    public override IReadOnlyList<AdapterOption> OwnOptions { get; } =
    [
        AdapterOption.BasisSeed<VeraOptions>("seed", o => o.Seed, (o, value) => o with { Seed = value }),
        AdapterOption.Real<VeraOptions>(
            "d-initial", null, "Initial value of VeRA's d", "a finite number other than 0",
            o => o.InitialScale, (o, value) => o with { InitialScale = value }),
    ];

    public override string Generator => "torch-mt19937/1";

    internal override PeftForm Peft => PeftVera.Instance;

    public override void Check(AdapterOptions options)
    {
        base.Check(options);
        VeraOptions o = (VeraOptions)options;
        // From zero, as b is too, the gradients of both are zero for ever.
        if (o.InitialScale == 0 || !float.IsFinite(o.InitialScale))
            throw new NolaException(FormattableString.Invariant($"d-initial is {o.InitialScale}; expected a finite number other than 0."));
        CheckTorchSeed(o.Seed);
    }

    public override void Check(AdapterOptions options, IReadOnlyList<MapGroup> groups)
    {
        RefuseTokenEmbedding(groups);
        if (options.Rank is < 1 or > LargestRank) throw new NolaException($"rank is {options.Rank}; expected 1 to {LargestRank}.");
        (int inputs, int outputs) = Sizes(groups);
        long largest = (long)Math.Max(inputs, outputs) * options.Rank;
        if (largest > Array.MaxLength)
            throw new NolaException(
                $"rank is {options.Rank}; with it, a projection has {largest} elements, and at most {Array.MaxLength} are supported.");
    }

    public override IReadOnlyList<(string Name, int[] Shape)> Trained(
        AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups) =>
        [.. groups.SelectMany(group => new (string, int[])[]
        {
            (group.Kind + ".d", [group.Count, options.Rank]),
            (group.Kind + ".b", [group.Count, group.Out]),
        })];

    public override IReadOnlyList<DeltaStack> Create(AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups)
    {
        (float[] a, float[] b) = Projections((VeraOptions)options, groups);
        return Create((VeraOptions)options, model, groups, a, b);
    }

    internal override long LoadedBytes(AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups)
    {
        (int inputs, int outputs) = Sizes(groups);
        return base.LoadedBytes(options, model, groups) + (long)options.Rank * (inputs + outputs) * sizeof(float);
    }

    /// <summary>The same with projections that are given, as PEFT's files may have them. a: (r, max in), b: (max out, r).</summary>
    internal IReadOnlyList<DeltaStack> Create(VeraOptions options, IModel model, IReadOnlyList<MapGroup> groups, float[] a, float[] b)
    {
        (int inputs, int outputs) = Sizes(groups);
        int r = options.Rank;
        using Rollback made = new();
        Frozen frozen = made.Add(new Frozen(
            model.Device, HostMatrix.Transpose(a, r, inputs), HostMatrix.Transpose(b, outputs, r), inputs, outputs, r));
        IReadOnlyList<DeltaStack> stacks = ForEach(groups, group => new Stack(group, options, frozen, model.Device));
        made.Commit();
        return stacks;
    }

    /// <summary>FNV-1a over the float32 bits of the first 64 entries of A and of B. 16 hex digits.</summary>
    public override string Fingerprint(AdapterOptions options, IReadOnlyList<MapGroup> groups)
    {
        (float[] a, float[] b) = Projections((VeraOptions)options, groups);
        return BasisFingerprint.Of(a, b);
    }

    /// <summary>
    /// The projections of a key, as PEFT draws them: A (r, max in), then B (max out, r), uniform in ±√3 · √2 / √columns.
    /// </summary>
    internal static (float[] A, float[] B) Projections(VeraOptions options, IReadOnlyList<MapGroup> groups)
    {
        (int inputs, int outputs) = Sizes(groups);
        TorchGenerator generator = new(options.Seed);
        float[] a = new float[options.Rank * inputs], b = new float[outputs * options.Rank];
        generator.Uniform(a, Bound(inputs));
        generator.Uniform(b, Bound(options.Rank));
        return (a, b);

        static float Bound(int columns) => (float)(Math.Sqrt(3) * (Math.Sqrt(2) / Math.Sqrt(columns)));
    }

    // The longest sides of the adapted maps.
    internal static (int In, int Out) Sizes(IReadOnlyList<MapGroup> groups) =>
        (groups.Max(group => group.In), groups.Max(group => group.Out));

    /// <summary>The projections of all maps. A: (max in, r), B: (r, max out). The last stack that is disposed gives them back.</summary>
    internal sealed class Frozen : IDisposable
    {
        public Frozen(Device device, float[] a, float[] b, int inputs, int outputs, int rank)
        {
            using Rollback made = new();
            A = made.Add(device.From(a, [inputs, rank]));
            B = device.From(b, [rank, outputs]);
            made.Commit();
        }

        public Tensor A { get; }

        public Tensor B { get; }

        // All stacks of an adapter are disposed together, and a tensor can be disposed twice.
        public void Dispose()
        {
            A.Dispose();
            B.Dispose();
        }
    }

    /// <summary>d and b of one kind of map.</summary>
    internal sealed class Stack : MapStack
    {
        private readonly Frozen frozen;
        private readonly Parameter d, b;                                          // (L, r), (L, out)
        private readonly Matrix left, right;                                      // (in, r), (r, out)

        public Stack(MapGroup group, VeraOptions options, Frozen frozen, Device device) : base(group)
        {
            this.frozen = frozen;
            left = ((Matrix)frozen.A).SliceRows(0, group.In);
            right = ((Matrix)frozen.B).SliceColumns(0, group.Out);
            using Rollback made = new();
            d = made.Add(new Parameter(group.Kind + ".d", device.Empty([group.Count, options.Rank])));
            device.Fill(d.Value, options.InitialScale);
            b = new Parameter(group.Kind + ".b", device.Zeros([group.Count, group.Out]));
            made.Commit();
        }

        public override IReadOnlyList<Parameter> Parameters => [d, b];

        public override IEnumerable<Delta> On(Tape tape, int row) =>
            [new ScaledLowRank(left, right, tape.Read(d), tape.Read(b), row, Group.Maps[row].Column)];

        public override void Freeze() => d.Trainable = b.Trainable = false;

        /// <summary>The projections as PEFT has them. A: (r, max in), B: (max out, r).</summary>
        public (float[] A, float[] B) Projections() => (
            HostMatrix.Transpose(frozen.A.ToArray(), frozen.A.Shape[0], frozen.A.Shape[1]),
            HostMatrix.Transpose(frozen.B.ToArray(), frozen.B.Shape[0], frozen.B.Shape[1]));

        internal override LowRankFactors Factors(int row)
        {
            int r = left.Columns, inputs = Group.In, outputs = Group.Out, width = frozen.B.Shape.Columns;
            float[] scales = d.Value.ToArray()[(row * r)..((row + 1) * r)];
            float[] ends = b.Value.ToArray()[(row * outputs)..((row + 1) * outputs)];
            float[] a = frozen.A.ToArray()[..(inputs * r)], wide = frozen.B.ToArray(), factor = new float[r * outputs];
            for (int i = 0; i < a.Length; i++) a[i] *= scales[i % r];
            for (int j = 0; j < r; j++)
                for (int o = 0; o < outputs; o++)
                    factor[j * outputs + o] = wide[j * width + o] * ends[o];
            return new(a, factor, r, r);
        }

        protected override void Release()
        {
            d.Dispose();
            b.Dispose();
            frozen.Dispose();
        }
    }
}
