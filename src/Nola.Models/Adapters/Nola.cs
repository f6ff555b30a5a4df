using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>How the factors come from the mixture; see docs/basis.md.</summary>
public enum NolaVariant
{
    /// <summary>
    /// A = A₀ + Σ αᵢAᵢ/√k, B = Σ βⱼBⱼ/√k, coefficients from 0: the first output is the base model's (the authors' 2024 code, with
    /// B₀ = 0). On the token embedding A = Σ αᵢAᵢ/√k and B = B₀ + Σ βⱼBⱼ/√k.
    /// </summary>
    Offset,

    /// <summary>
    /// A = Σ αᵢAᵢ, B = Σ βⱼBⱼ with entries scaled by 1/√(rows·cols),
    /// coefficients from 1/k (the paper's equations, 2023 code).
    /// </summary>
    Paper,
}

/// <summary>Settings of NOLA.</summary>
public sealed record NolaOptions : AdapterOptions
{
    /// <summary>The published settings: rank 8, alpha 8, 512 matrices for each factor.</summary>
    public NolaOptions() => (Rank, Alpha) = (8, 8);

    /// <summary>k for A: how many random matrices are mixed.</summary>
    public int BasesA { get; init; } = 512;

    /// <summary>k for B.</summary>
    public int BasesB { get; init; } = 512;

    /// <summary>k for both: sets <see cref="BasesA"/> and <see cref="BasesB"/>, and reads as the first.</summary>
    public int Bases
    {
        get => BasesA;
        init => (BasesA, BasesB) = (value, value);
    }

    /// <summary>Key of the random bases.</summary>
    public ulong Seed { get; init; } = 42;

    /// <summary>Distribution of the bases' entries.</summary>
    public BasisEntries Entries { get; init; } = BasisEntries.Uniform;

    /// <summary>Whether each layer has a basis of its own, instead of one that all layers share.</summary>
    public bool PerLayer { get; init; }

    /// <summary>How the factors come from the mixture.</summary>
    public NolaVariant Variant { get; init; } = NolaVariant.Offset;

    /// <summary>
    /// 8, 4, 3 or 2: the factors are mixed from coefficients rounded by <see cref="CoefficientQuantizer"/>, each layer's vector
    /// by itself, with gradients passed straight through; and the file holds them packed. 0: float32.
    /// </summary>
    public int QuantizeBits { get; init; }

    /// <inheritdoc/>
    public override AdapterMethod Method => NolaMethod.Instance;

    /// <inheritdoc/>
    internal override int StoredBits => QuantizeBits;
}

/// <summary>
/// NOLA (Koohpayegani et al., ICLR 2024, arXiv 2310.02556): y += (alpha / r) · (x · A) · B, where A and B are linear
/// combinations of random matrices that are a pure function of the seed. Only the coefficients are trained. For each kind
/// of map and factor they are one matrix (L, k), and all layers are mixed in one product, once per optimizer step.
/// </summary>
internal sealed class NolaMethod : AdapterMethod
{
    public static readonly NolaMethod Instance = new();

    private NolaMethod() { }

    public override string Name => "nola";

    public override string Title => "NOLA";

    public override AdapterOptions Defaults { get; } = new NolaOptions();

    // What got most of full fine-tuning's gain with 1.2 % of the parameters: q, k and v give the least, the head more (docs/results.md).
    public override AdapterOptions DefaultsForEmbedded { get; } =
        new NolaOptions { Rank = 16, Alpha = 16, Bases = 2040, Targets = ["attn.c_proj", "c_fc", "mlp.c_proj", "lm_head"] };

    // ViT's MLP at rank 4, as the paper's smaller setting has it.
    public override AdapterOptions DefaultsForImages { get; } =
        new NolaOptions { Rank = 4, Alpha = 4, Bases = 1000, Targets = ["fc1", "fc2"], TrainHead = true };

    public override double LearningRate => 0.005;

    public override double LearningRateForEmbedded => 0.02;

    public override double LearningRateForEmbeddedImages => 0.02;

    public override IReadOnlyList<AdapterOption> OwnOptions { get; } =
    [
        AdapterOption.Choice<NolaOptions, NolaVariant>(
            "variant", "variant", "How factors are mixed: offset adds a frozen A0 and starts B at 0, paper mixes alone",
            [("offset", NolaVariant.Offset), ("paper", NolaVariant.Paper)], o => o.Variant, (o, value) => o with { Variant = value }),
        AdapterOption.Choice<NolaOptions, BasisEntries>(
            "entries", "entries", "Distribution of the bases' entries",
            [("uniform", BasisEntries.Uniform), ("normal", BasisEntries.Normal), ("sign", BasisEntries.Sign)],
            o => o.Entries, (o, value) => o with { Entries = value }),
        AdapterOption.Choice<NolaOptions, bool>(
            "sharing", "sharing", "Whether all layers share their bases",
            [("shared", false), ("per-layer", true)], o => o.PerLayer, (o, value) => o with { PerLayer = value }),
        AdapterOption.Whole<NolaOptions>(
            "bases", null, "k: random matrices mixed for each factor",
            "a whole number from 1", _ => null, (o, value) => o with { Bases = value }),
        AdapterOption.Whole<NolaOptions>(
            "bases-a", "bases_a", "k for A, when it differs", "a whole number from 1",
            o => o.BasesA, (o, value) => o with { BasesA = value }),
        AdapterOption.Whole<NolaOptions>(
            "bases-b", "bases_b", "k for B, when it differs", "a whole number from 1",
            o => o.BasesB, (o, value) => o with { BasesB = value }),
        AdapterOption.BasisSeed<NolaOptions>("seed", o => o.Seed, (o, value) => o with { Seed = value }),
        AdapterOption.Whole<NolaOptions>(
            "quantize-bits", null,
            "Mix NOLA's factors from coefficients rounded to 8, 4, 3 or 2 bits while training, and save them packed; 0 for float32",
            "0, 8, 4, 3 or 2", o => o.QuantizeBits, (o, value) => o with { QuantizeBits = value }) with
        {
            Elsewhere = "The values of another method can be rounded once it is trained.",
        },
    ];

    public override string Generator => RandomBasis.GeneratorId;

    public override void Check(AdapterOptions options)
    {
        base.Check(options);
        NolaOptions o = (NolaOptions)options;
        (string, int)[] counts = [(o.BasesA == o.BasesB ? "bases" : "bases-a", o.BasesA), ("bases-b", o.BasesB)];
        foreach ((string name, int k) in counts)
            if (k is < 1 or > 1_000_000) throw new NolaException($"{name} is {k}; expected 1 to 1,000,000.");
        if (o.QuantizeBits is not (0 or 8 or 4 or 3 or 2))
            throw new NolaException($"quantize-bits is {o.QuantizeBits}; expected 0, 8, 4, 3 or 2.");
        if (!Enum.IsDefined(o.Entries)) throw new NolaException($"entries is {o.Entries}; expected uniform, normal or sign.");
        if (!Enum.IsDefined(o.Variant)) throw new NolaException($"variant is {o.Variant}; expected offset or paper.");
    }

    public override void Check(AdapterOptions options, IReadOnlyList<MapGroup> groups) => CheckFactors(options.Rank, groups);

    public override IReadOnlyList<(string Name, int[] Shape)> Trained(AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups)
    {
        NolaOptions o = (NolaOptions)options;
        return [.. groups.SelectMany(group => ((string, int[])[])
            [(group.Kind + ".A", [group.Count, o.BasesA]), (group.Kind + ".B", [group.Count, o.BasesB])])];
    }

    public override IReadOnlyList<DeltaStack> Create(AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups) =>
        ForEach(groups, group => new Stack(group, (NolaOptions)options, model.Device));

    /// <summary>
    /// FNV-1a over the float32 bits of the first 64 entries of the first and the last matrix of every basis. 16 hex digits.
    /// </summary>
    public override string Fingerprint(AdapterOptions options, IReadOnlyList<MapGroup> groups)
    {
        NolaOptions o = (NolaOptions)options;
        return BasisFingerprint.Of(
            groups.SelectMany(group => (RandomBasis[])[First(group, BasisA(o, group)), First(group, BasisB(o, group))]));

        RandomBasis First(MapGroup group, RandomBasis basis) => o.PerLayer ? basis with { Layer = (uint)group.Layers[0] + 1 } : basis;
    }

    /// <summary>All adapters in one product for each factor, over one generation of its bases.</summary>
    internal override IReadOnlyList<IReadOnlyList<DeltaStack>> Load(IModel model, IReadOnlyList<AdapterContent> contents)
    {
        AdapterForm form = contents[0].Form;
        NolaOptions o = (NolaOptions)form.Options;
        List<DeltaStack>[] all = [.. contents.Select(_ => new List<DeltaStack>())];
        using Rollback made = new();
        foreach (MapGroup group in form.Groups)
        {
            float[]? start = o.Variant == NolaVariant.Offset ? Offset(group, o) : null;
            Tensor[] a = Mixed(model.Device, o, group, BasisA(o, group), group.IsLookup ? null : start, Values(group.Kind + ".A"), made);
            Tensor[] b = Mixed(model.Device, o, group, BasisB(o, group), group.IsLookup ? start : null, Values(group.Kind + ".B"), made);
            for (int i = 0; i < all.Length; i++) all[i].Add(new MixedStack(group, o, a[i], b[i]));
        }
        made.Commit();
        return all;

        IEnumerable<float[]> Values(string name) => contents.Select(content => content.Values(name));
    }

    internal override long LoadedBytes(AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups) =>
        groups.Sum(group => (long)group.Count * (group.In + group.Out) * options.Rank * sizeof(float));

    internal override AdapterOptions WithStoredBits(AdapterOptions options, int bits) => (NolaOptions)options with { QuantizeBits = bits };

    private static RandomBasis BasisA(NolaOptions o, MapGroup group) =>
        new(o.Seed, RandomBasis.StreamOf(group.Stream, 0), 0, o.BasesA, group.In, o.Rank, o.Entries);

    private static RandomBasis BasisB(NolaOptions o, MapGroup group) =>
        new(o.Seed, RandomBasis.StreamOf(group.Stream, 1), 0, o.BasesB, o.Rank, group.Out, o.Entries);

    // A₀; on the token embedding B₀, since there it is A that starts at zero. (L, rows, cols)
    private static float[] Offset(MapGroup group, NolaOptions options) => group.IsLookup
        ? InitialFactors.UniformB(options.Seed, group, options.Rank)
        : InitialFactors.Uniform(options.Seed, group, options.Rank);

    // c_k, with the paper's bound on the entries taken into it.
    private static float Scale(NolaVariant variant, RandomBasis basis) =>
        variant == NolaVariant.Offset ? 1 / MathF.Sqrt(basis.Count) : 1 / MathF.Sqrt(basis.Size);

    private static JointMixture Joint(NolaOptions o, MapGroup group, RandomBasis basis) =>
        new(basis, o.PerLayer ? group.Layers : null, Scale(o.Variant, basis));

    // One factor of many adapters, each (L, rows, cols), of their coefficients (L, k).
    private static Tensor[] Mixed(
        Device device, NolaOptions o, MapGroup group, RandomBasis basis, float[]? offset, IEnumerable<float[]> coefficients, Rollback made)
    {
        using Rollback read = new();
        Tensor? start = offset is null ? null : read.Add(device.From(offset, [group.Count, basis.Rows, basis.Cols]));
        Tensor[] values = [.. coefficients.Select(own => read.Add(device.From(own, [group.Count, basis.Count])))];
        Tensor[] factors = [.. values.Select(_ => made.Add(device.Empty([group.Count, basis.Rows, basis.Cols])))];
        Joint(o, group, basis).Mix(start, values, factors);
        return factors;
    }

    /// <summary>Both factors of one kind of map, mixed once and for all.</summary>
    private sealed class MixedStack(MapGroup group, NolaOptions options, Tensor a, Tensor b) : LowRankStack(group, options, a, b)
    {
        public override IReadOnlyList<Parameter> Parameters => [];
    }

    /// <summary>Both factors of one kind of map, each a mixture.</summary>
    private sealed class Stack : LowRankStack
    {
        private readonly Device device;
        private readonly Mixture a, b;
        private Tape? mixing;
        private bool frozen;

        public Stack(MapGroup group, NolaOptions options, Device device) : base(group, options, device)
        {
            this.device = device;
            using Rollback made = new(A, B);
            Tensor? start = options.Variant == NolaVariant.Offset
                ? made.Add(device.From(Offset(group, options), group.IsLookup ? B.Value.Shape : A.Value.Shape))
                : null;
            a = made.Add(new Mixture(A, BasisA(options, group), group.IsLookup ? null : start, group, options));
            b = new Mixture(B, BasisB(options, group), group.IsLookup ? start : null, group, options);
            Parameters = [a.Coefficients, b.Coefficients];
            made.Commit();
        }

        public override IReadOnlyList<Parameter> Parameters { get; }

        public override void Update()
        {
            mixing?.Dispose();
            mixing = new Tape(device);
            a.Mix(mixing);
            b.Mix(mixing);
        }

        public override void CollectGradients()
        {
            if (mixing is null)
                throw new InvalidOperationException("CollectGradients: the factors were not brought up to date since the last call.");
            mixing.Backward([.. new[] { a, b }.Where(m => m.Factor.HasGradient).Select(m => (m.Mixed, m.Factor.Gradient))]);
            A.ClearGradient();
            B.ClearGradient();
            mixing.Dispose();
            mixing = null;
        }

        internal override void UpdateTogether(IReadOnlyList<DeltaStack> stacks)
        {
            // Nothing is kept for gradients, which a product makes of the factors' alone.
            foreach (Stack stack in stacks.Cast<Stack>())
            {
                stack.mixing?.Dispose();
                stack.mixing = null;
            }
            Mixture.MixTogether([.. stacks.Select(stack => ((Stack)stack).a)]);
            Mixture.MixTogether([.. stacks.Select(stack => ((Stack)stack).b)]);
        }

        internal override void CollectTogether(IReadOnlyList<DeltaStack> stacks)
        {
            Mixture.CollectTogether([.. stacks.Select(stack => ((Stack)stack).a)]);
            Mixture.CollectTogether([.. stacks.Select(stack => ((Stack)stack).b)]);
        }

        public override void Freeze()
        {
            base.Freeze();
            mixing?.Dispose();
            a.Dispose();
            b.Dispose();
            (mixing, frozen) = (null, true);
        }

        protected override void Release()
        {
            if (!frozen) Freeze();
            base.Release();
        }
    }

    /// <summary>One factor of one kind of map in all layers: its coefficients, basis and frozen part.</summary>
    private sealed class Mixture(Parameter factor, RandomBasis basis, Tensor? offset, MapGroup group, NolaOptions options) : IDisposable
    {
        public Parameter Factor => factor;

        // (L, k)
        public Parameter Coefficients { get; } = new(factor.Name, Start(factor.Value.Device, group.Count, basis.Count, options.Variant));

        public Variable Mixed { get; private set; }

        public void Mix(Tape tape)
        {
            Mixed = Ops.BasisMix(
                Rounded(tape), basis, Scale(options.Variant, basis), offset, options.PerLayer ? group.Layers : null);
            tape.Device.Axpby(1, Mixed.Value, 0, factor.Value);
        }

        /// <summary>The same for mixtures of one form in one product.</summary>
        public static void MixTogether(IReadOnlyList<Mixture> mixtures)
        {
            Mixture first = mixtures[0];
            using Tape tape = new(first.Factor.Value.Device, record: false);
            first.Joint().Mix(
                first.Offset, [.. mixtures.Select(m => m.Rounded(tape).Value)], [.. mixtures.Select(m => m.Factor.Value)]);
        }

        /// <summary>Brings gradients of factors to the coefficients, where there are some.</summary>
        public static void CollectTogether(IReadOnlyList<Mixture> mixtures)
        {
            Mixture[] some = [.. mixtures.Where(m => m.Factor.HasGradient)];
            if (some.Length == 0) return;
            Device device = some[0].Factor.Value.Device;
            using Tape tape = new(device);
            Tensor[] made = [.. some.Select(m => tape.New(m.Coefficients.Shape).Value)];
            some[0].Joint().Gradients([.. some.Select(m => m.Factor.Gradient)], made);
            // Rounding passes gradients straight through.
            tape.Backward([.. some.Select((m, i) => (tape.Read(m.Coefficients), made[i]))]);
            foreach (Mixture m in some) m.Factor.ClearGradient();
        }

        public void Dispose()
        {
            offset?.Dispose();
            Coefficients.Dispose();
        }

        private Tensor? Offset => offset;

        private JointMixture Joint() => NolaMethod.Joint(options, group, basis);

        private Variable Rounded(Tape tape)
        {
            Variable coefficients = tape.Read(Coefficients);
            return options.QuantizeBits == 0
                ? coefficients
                : Ops.StraightThrough(coefficients, CoefficientQuantizer.Levels(options.QuantizeBits));
        }

        private static Tensor Start(Device device, int layers, int k, NolaVariant variant)
        {
            Tensor coefficients = device.Empty([layers, k]);
            device.Fill(coefficients, variant == NolaVariant.Offset ? 0 : 1f / k);
            return coefficients;
        }
    }
}
