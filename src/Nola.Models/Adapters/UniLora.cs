using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>Settings of Uni-LoRA.</summary>
public sealed record UniLoraOptions : AdapterOptions
{
    /// <summary>PEFT's settings: rank 4, a vector of 256 numbers, seed 42, numbers from ±0.02.</summary>
    public UniLoraOptions() => (Rank, Alpha) = (4, 1);

    /// <summary>Number of trained values, PEFT's <c>theta_d_length</c>.</summary>
    public int Length { get; init; } = 256;

    /// <summary>Seed of NumPy's generator, which deals the values to the factors' entries; PEFT's <c>proj_seed</c>.</summary>
    public ulong Seed { get; init; } = 42;

    /// <summary>The values start uniform between minus this and this, PEFT's <c>init_theta_d_bound</c>.</summary>
    public float Bound { get; init; } = 0.02f;

    /// <inheritdoc/>
    public override AdapterMethod Method => UniLoraMethod.Instance;

    /// <inheritdoc/>
    internal override float Scale => 1;
}

/// <summary>
/// Uni-LoRA (Li et al., NeurIPS 2025, arXiv 2506.00799): y += (x · A) · B, where every entry of every A and B of the model is one of d
/// trained numbers, divided by the root of how many entries it is. Which one is dealt by a seed: each number to as many entries as any
/// other, or one more. As in PEFT, the numbers start from ±0.02 and not at zero, so the first output is only close to the base model's.
/// </summary>
internal sealed class UniLoraMethod : AdapterMethod
{
    public static readonly UniLoraMethod Instance = new();

    // Entries of the dealt numbers that prove the generator, at both ends.
    private const int Proven = 64;

    private UniLoraMethod() { }

    public override string Name => "uni-lora";

    public override string Title => "Uni-LoRA";

    public override AdapterOptions Defaults { get; } = new UniLoraOptions();

    public override AdapterOptions DefaultsForEmbedded { get; } = new UniLoraOptions { Length = 3072, Targets = ["*"] };

    public override double LearningRate => 0.005;

    public override double LearningRateForEmbedded => 0.02;

    public override IReadOnlyList<AdapterOption> CommonOptions => AdapterOption.CommonWithoutAlpha;

    public override IReadOnlyList<AdapterOption> OwnOptions { get; } =
    [
        AdapterOption.Whole<UniLoraOptions>(
            "theta-length", "theta_length", "Number of values that Uni-LoRA trains for the whole model", "a whole number from 1",
            o => o.Length, (o, value) => o with { Length = value }),
        AdapterOption.BasisSeed<UniLoraOptions>("seed", o => o.Seed, (o, value) => o with { Seed = value }),
        AdapterOption.Real<UniLoraOptions>(
            "theta-bound", null, "Uni-LoRA's values start uniform between minus this and this", "a number above 0",
            o => o.Bound, (o, value) => o with { Bound = value }),
    ];

    public override string Generator => "numpy-pcg64/1";

    internal override PeftForm Peft => PeftUniLora.Instance;

    public override void Check(AdapterOptions options)
    {
        base.Check(options);
        UniLoraOptions o = (UniLoraOptions)options;
        if (o.Length < 1) throw new NolaException($"theta-length is {o.Length}; expected a whole number from 1.");
        // From zero, the gradients of both factors are zero for ever.
        if (!(o.Bound > 0 && float.IsFinite(o.Bound)))
            throw new NolaException(FormattableString.Invariant($"theta-bound is {o.Bound}; expected a number above 0."));
    }

    public override void Check(AdapterOptions options, IReadOnlyList<MapGroup> groups)
    {
        RefuseTokenEmbedding(groups);
        CheckFactors(options.Rank, groups);
        long entries = Entries(options, groups);
        if (entries > Array.MaxLength)
            throw new NolaException(
                $"rank is {options.Rank}; with it, all factors have {entries} entries, and at most {Array.MaxLength} are supported.");
    }

    public override IReadOnlyList<(string Name, int[] Shape)> Trained(
        AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups) => [("theta", [1, ((UniLoraOptions)options).Length])];

    public override IReadOnlyList<DeltaStack> Create(AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups)
    {
        UniLoraOptions o = (UniLoraOptions)options;
        int[] indices = Dealt(o, groups);
        return Create(o, model, groups, indices, Scales(indices, o.Length), isDealt: true);
    }

    /// <summary>The same with indices and scales that are given, as PEFT's files may have them.</summary>
    /// <param name="options">The settings.</param>
    /// <param name="model">The model.</param>
    /// <param name="groups">What is adapted.</param>
    /// <param name="indices">Which value each entry is, in PEFT's order.</param>
    /// <param name="scales">What each value is multiplied by. (d)</param>
    /// <param name="isDealt">Whether the seed gives the same.</param>
    internal IReadOnlyList<DeltaStack> Create(
        UniLoraOptions options, IModel model, IReadOnlyList<MapGroup> groups, int[] indices, float[] scales, bool isDealt)
    {
        Dictionary<AdaptableMap, int> places = [];
        int next = 0;
        foreach (AdaptableMap map in InOrder(model, groups))
        {
            places[map] = next;
            next += (map.In + map.Out) * options.Rank;
        }
        Vector vector = new(options, model.Device, scales, isDealt);
        IEnumerable<Func<DeltaStack>> all =
        [
            () => vector,
            .. groups.Select(group => (Func<DeltaStack>)(() => new Stack(group, options, vector, indices, places, model.Device))),
        ];
        return ForEach(all, create => create());
    }

    internal override long LoadedBytes(AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups) =>
        sizeof(float) * Entries(options, groups);

    /// <summary>FNV-1a over the first and the last 64 dealt numbers as float32. 16 hex digits.</summary>
    public override string Fingerprint(AdapterOptions options, IReadOnlyList<MapGroup> groups)
    {
        int[] indices = Dealt((UniLoraOptions)options, groups);
        return BasisFingerprint.Of(indices.Take(Proven).Concat(indices.TakeLast(Proven)).Select(index => (float)index));
    }

    /// <summary>
    /// Which value each entry is, as PEFT deals them: module by module as the model runs them, A (r, in) before B (out, r), row by row.
    /// </summary>
    internal static int[] Dealt(UniLoraOptions options, IReadOnlyList<MapGroup> groups)
    {
        int entries = (int)Entries(options, groups), each = entries / options.Length, more = entries % options.Length;
        NumpyGenerator generator = new(options.Seed);
        int[] indices = new int[entries];
        for (int i = 0; i < entries - more; i++) indices[i] = i / each;
        if (more > 0) generator.Choice(options.Length, more).CopyTo(indices, entries - more);
        generator.Shuffle(indices);
        return indices;
    }

    /// <summary>One over the root of how many entries a value is; 0 for one that is none. (d)</summary>
    internal static float[] Scales(int[] indices, int length)
    {
        int[] counts = new int[length];
        foreach (int index in indices) counts[index]++;
        return [.. counts.Select(count => count == 0 ? 0 : 1 / MathF.Sqrt(count))];
    }

    /// <summary>The adapted maps in PEFT's order, block by block and the head last.</summary>
    internal static IEnumerable<AdaptableMap> InOrder(IModel model, IReadOnlyList<MapGroup> groups)
    {
        HashSet<AdaptableMap> adapted = [.. groups.SelectMany(group => group.Maps)];
        return model.AdaptableMaps.Where(adapted.Contains).OrderBy(map => !map.IsInBlock);
    }

    private static long Entries(AdapterOptions options, IReadOnlyList<MapGroup> groups) =>
        groups.Sum(group => (long)group.Count * (group.In + group.Out) * options.Rank);

    /// <summary>The trained values, which are on no map by themselves.</summary>
    internal sealed class Vector : DeltaStack
    {
        private readonly Device device;
        private readonly Tensor scales, scaled;

        public Vector(UniLoraOptions options, Device device, float[] scales, bool isDealt)
        {
            (this.device, IsDealt) = (device, isDealt);
            using Rollback made = new();
            this.scales = made.Add(device.From(scales, [1, options.Length]));
            scaled = made.Add(device.Empty([options.Length, 1]));
            Theta = new Parameter("theta", device.From(Start(options), [1, options.Length]));
            made.Commit();
        }

        /// <summary>Whether the seed deals the values so.</summary>
        public bool IsDealt { get; }

        /// <summary>θ. (1, d)</summary>
        public Parameter Theta { get; }

        /// <summary>θ times its scales, as a table. (d, 1)</summary>
        public Tensor Scaled => scaled;

        public override IReadOnlyList<AdaptableLayer> Layers => [];

        public override IReadOnlyList<Parameter> Parameters => [Theta];

        public override IEnumerable<Delta> On(Tape tape, int row) => [];

        public override void Update() => device.Multiply(Theta.Value, scales, scaled);

        /// <summary>dθ += scales ∘ dscaled.</summary>
        public void AddGradient(Tensor dscaled)
        {
            using Tape tape = new(device);
            Variable whole = tape.Read(Theta), made = tape.New(Theta.Shape);
            device.Multiply(dscaled, scales, made.Value);
            tape.Backward((whole, made.Value));
        }

        public override void Freeze() => Theta.Trainable = false;

        protected override void Release()
        {
            Theta.Dispose();
            scales.Dispose();
            scaled.Dispose();
        }

        private static float[] Start(UniLoraOptions options)
        {
            float[] values = new float[options.Length];
            new RandomBasis(options.Seed, RandomBasis.StreamOf(255, 0), 0, 1, 1, options.Length, BasisEntries.Uniform).Fill(0, values);
            return [.. values.Select(value => value * options.Bound)];
        }
    }

    /// <summary>Factors of one kind of map, whose entries are looked up.</summary>
    private sealed class Stack : LowRankStack
    {
        private readonly Device device;
        private readonly Vector vector;
        private readonly Tensor a, b;                                             // which value each entry of A and B is
        private readonly int rank;

        public Stack(
            MapGroup group, UniLoraOptions options, Vector vector, int[] indices, Dictionary<AdaptableMap, int> places, Device device)
            : base(group, options, device)
        {
            (this.device, this.vector, rank) = (device, vector, options.Rank);
            using Rollback made = new(A, B);
            int ofA = group.In * rank, ofB = group.Out * rank;
            a = made.Add(device.From([.. group.Maps.SelectMany(map => Turned(indices.AsSpan(places[map], ofA), rank, group.In))]));
            b = device.From([.. group.Maps.SelectMany(map => Turned(indices.AsSpan(places[map] + ofA, ofB), group.Out, rank))]);
            made.Commit();
        }

        public override IReadOnlyList<Parameter> Parameters => [];

        public override void Update()
        {
            LookUp(a, A);
            LookUp(b, B);
        }

        public override void CollectGradients()
        {
            using Tensor sums = device.Zeros([vector.Scaled.Length, 1]);
            if (!(Scatter(a, A, sums) | Scatter(b, B, sums))) return;
            vector.AddGradient(sums);
        }

        public override void Freeze()
        {
            base.Freeze();
            a.Dispose();
            b.Dispose();
        }

        internal override LowRankFactors Factors(int row) => base.Factors(row)! with { Alpha = rank };

        protected override void Release()
        {
            a.Dispose();
            b.Dispose();
            base.Release();
        }

        private void LookUp(Tensor indices, Parameter factor)
        {
            using Tensor entries = device.Empty([indices.Length, 1]);
            device.GatherRows(vector.Scaled, indices, entries);
            device.Axpby(1, entries, 0, factor.Value);
        }

        private bool Scatter(Tensor indices, Parameter factor, Tensor sums)
        {
            if (!factor.HasGradient) return false;
            using Tensor entries = device.Empty([indices.Length, 1]);
            device.Axpby(1, factor.Gradient, 0, entries);
            device.ScatterAddRows(entries, indices, sums);
            factor.ClearGradient();
            return true;
        }

        // PEFT's factors are the transposes of ours.
        private static int[] Turned(ReadOnlySpan<int> values, int rows, int columns)
        {
            int[] result = new int[values.Length];
            for (int i = 0; i < rows; i++)
                for (int j = 0; j < columns; j++)
                    result[j * rows + i] = values[i * columns + j];
            return result;
        }
    }
}
