using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>How the factors come from the mixture; see docs/basis.md.</summary>
public enum NolaVariant
{
    /// <summary>A = A₀ + Σ αᵢAᵢ/√k, B = Σ βⱼBⱼ/√k, coefficients from 0: the first output is the base model's (the authors' 2024 code, with B₀ = 0).</summary>
    Offset,

    /// <summary>A = Σ αᵢAᵢ, B = Σ βⱼBⱼ with entries scaled by 1/√(rows·cols), coefficients from 1/k (the paper's equations, 2023 code).</summary>
    Paper,
}

/// <summary>Settings of a <see cref="NolaAdapter"/>. What is not trained is derived from these and the seed.</summary>
public sealed record NolaOptions
{
    /// <summary>r, 8 as published.</summary>
    public int Rank { get; init; } = 8;

    /// <summary>k for A: how many random matrices are mixed.</summary>
    public int BasesA { get; init; } = 512;

    /// <summary>k for B.</summary>
    public int BasesB { get; init; } = 512;

    /// <summary>k for both.</summary>
    public int Bases
    {
        init => (BasesA, BasesB) = (value, value);
    }

    /// <summary>The output is scaled by alpha / r.</summary>
    public float Alpha { get; init; } = 8;

    /// <summary>Key of the random bases.</summary>
    public ulong Seed { get; init; } = 42;

    /// <summary>Distribution of the bases' entries.</summary>
    public BasisEntries Entries { get; init; } = BasisEntries.Uniform;

    /// <summary>A basis of its own for each layer, instead of one that all layers share.</summary>
    public bool PerLayer { get; init; }

    /// <summary>How the factors come from the mixture.</summary>
    public NolaVariant Variant { get; init; } = NolaVariant.Offset;

    /// <summary>Which linear maps, see <see cref="AdapterTargets"/>.</summary>
    public IReadOnlyList<string> Targets { get; init; } = AdapterTargets.Default;

    /// <summary>
    /// 8, 4, 3 or 2: the factors are mixed from coefficients rounded by <see cref="CoefficientQuantiser"/>, each layer's vector
    /// by itself, with gradients passed straight through; and the file holds them packed. 0: float32.
    /// </summary>
    public int QuantiseBits { get; init; }

    /// <summary>Refuses what does not depend on the model and is out of range.</summary>
    /// <exception cref="NolaException">A setting is out of range.</exception>
    internal void Check()
    {
        foreach ((string name, int k) in (ReadOnlySpan<(string, int)>)[("BasesA", BasesA), ("BasesB", BasesB)])
            if (k is < 1 or > 1_000_000) throw new NolaException($"{name} is {k}; expected 1 to 1,000,000.");
        if (QuantiseBits != 0) CoefficientQuantiser.Levels(QuantiseBits);
        if (!Enum.IsDefined(Entries)) throw new NolaException($"Entries is {Entries}; expected Uniform, Normal or Sign.");
        if (!Enum.IsDefined(Variant)) throw new NolaException($"Variant is {Variant}; expected Offset or Paper.");
    }
}

/// <summary>
/// NOLA (Koohpayegani et al., ICLR 2024, arXiv 2310.02556): y += (alpha / r) · (x · A) · B, where A and B are linear
/// combinations of random matrices that are a pure function of the seed. Only the coefficients are trained. For each kind
/// of map and factor they are one matrix (L, k), and all layers are mixed in one product, once per optimiser step.
/// </summary>
public sealed class NolaAdapter : Adapter
{
    private readonly List<Mixture> mixtures = [];
    private Tape? mixing;

    private NolaAdapter(Gpt2 model, NolaOptions options) : base(model, options.Rank, options.Alpha, options.Targets)
    {
        Options = options;
        try
        {
            foreach (Factors f in FactorSets) Mix(f);
            Parameters = [.. mixtures.Select(m => m.Coefficients)];
            BeginStep();
        }
        catch
        {
            Dispose();
            throw;
        }
        model.Adapter = this;
    }

    /// <summary>What it was attached with.</summary>
    public NolaOptions Options { get; }

    /// <summary>The coefficient matrices: for each kind of map <c>….A</c> and <c>….B</c>, each (L, k).</summary>
    public override IReadOnlyList<Parameter> Parameters { get; }

    /// <summary>
    /// Proof that a basis is the one it was trained with: FNV-1a over the float32 bits of the first 64 entries of the first
    /// and the last matrix of every basis. 16 hex digits.
    /// </summary>
    public string Fingerprint => BasisFingerprint.Of(mixtures.Select(m => m.FirstBasis));

    /// <summary>Puts a new adapter on a frozen model.</summary>
    /// <exception cref="NolaException">A setting is out of range, or the model has an adapter.</exception>
    public static NolaAdapter Attach(Gpt2 model, NolaOptions? options = null)
    {
        options ??= new();
        options.Check();
        return new(model, options);
    }

    /// <inheritdoc/>
    public override void BeginStep()
    {
        mixing?.Dispose();
        mixing = new Tape(Model.Device);
        foreach (Mixture m in mixtures) m.Mix(mixing);
    }

    /// <inheritdoc/>
    public override void EndStep()
    {
        if (mixing is null) throw new InvalidOperationException("EndStep: there was no BeginStep.");
        (Variable, Tensor)[] roots = [.. mixtures.Where(m => m.Factor.HasGradient).Select(m => (m.Mixed, m.Factor.Gradient))];
        mixing.Backward(roots);
        foreach (Mixture m in mixtures) m.Factor.ClearGradient();
        mixing.Dispose();
        mixing = null;
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        mixing?.Dispose();
        mixing = null;
        foreach (Mixture m in mixtures) m.Dispose();
        base.Dispose();
    }

    // The mixtures that become the two factors of one kind of map.
    private void Mix(Factors f)
    {
        Tensor? start = Options.Variant == NolaVariant.Offset
            ? Model.Device.From(InitialFactors.Uniform(Options.Seed, f.Kind, f.Layers, f.In, f.Rank), f.A.Shape)
            : null;
        try
        {
            mixtures.Add(new Mixture(f, f.A, Basis(f, 0, Options.BasesA, f.In, f.Rank), start, Options));
        }
        catch
        {
            start?.Dispose();
            throw;
        }
        mixtures.Add(new Mixture(f, f.B, Basis(f, 1, Options.BasesB, f.Rank, f.Out), null, Options));
    }

    private RandomBasis Basis(Factors f, int factor, int k, int rows, int cols) =>
        new(Options.Seed, RandomBasis.StreamOf((int)f.Kind, factor), 0, k, rows, cols, Options.Entries);

    /// <summary>One factor of one kind of map in all layers: its coefficients, basis and frozen part.</summary>
    private sealed class Mixture(Factors set, Parameter factor, RandomBasis basis, Tensor? offset, NolaOptions options) : IDisposable
    {
        public Parameter Factor => factor;

        public Parameter Coefficients { get; } = new(factor.Name, Start(factor.Value.Device, set.Layers.Length, basis.Count, options.Variant));

        public Variable Mixed { get; private set; }

        public RandomBasis FirstBasis => options.PerLayer ? basis with { Layer = (uint)set.Layers[0] + 1 } : basis;

        // c_k, with the paper's bound on the entries taken into it.
        private float Scale => options.Variant == NolaVariant.Offset ? 1 / MathF.Sqrt(basis.Count) : 1 / MathF.Sqrt(basis.Size);

        public void Mix(Tape tape)
        {
            Variable coefficients = tape.Read(Coefficients);
            if (options.QuantiseBits > 0) coefficients = Ops.StraightThrough(coefficients, CoefficientQuantiser.Levels(options.QuantiseBits));
            Mixed = Ops.BasisMix(coefficients, basis, Scale, offset, options.PerLayer ? set.Layers : null);
            tape.Device.Axpby(1, Mixed.Value, 0, factor.Value);
        }

        public void Dispose()
        {
            offset?.Dispose();
            Coefficients.Dispose();
        }

        private static Tensor Start(Device device, int layers, int k, NolaVariant variant)
        {
            Tensor coefficients = device.Empty([layers, k]);
            device.Fill(coefficients, variant == NolaVariant.Offset ? 0 : 1f / k);
            return coefficients;
        }
    }
}
