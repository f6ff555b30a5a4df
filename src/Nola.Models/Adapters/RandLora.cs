using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>Settings of RandLoRA.</summary>
public sealed record RandLoraOptions : AdapterOptions
{
    /// <summary>PEFT's settings: rank 32, alpha 640, key 0.</summary>
    public RandLoraOptions() => (Rank, Alpha) = (32, 640);

    /// <summary>
    /// Key of the frozen bases, PEFT's <c>projection_prng_key</c>;
    /// of PyTorch's generator, which reads 32 bits of it.
    /// </summary>
    public ulong Seed { get; init; }

    /// <inheritdoc/>
    public override AdapterMethod Method => RandLoraMethod.Instance;
}

/// <summary>
/// RandLoRA (Albert et al., ICLR 2025, arXiv 2502.00987): ΔW of full rank, a sum of products of frozen random bases that all maps share,
/// between trained diagonals λ and γ. As PEFT computes it, which pairs the bases otherwise than the paper: with M the shorter and N the
/// longer side of a map and b = ⌈M / r⌉, D = Σₘ B[:N, m / r, m mod r] · (λ[m / b, m mod b] · γ[m mod b, :] ∘ A[m / b, :M]) over
/// m = 0 … b · r − 1, and ΔW (out, in) = alpha / r · D where in = M, else alpha / r · Dᵀ. λ starts at zero.
/// </summary>
internal sealed class RandLoraMethod : AdapterMethod
{
    public static readonly RandLoraMethod Instance = new();

    private RandLoraMethod() { }

    public override string Name => "randlora";

    public override string Title => "RandLoRA";

    public override AdapterOptions Defaults { get; } = new RandLoraOptions();

    public override AdapterOptions DefaultsForEmbedded { get; } = new RandLoraOptions { Targets = ["*"] };

    public override double LearningRate => 0.0004;

    public override double LearningRateForEmbedded => 0.004;

    public override IReadOnlyList<AdapterOption> OwnOptions { get; } =
    [
        AdapterOption.BasisSeed<RandLoraOptions>("seed", o => o.Seed, (o, value) => o with { Seed = value }),
    ];

    public override string Generator => "torch-mt19937-bf16/1";

    internal override PeftForm Peft => PeftRandLora.Instance;

    public override void Check(AdapterOptions options)
    {
        base.Check(options);
        CheckTorchSeed(((RandLoraOptions)options).Seed);
    }

    public override void Check(AdapterOptions options, IReadOnlyList<MapGroup> groups)
    {
        RefuseTokenEmbedding(groups);
        (int shorter, int longer) = Sizes(groups);
        if (options.Rank < 1 || options.Rank > shorter)
            throw new NolaException(
                $"rank is {options.Rank}; expected 1 to {shorter}, the smaller of the adapted maps' most inputs and most outputs.");
        long largest = (long)longer * Bases(shorter, options.Rank) * options.Rank;
        if (largest > Array.MaxLength)
            throw new NolaException(
                $"rank is {options.Rank}; with it, the bases have {largest} elements, and at most {Array.MaxLength} are supported.");
        WeightStack.Check(Title, groups);
    }

    public override IReadOnlyList<(string Name, int[] Shape)> Trained(
        AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups) =>
        [.. groups.SelectMany(group =>
        {
            int side = Math.Min(group.In, group.Out), bases = Bases(side, options.Rank);
            return new (string, int[])[]
            {
                (group.Kind + ".lambda", [group.Count, options.Rank, bases]),
                (group.Kind + ".gamma", [group.Count, bases, side]),
            };
        })];

    public override IReadOnlyList<DeltaStack> Create(AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups) =>
        Create((RandLoraOptions)options, model, groups, null);

    internal override long LoadedBytes(AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups) =>
        base.LoadedBytes(options, model, groups) + WeightStack.Bytes(groups);

    /// <summary>The same with bases that are given, as PEFT's files may have them. A: (r, 1, M), B: (N, b, r).</summary>
    internal IReadOnlyList<DeltaStack> Create(
        RandLoraOptions options, IModel model, IReadOnlyList<MapGroup> groups, (float[] A, float[] B)? given)
    {
        using Rollback made = new();
        Frozen frozen = made.Add(new Frozen(model.Device, options, groups, given));
        IReadOnlyList<DeltaStack> stacks = ForEach(groups, group => new Stack(group, options, frozen, model.Device));
        made.Commit();
        return stacks;
    }

    /// <summary>FNV-1a over the float32 values of the first 64 entries of A and of B. 16 hex digits.</summary>
    public override string Fingerprint(AdapterOptions options, IReadOnlyList<MapGroup> groups)
    {
        (float[] a, float[] b) = Projections((RandLoraOptions)options, groups);
        return BasisFingerprint.Of(a, b);
    }

    /// <summary>
    /// The bases of a key, as PEFT draws them: A (r, 1, M), then b times (N, 1, r), which are joined to B (N, b, r); each uniform in
    /// ±√3 · √(1/3) / √columns in bfloat16, and A and B divided by their standard deviations.
    /// </summary>
    internal static (float[] A, float[] B) Projections(RandLoraOptions options, IReadOnlyList<MapGroup> groups)
    {
        (int shorter, int longer) = Sizes(groups);
        int r = options.Rank, bases = Bases(shorter, r);
        TorchGenerator generator = new(options.Seed);
        float[] a = new float[r * shorter], b = new float[longer * bases * r], part = new float[longer * r];
        generator.UniformBFloat16(a, Bound(shorter));
        for (int i = 0; i < bases; i++)
        {
            generator.UniformBFloat16(part, Bound(r));
            for (int o = 0; o < longer; o++) part.AsSpan(o * r, r).CopyTo(b.AsSpan((o * bases + i) * r));
        }
        Normalize(a);
        Normalize(b);
        return (a, b);

        // Kaiming's with a = √5.
        static double Bound(int columns) => Math.Sqrt(3) * (Math.Sqrt(2.0 / 6) / Math.Sqrt(columns));
    }

    /// <summary>M and N: the shorter and the longer of the most inputs and the most outputs of the adapted maps.</summary>
    internal static (int Shorter, int Longer) Sizes(IReadOnlyList<MapGroup> groups)
    {
        (int inputs, int outputs) = (groups.Max(group => group.In), groups.Max(group => group.Out));
        return (Math.Min(inputs, outputs), Math.Max(inputs, outputs));
    }

    /// <summary>Bases that give a side full rank.</summary>
    internal static int Bases(int side, int rank) => (side + rank - 1) / rank;

    // Deviation and quotients are rounded to bfloat16.
    private static void Normalize(float[] values)
    {
        double mean = values.Average(value => (double)value), squares = values.Sum(value => (value - mean) * (value - mean));
        float deviation = Rounded((float)Math.Sqrt(squares / (values.Length - 1)));
        foreach (ref float value in values.AsSpan()) value = Rounded(value / deviation);
    }

    private static float Rounded(float value) => DTypes.FromBFloat16(DTypes.ToBFloat16(value));

    /// <summary>
    /// The bases of all maps, once: A (r, M), and B (N, b · r) with a column for each base and rank. They are given back when no
    /// stack needs them any more.
    /// </summary>
    internal sealed class Frozen : IDisposable
    {
        private readonly (float[] A, float[] B)? given;
        private int users;

        public Frozen(Device device, RandLoraOptions options, IReadOnlyList<MapGroup> groups, (float[] A, float[] B)? given)
        {
            this.given = given;
            (float[] a, float[] b) = given ?? Projections(options, groups);
            (int shorter, int longer) = Sizes(groups);
            using Rollback made = new();
            A = made.Add(device.From(a, [options.Rank, shorter]));
            B = device.From(b, [longer, Bases(shorter, options.Rank) * options.Rank]);
            made.Commit();
        }

        public Tensor A { get; }

        public Tensor B { get; }

        /// <summary>Says that one more stack needs them.</summary>
        public void Use() => users++;

        /// <summary>Says that one stack needs them no more.</summary>
        public void Leave()
        {
            if (--users <= 0) Dispose();
        }

        public void Dispose()
        {
            A.Dispose();
            B.Dispose();
        }

        /// <summary>As PEFT has them, also when they were given back. A: (r, 1, M), B: (N, b, r).</summary>
        public (float[] A, float[] B) Values(RandLoraOptions options, IReadOnlyList<MapGroup> groups) =>
            given ?? Projections(options, groups);
    }

    /// <summary>λ and γ of one kind of map, and the weights that they make.</summary>
    internal sealed class Stack : WeightStack
    {
        private readonly Device device;
        private readonly RandLoraOptions options;
        private readonly Parameter lambda, gamma;                                 // (L, r, b), (L, b, M)
        private readonly int side, bases;
        private readonly Tensor places, turns;
        private bool left;

        public Stack(MapGroup group, RandLoraOptions options, Frozen frozen, Device device) : base(group, device)
        {
            (this.device, this.options, Bases) = (device, options, frozen);
            (side, bases) = (Math.Min(group.In, group.Out), RandLoraMethod.Bases(Math.Min(group.In, group.Out), options.Rank));
            using Rollback made = new(Weight);
            lambda = made.Add(new Parameter(group.Kind + ".lambda", device.Zeros([group.Count, options.Rank, bases])));
            gamma = made.Add(new Parameter(group.Kind + ".gamma", device.Empty([group.Count, bases, side])));
            device.Fill(gamma.Value, 1f / Math.Max(bases, side));
            int rows = options.Rank * bases;
            places = made.Add(device.From([.. Enumerable.Range(0, rows).Select(m => m / bases)]));
            turns = device.From([.. Enumerable.Range(0, rows).Select(m => m % bases)]);
            Parameters = [lambda, gamma];
            made.Commit();
            frozen.Use();
        }

        /// <summary>The bases of all maps.</summary>
        public Frozen Bases { get; }

        public override IReadOnlyList<Parameter> Parameters { get; }

        public override void Freeze()
        {
            base.Freeze();
            Leave();
        }

        protected override void Make(Tensor weight)
        {
            using Tensor random = Random(), product = device.Empty([Rows, side]);
            for (int layer = 0; layer < Group.Count; layer++)
            {
                using Tensor gammas = Gammas(layer), scales = Scales(layer);
                device.Multiply(gammas, random, product);
                device.Multiply(product, scales, gammas);                         // (b · r, M)
                if (IsShortIn) device.MatMul(gammas, true, Right, true, Matrix.OfStack(weight, layer), Scale);
                else device.MatMul(Right, false, gammas, false, Matrix.OfStack(weight, layer), Scale);
            }
        }

        protected override void Gradients(Tensor dweight, IReadOnlyList<Tensor> gradients)
        {
            using Tensor random = Random(), left = device.Empty([Rows, side]), part = device.Empty([Rows, side]);
            using Tensor ones = device.Empty([side, 1]);
            device.Fill(ones, 1);
            for (int layer = 0; layer < Group.Count; layer++)
            {
                using Tensor gammas = Gammas(layer), scales = Scales(layer), dgamma = device.Zeros([bases, side]);
                device.MatMul(Right, true, Matrix.OfStack(dweight, layer), IsShortIn, part, Scale);
                device.Multiply(part, random, left);                              // what λ · γ is multiplied by
                device.Multiply(left, gammas, part);
                device.MatMul(part, false, ones, false, Column(gradients[0], layer));
                device.Multiply(left, scales, part);
                device.ScatterAddRows(part, turns, dgamma);
                device.CopyColumns(dgamma, OfGamma(gradients[1], layer));
            }
        }

        protected override void Release()
        {
            base.Release();
            Leave();
        }

        private bool IsShortIn => Group.In == side;

        private int Rows => bases * options.Rank;

        private float Scale => options.Alpha / options.Rank;

        // B as far as this map uses it. (N, b · r)
        private Matrix Right => ((Matrix)Bases.B).SliceRows(0, Math.Max(Group.In, Group.Out)).SliceColumns(0, Rows);

        // A's rows, each for every base. (r · b, M)
        private Tensor Random()
        {
            using Tensor own = device.Empty([options.Rank, side]);
            device.CopyColumns(((Matrix)Bases.A).SliceColumns(0, side), own);
            Tensor spread = device.Empty([Rows, side]);
            device.GatherRows(own, places, spread);
            return spread;
        }

        // γ's rows, once for each rank. (r · b, M)
        private Tensor Gammas(int layer)
        {
            using Tensor own = device.Empty([bases, side]);
            device.CopyColumns(OfGamma(gamma.Value, layer), own);
            Tensor spread = device.Empty([Rows, side]);
            device.GatherRows(own, turns, spread);
            return spread;
        }

        // λ in every column. (r · b, M)
        private Tensor Scales(int layer)
        {
            using Tensor ones = device.Empty([1, side]);
            device.Fill(ones, 1);
            return device.Filled([Rows, side], spread => device.MatMul(Column(lambda.Value, layer), false, ones, false, spread));
        }

        private Matrix Column(Tensor stacked, int layer) => new(stacked, Rows, 1, layer * Rows, 1);

        private Matrix OfGamma(Tensor stacked, int layer) => new(stacked, bases, side, layer * bases * side, side);

        private void Leave()
        {
            if (left) return;
            left = true;
            places.Dispose();
            turns.Dispose();
            Bases.Leave();
        }
    }
}
