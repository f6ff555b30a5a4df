using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>Settings of LoKr.</summary>
public sealed record LoKrOptions : AdapterOptions
{
    /// <summary>PEFT's settings: rank 8, alpha 8, sides divided near their square roots.</summary>
    public LoKrOptions() => (Rank, Alpha) = (8, 8);

    /// <summary>
    /// What a side is divided by, PEFT's <c>decompose_factor</c>: itself where it divides the side, else the largest divisor of the side
    /// up to it that brings the two parts closer together; −1 for no limit.
    /// </summary>
    public int Factor { get; init; } = -1;

    /// <summary>Seed of the first values of what multiplies w1.</summary>
    public ulong Seed { get; init; }

    /// <inheritdoc/>
    public override AdapterMethod Method => LoKrMethod.Instance;
}

/// <summary>
/// LoKr (Yeh et al., ICLR 2024, arXiv 2309.14859; LyCORIS): y += (alpha / r) · x · (w1 ⊗ w2) with w1 (m, l) and w2 (n, k) of
/// in = m · n and out = l · k. w2 is a product of A (n, r) and B (r, k) where r is below half of its longer side, else trained whole.
/// w1 starts at zero.
/// </summary>
internal sealed class LoKrMethod : AdapterMethod
{
    public static readonly LoKrMethod Instance = new();

    private LoKrMethod() { }

    public override string Name => "lokr";

    public override string Title => "LoKr";

    public override AdapterOptions Defaults { get; } = new LoKrOptions();

    public override AdapterOptions DefaultsForEmbedded { get; } = new LoKrOptions { Targets = ["*"] };

    public override double LearningRate => 0.001;

    public override double LearningRateForEmbedded => 0.01;

    public override IReadOnlyList<AdapterOption> OwnOptions { get; } =
    [
        AdapterOption.Whole<LoKrOptions>(
            "decompose-factor", "decompose_factor", "LoKr's divisor of a map's sides; -1 for one near their square roots",
            "a whole number from 1, or -1",
            o => o.Factor, (o, value) => o with { Factor = value }),
        AdapterOption.BasisSeed<LoKrOptions>(null, o => o.Seed, (o, value) => o with { Seed = value }),
    ];

    internal override PeftForm Peft => PeftLoKr.Instance;

    public override void Check(AdapterOptions options)
    {
        base.Check(options);
        int factor = ((LoKrOptions)options).Factor;
        if (factor is not (-1 or >= 1)) throw new NolaException($"decompose-factor is {factor}; expected a whole number from 1, or -1.");
    }

    public override void Check(AdapterOptions options, IReadOnlyList<MapGroup> groups)
    {
        RefuseTokenEmbedding(groups);
        CheckFactors(options.Rank, groups);
        WeightStack.Check(Title, groups);
    }

    public override IReadOnlyList<(string Name, int[] Shape)> Trained(
        AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups) =>
    [
        .. groups.SelectMany(group =>
        {
            Sides s = Sides.Of(group.In, group.Out, (LoKrOptions)options);
            return ((string, int[])[])
            [
                (group.Kind + ".w1", [group.Count, s.M, s.L]),
                .. s.IsWhole
                    ? ((string, int[])[])[(group.Kind + ".w2", [group.Count, s.N, s.K])]
                    : [(group.Kind + ".A", [group.Count, s.N, options.Rank]), (group.Kind + ".B", [group.Count, options.Rank, s.K])],
            ];
        }),
    ];

    public override IReadOnlyList<DeltaStack> Create(AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups) =>
        ForEach(groups, group => new Stack(group, (LoKrOptions)options, model.Device));

    internal override long LoadedBytes(AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups) =>
        base.LoadedBytes(options, model, groups) + WeightStack.Bytes(groups);

    /// <summary>How the sides of a map are divided: in = M · N, out = L · K.</summary>
    /// <param name="M">Rows of w1.</param>
    /// <param name="N">Rows of w2.</param>
    /// <param name="L">Columns of w1.</param>
    /// <param name="K">Columns of w2.</param>
    /// <param name="IsWhole">Whether w2 is trained whole.</param>
    internal readonly record struct Sides(int M, int N, int L, int K, bool IsWhole)
    {
        public static Sides Of(int inputs, int outputs, LoKrOptions options)
        {
            (int m, int n) = Divided(inputs, options.Factor);
            (int l, int k) = Divided(outputs, options.Factor);
            return new(m, n, l, k, 2 * options.Rank >= Math.Max(n, k));
        }

        // LyCORIS's division, by which PEFT knows the shapes.
        private static (int Small, int Large) Divided(int side, int factor)
        {
            if (factor > 0 && side % factor == 0) return (factor, side / factor);
            int small = 1;
            for (int divisor = 2; divisor * divisor <= side && (factor < 0 || divisor <= factor); divisor++)
                if (side % divisor == 0) small = divisor;
            return (small, side / small);
        }
    }

    /// <summary>The factors of the maps of one kind, and their Kronecker products.</summary>
    internal sealed class Stack : WeightStack
    {
        private readonly Device device;
        private readonly Sides sides;
        private readonly int rank;
        private readonly float scale;
        private readonly Parameter w1;                                            // (L, m, l)
        private readonly Parameter? w2, a, b;                                     // (L, n, k), or (L, n, r) and (L, r, k)
        // Of the product of all entries of w1 with all of w2, rows of k are in the order (m, l, n), of ΔW in (m, n, l).
        private readonly Tensor toWeight, toProduct;

        public Stack(MapGroup group, LoKrOptions options, Device device) : base(group, device)
        {
            this.device = device;
            sides = Sides.Of(group.In, group.Out, options);
            (rank, scale) = (options.Rank, options.Scale);
            (int m, int n, int l, int k, bool isWhole) = sides;
            using Rollback made = new(Weight);
            w1 = made.Add(new Parameter(group.Kind + ".w1", device.Zeros([group.Count, m, l])));
            if (isWhole) w2 = First(".w2", n, k, 0);
            else (a, b) = (First(".A", n, rank, 0), First(".B", rank, k, 1));
            toWeight = made.Add(device.From(Swapped(m, n, l)));
            toProduct = device.From(Swapped(m, l, n));
            made.Commit();
            Parameters = isWhole ? [w1, w2!] : [w1, a!, b!];

            // Uniform, by the number of rows.
            Parameter First(string name, int rows, int columns, int factor)
            {
                float[] values = InitialFactors.Uniform(options.Seed, group.Layers, group.Stream, rows, columns, factor);
                return made.Add(new Parameter(group.Kind + name, device.From(values, [group.Count, rows, columns])));
            }
        }

        public override IReadOnlyList<Parameter> Parameters { get; }

        protected override void Make(Tensor weight)
        {
            (int m, int n, int l, int k, _) = sides;
            using Tensor product = device.Empty([m * l * n, k]), own = device.Empty([m * n * l, k]);
            Matrix both = new(product, m * l, n * k, 0, n * k);
            for (int layer = 0; layer < Group.Count; layer++)
            {
                using Tensor second = Second(layer);
                device.MatMul(Entries(w1, layer), false, new Matrix(second, 1, n * k, 0, n * k), false, both, scale);
                device.GatherRows(product, toWeight, own);
                device.CopyColumns(new Matrix(own, m * n, l * k, 0, l * k), Matrix.OfStack(weight, layer));
            }
        }

        protected override void Gradients(Tensor dweight, IReadOnlyList<Tensor> gradients)
        {
            (int m, int n, int l, int k, bool isWhole) = sides;
            using Tensor own = device.Empty([m * n * l, k]), dproduct = device.Empty([m * l * n, k]), dsecond = device.Empty([n, k]);
            Matrix both = new(dproduct, m * l, n * k, 0, n * k);
            for (int layer = 0; layer < Group.Count; layer++)
            {
                using Tensor second = Second(layer);
                device.CopyColumns(Matrix.OfStack(dweight, layer), new Matrix(own, m * n, l * k, 0, l * k));
                device.GatherRows(own, toProduct, dproduct);
                device.MatMul(both, false, new Matrix(second, n * k, 1, 0, 1), false, Entries(gradients[0], layer), scale);
                Matrix target = isWhole ? Matrix.OfStack(gradients[1], layer) : dsecond;
                device.MatMul(Entries(w1, layer), true, both, false, target with { Rows = 1, Columns = n * k, Stride = n * k }, scale);
                if (isWhole) continue;
                device.MatMul(dsecond, false, Matrix.OfStack(b!.Value, layer), true, Matrix.OfStack(gradients[1], layer));
                device.MatMul(Matrix.OfStack(a!.Value, layer), true, dsecond, false, Matrix.OfStack(gradients[2], layer));
            }
        }

        public override void Freeze()
        {
            base.Freeze();
            toWeight.Dispose();
            toProduct.Dispose();
        }

        protected override void Release()
        {
            base.Release();
            toWeight.Dispose();
            toProduct.Dispose();
        }

        // w2 of a layer. (n, k)
        private Tensor Second(int layer) => device.Filled([sides.N, sides.K], second =>
        {
            if (w2 is not null) device.CopyColumns(Matrix.OfStack(w2.Value, layer), second);
            else device.MatMul(Matrix.OfStack(a!.Value, layer), false, Matrix.OfStack(b!.Value, layer), false, second);
        });

        // w1 of a layer as a column. (m · l, 1)
        private Matrix Entries(Tensor stacked, int layer) =>
            new(stacked, sides.M * sides.L, 1, layer * sides.M * sides.L, 1);

        private Matrix Entries(Parameter parameter, int layer) => Entries(parameter.Value, layer);

        // Where the rows (outer, first, second) are among rows (outer, second, first).
        private static int[] Swapped(int outer, int first, int second) =>
            [.. from o in Enumerable.Range(0, outer) from f in Enumerable.Range(0, first) from s in Enumerable.Range(0, second)
                select (o * second + s) * first + f];
    }
}
