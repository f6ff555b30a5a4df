using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>Settings of VB-LoRA.</summary>
public sealed record VbLoraOptions : AdapterOptions
{
    /// <summary>PEFT's settings: rank 4, 256 vectors of 256 numbers, of which 2 are mixed.</summary>
    public VbLoraOptions() => (Rank, Alpha) = (4, 1);

    /// <summary>h: vectors in the bank, PEFT's <c>num_vectors</c>.</summary>
    public int Vectors { get; init; } = 256;

    /// <summary>b: numbers of a vector, PEFT's <c>vector_length</c>; it divides the sides of every adapted map.</summary>
    public int VectorLength { get; init; } = 256;

    /// <summary>How many vectors are mixed to a part of a factor, PEFT's <c>topk</c>.</summary>
    public int TopK { get; init; } = 2;

    /// <summary>Seed of the first values.</summary>
    public ulong Seed { get; init; } = 42;

    /// <summary>Standard deviation of the first logits, PEFT's <c>init_logits_std</c>.</summary>
    public float LogitsDeviation { get; init; } = 0.1f;

    /// <summary>The first vectors are uniform within it, PEFT's <c>init_vector_bank_bound</c>.</summary>
    public float BankBound { get; init; } = 0.02f;

    /// <summary>What the learning rate is multiplied by for the bank; as published for E2E.</summary>
    public float BankRate { get; init; } = 0.1f;

    /// <inheritdoc/>
    public override AdapterMethod Method => VbLoraMethod.Instance;
}

/// <summary>
/// VB-LoRA (Li et al., NeurIPS 2024, arXiv 2405.15179): y += (x · A) · B, where the factors are cut into parts of b numbers, and each part
/// is a mixture of the vectors of one bank (h, b) that all maps share: of those with the k largest of the part's h logits, weighted by
/// the softmax of these k. Bank and logits are trained; the logits outside the k get no gradient, and the k are chosen anew at each step.
/// </summary>
internal sealed class VbLoraMethod : AdapterMethod
{
    public static readonly VbLoraMethod Instance = new();

    /// <summary>The bank's name in files.</summary>
    public const string Bank = "vector_bank";

    // By the number of the factor in the random numbers.
    private static readonly string[] factors = ["A", "B"];

    private VbLoraMethod() { }

    public override string Name => "vblora";

    public override string Title => "VB-LoRA";

    public override AdapterOptions Defaults { get; } = new VbLoraOptions();

    public override AdapterOptions DefaultsForEmbedded { get; } =
        new VbLoraOptions { Targets = ["*"], Vectors = 64, VectorLength = 16, BankRate = 1 };

    public override double LearningRate => 0.01;

    public override double LearningRateForEmbedded => 0.02;

    public override IReadOnlyList<AdapterOption> CommonOptions => AdapterOption.CommonWithoutAlpha;

    public override IReadOnlyList<AdapterOption> OwnOptions { get; } =
    [
        AdapterOption.Whole<VbLoraOptions>(
            "vectors", "vectors", "Vectors in VB-LoRA's bank", "a whole number from 1",
            o => o.Vectors, (o, value) => o with { Vectors = value }),
        AdapterOption.Whole<VbLoraOptions>(
            "vector-length", "vector_length", "Numbers of a vector of VB-LoRA's bank, which divide the sides of every adapted map",
            "a whole number from 1", o => o.VectorLength, (o, value) => o with { VectorLength = value }),
        AdapterOption.Whole<VbLoraOptions>(
            "topk", "topk", "How many vectors VB-LoRA mixes to a part of a factor", "a whole number from 1",
            o => o.TopK, (o, value) => o with { TopK = value }),
        AdapterOption.BasisSeed<VbLoraOptions>(null, o => o.Seed, (o, value) => o with { Seed = value }),
        AdapterOption.Real<VbLoraOptions>(
            "logits-deviation", null, "Standard deviation of VB-LoRA's first logits", "a number from 0",
            o => o.LogitsDeviation, (o, value) => o with { LogitsDeviation = value }),
        AdapterOption.Real<VbLoraOptions>(
            "bank-bound", null, "VB-LoRA's first vectors are uniform within it", "a number above 0",
            o => o.BankBound, (o, value) => o with { BankBound = value }),
        AdapterOption.Real<VbLoraOptions>(
            "bank-rate", null, "What the learning rate is multiplied by for VB-LoRA's bank", "a positive number",
            o => o.BankRate, (o, value) => o with { BankRate = value }),
    ];

    internal override PeftForm Peft => PeftVbLora.Instance;

    public override void Check(AdapterOptions options)
    {
        base.Check(options);
        VbLoraOptions o = (VbLoraOptions)options;
        if (o.Vectors is < 1 or > 1_000_000) throw new NolaException($"vectors is {o.Vectors}; expected 1 to 1,000,000.");
        if (o.VectorLength < 1) throw new NolaException($"vector-length is {o.VectorLength}; expected 1 or more.");
        if (o.TopK < 1 || o.TopK > o.Vectors)
            throw new NolaException($"topk is {o.TopK}; expected 1 to {o.Vectors}, the number of vectors.");
        if (!(o.LogitsDeviation >= 0 && float.IsFinite(o.LogitsDeviation)))
            throw new NolaException(
                FormattableString.Invariant($"logits-deviation is {o.LogitsDeviation}; expected a finite number from 0."));
        // From a bank of zeros, the gradients of both factors are zero for ever.
        foreach ((string name, float value) in ((string, float)[])[("bank-bound", o.BankBound), ("bank-rate", o.BankRate)])
            if (!(value > 0 && float.IsFinite(value)))
                throw new NolaException(FormattableString.Invariant($"{name} is {value}; expected a finite number above 0."));
    }

    public override void Check(AdapterOptions options, IReadOnlyList<MapGroup> groups)
    {
        VbLoraOptions o = (VbLoraOptions)options;
        RefuseTokenEmbedding(groups);
        if (o.VectorLength < 1) throw new NolaException($"vector-length is {o.VectorLength}; expected 1 or more.");
        foreach (MapGroup group in groups)
            if (group.In % o.VectorLength != 0 || group.Out % o.VectorLength != 0)
                throw new NolaException(
                    $"vector-length is {o.VectorLength}; it must divide the {group.In} inputs and the {group.Out} outputs of "
                    + $"{group.Kind}.");
        CheckFactors(o.Rank, groups);
        long bank = (long)o.Vectors * o.VectorLength, logits = groups.Max(group => Logits(o, group, Math.Max(group.In, group.Out)));
        if (Math.Max(bank, logits) > Array.MaxLength)
            throw new NolaException(
                $"vectors is {o.Vectors}; with it, the bank has {bank} elements and the logits of one kind of map {logits}, "
                + $"and at most {Array.MaxLength} are supported.");
    }

    public override IReadOnlyList<(string Name, int[] Shape)> Trained(
        AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups)
    {
        VbLoraOptions o = (VbLoraOptions)options;
        return
        [
            (Bank, [o.Vectors, o.VectorLength]),
            .. groups.SelectMany(group => ((string, int[])[])
                [(group.Kind + ".A", [.. ShapeOf(o, group, group.In)]), (group.Kind + ".B", [.. ShapeOf(o, group, group.Out)])]),
        ];
    }

    public override IReadOnlyList<DeltaStack> Create(AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups)
    {
        VbLoraOptions o = (VbLoraOptions)options;
        using Rollback made = new();
        BankStack bank = made.Add(new BankStack(o, model.Device));
        IReadOnlyList<DeltaStack> stacks = [bank, .. ForEach(groups, group => new Stack(group, o, bank, model.Device))];
        made.Commit();
        return stacks;
    }

    internal override long LoadedBytes(AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups) =>
        base.LoadedBytes(options, model, groups)
        + groups.Sum(group => (long)group.Count * (group.In + group.Out) * options.Rank * sizeof(float));

    private static long Logits(VbLoraOptions o, MapGroup group, int side) =>
        (long)group.Count * o.Rank * (side / o.VectorLength) * o.Vectors;

    // (L, r, parts, h)
    private static int[] ShapeOf(VbLoraOptions o, MapGroup group, int side) =>
        [group.Count, o.Rank, side / o.VectorLength, o.Vectors];

    /// <summary>The bank of all maps. It is on no layer by itself.</summary>
    internal sealed class BankStack : DeltaStack
    {
        public BankStack(VbLoraOptions options, Device device)
        {
            RandomBasis start = new(
                options.Seed, RandomBasis.StreamOf(0, 1), 0, 1, options.Vectors, options.VectorLength, BasisEntries.Uniform);
            float[] values = new float[start.Size];
            start.Fill(RandomBasis.OffsetIndex, values);
            foreach (ref float value in values.AsSpan()) value *= options.BankBound;
            Vectors = new Parameter(Bank, device.From(values, [options.Vectors, options.VectorLength])) { RateFactor = options.BankRate };
            Parameters = [Vectors];
        }

        /// <summary>(h, b).</summary>
        public Parameter Vectors { get; }

        public override IReadOnlyList<AdaptableLayer> Layers => [];

        public override IReadOnlyList<Parameter> Parameters { get; }

        public override IEnumerable<Delta> On(Tape tape, int row) => [];

        public override void Freeze() => Vectors.Trainable = false;

        protected override void Release() => Vectors.Dispose();
    }

    /// <summary>The logits of one kind of map, and the factors that they mix of the bank.</summary>
    internal sealed class Stack : LowRankStack
    {
        private readonly BankMixture a, b;

        public Stack(MapGroup group, VbLoraOptions options, BankStack bank, Device device)
            : base(group, options with { Alpha = options.Rank }, device)
        {
            using Rollback made = new(A, B);
            a = made.Add(new BankMixture(made.Add(Start(0, group.In)), bank.Vectors, options.TopK));
            b = new BankMixture(made.Add(Start(1, group.Out)), bank.Vectors, options.TopK);
            Parameters = [a.Logits, b.Logits];
            made.Commit();

            Parameter Start(int factor, int side)
            {
                int size = options.Rank * (side / options.VectorLength) * options.Vectors;
                float[] values = new float[group.Count * size];
                for (int i = 0; i < group.Count; i++)
                {
                    RandomBasis one = new(
                        options.Seed, RandomBasis.StreamOf(group.Stream, factor), (uint)group.Layers[i] + 1, 1, 1, size,
                        BasisEntries.Normal);
                    one.Fill(RandomBasis.OffsetIndex, values.AsSpan(i * size, size));
                }
                foreach (ref float value in values.AsSpan()) value *= options.LogitsDeviation;
                return new($"{group.Kind}.{factors[factor]}", device.From(values, Shape.Create(ShapeOf(options, group, side))));
            }
        }

        public override IReadOnlyList<Parameter> Parameters { get; }

        // The parts of A are parts of its columns, those of B of its rows.
        public override void Update()
        {
            Device device = A.Value.Device;
            using Tensor turned = device.Empty([Group.Count * A.Shape[2], Group.In]), one = Identity(device, A.Shape[2]);
            a.Mix(turned);
            for (int row = 0; row < Group.Count; row++) device.MatMul(Turned(turned, row), true, one, false, OfA(A.Value, row));
            b.Mix(B.Value);
        }

        public override void CollectGradients()
        {
            if (!A.HasGradient && !B.HasGradient) return;
            Device device = A.Value.Device;
            using Tensor turned = device.Empty([Group.Count * A.Shape[2], Group.In]), one = Identity(device, A.Shape[2]);
            if (A.HasGradient)
            {
                for (int row = 0; row < Group.Count; row++) device.MatMul(one, false, OfA(A.Gradient, row), true, Turned(turned, row));
                a.Collect(turned);
                A.ClearGradient();
            }
            if (!B.HasGradient) return;
            b.Collect(B.Gradient);
            B.ClearGradient();
        }

        public override void Freeze()
        {
            base.Freeze();
            a.Logits.Trainable = b.Logits.Trainable = false;
        }

        protected override void Release()
        {
            a.Dispose();
            b.Dispose();
            base.Release();
        }

        private Matrix Turned(Tensor turned, int row) => ((Matrix)turned).SliceRows(row * A.Shape[2], A.Shape[2]);

        private Matrix OfA(Tensor stacked, int row) =>
            new(stacked, Group.In, A.Shape[2], row * Group.In * A.Shape[2], A.Shape[2]);

        private static Tensor Identity(Device device, int size)
        {
            float[] values = new float[size * size];
            for (int i = 0; i < size; i++) values[i * size + i] = 1;
            return device.From(values, [size, size]);
        }
    }
}

/// <summary>
/// Parts of b numbers, each the mixture of the k vectors of a bank with the largest of its h logits, weighted by their softmax. Only the k
/// are chosen on the device and weighed on the host, so that what is copied between them grows with the parts and not with the bank,
/// but for the gradient of the logits.
/// </summary>
internal sealed class BankMixture : IDisposable
{
    private readonly Parameter bank;
    private readonly Device device;
    private readonly int parts, k;
    private readonly Tensor places;
    private float[] weights = [];
    private int[] chosen = [];

    /// <summary>Takes the logits over.</summary>
    /// <param name="logits">(…, h): a row for each part.</param>
    /// <param name="bank">(h, b).</param>
    /// <param name="k">How many vectors are mixed.</param>
    public BankMixture(Parameter logits, Parameter bank, int k)
    {
        (Logits, this.bank, this.k, device, parts) = (logits, bank, k, logits.Value.Device, logits.Shape.Rows);
        int[] part = new int[parts * k];
        for (int i = 0; i < part.Length; i++) part[i] = i / k;
        places = device.From(part);
    }

    /// <summary>(…, h).</summary>
    public Parameter Logits { get; }

    /// <summary>Writes the parts, one after the other, in the order of their logits. to: as many numbers as the parts have.</summary>
    public void Mix(Tensor to)
    {
        Choose();
        int b = bank.Shape[1];
        using Tensor indices = device.From(chosen), vectors = device.Empty([parts * k, b]), sums = device.Empty([parts, b]);
        device.GatherRows(bank.Value, indices, vectors);                          // (parts · k, b)
        using Tensor weighted = Weighted(vectors);
        device.Fill(sums, 0);
        device.ScatterAddRows(weighted, places, sums);
        device.Axpby(1, sums, 0, to);
    }

    /// <summary>Adds to the gradients of logits and bank, of parts that were mixed last. dparts: as in <see cref="Mix"/>.</summary>
    public void Collect(Tensor dparts)
    {
        int b = bank.Shape[1];
        using Tensor flat = device.Empty([parts, b]), spread = device.Empty([parts * k, b]);
        device.Axpby(1, dparts, 0, flat);
        device.GatherRows(flat, places, spread);                                  // (parts · k, b)
        using Tensor indices = device.From(chosen), vectors = device.Empty([parts * k, b]), products = device.Empty([parts * k, b]);
        device.GatherRows(bank.Value, indices, vectors);
        device.Multiply(vectors, spread, products);
        using Tensor ones = device.Empty([b, 1]), dweights = device.Empty([parts * k, 1]);
        device.Fill(ones, 1);
        device.MatMul(products, false, ones, false, dweights);
        using Tensor dlogits = device.From(OfLogits(dweights.ToArray()), Logits.Shape), dbank = device.Empty(bank.Shape);
        device.Fill(dbank, 0);
        using (Tensor weighted = Weighted(spread)) device.ScatterAddRows(weighted, indices, dbank);
        using Tape tape = new(device);
        tape.Backward((tape.Read(Logits), dlogits), (tape.Read(bank), dbank));
    }

    public void Dispose()
    {
        Logits.Dispose();
        places.Dispose();
    }

    // The largest logits of each part, and the softmax of them alone.
    private void Choose()
    {
        using Tensor values = device.Empty([parts, k]), indices = device.Empty([parts, k], DType.Int32);
        device.TopK(Logits.Value, values, indices);
        (weights, chosen) = (values.ToArray(), indices.ToInt32Array());
        double[] powers = new double[k];
        // Of logits that are not numbers none is chosen: what is mixed is no number either, and training says so.
        foreach (ref int index in chosen.AsSpan()) index = Math.Max(index, 0);
        for (int part = 0; part < parts; part++)
        {
            Span<float> own = weights.AsSpan(part * k, k);
            double sum = 0;
            for (int i = 0; i < k; i++) sum += powers[i] = Math.Exp((double)own[i] - own[0]);
            for (int i = 0; i < k; i++) own[i] = (float)(powers[i] / sum);
        }
    }

    // Each row times its weight. rows: (parts · k, b).
    private Tensor Weighted(Tensor rows)
    {
        int b = rows.Shape[1];
        using Tensor factors = device.From(weights, [parts * k, 1]), ones = device.Empty([1, b]), spread = device.Empty(rows.Shape);
        device.Fill(ones, 1);
        device.MatMul(factors, false, ones, false, spread);
        Tensor result = device.Empty(rows.Shape);
        device.Multiply(spread, rows, result);
        return result;
    }

    // dz = w ∘ (dw − Σ w · dw) at the chosen places, and zero elsewhere. (parts, h)
    private float[] OfLogits(float[] dweights)
    {
        int h = bank.Shape[0];
        float[] all = new float[parts * h];
        for (int part = 0; part < parts; part++)
        {
            double mean = 0;
            for (int i = part * k; i < (part + 1) * k; i++) mean += (double)weights[i] * dweights[i];
            for (int i = part * k; i < (part + 1) * k; i++) all[part * h + chosen[i]] = (float)(weights[i] * (dweights[i] - mean));
        }
        return all;
    }
}
