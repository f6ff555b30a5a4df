using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>Settings of LoRA-XS.</summary>
public sealed record LoraXsOptions : AdapterOptions
{
    /// <summary>The settings that were published for GLUE: rank 25, alpha 16.</summary>
    public LoraXsOptions() => (Rank, Alpha) = (25, 16);

    /// <inheritdoc/>
    public override AdapterMethod Method => LoraXsMethod.Instance;
}

/// <summary>
/// LoRA-XS (Bałazy et al. 2024, arXiv 2405.17604): y += (alpha / r) · x · (U_r · S_r) · R · V_rᵀ with the r largest singular values of
/// the map's own frozen weight W = U · S · Vᵀ (in, out); only R (r, r) is trained. The singular vectors are made anew from the weight
/// wherever the adapter is loaded. R starts at zero, where the authors' code draws it with a deviation of 1e-5, so that the first
/// output is the base model's.
/// </summary>
internal sealed class LoraXsMethod : AdapterMethod
{
    public static readonly LoraXsMethod Instance = new();

    private LoraXsMethod() { }

    public override string Name => "lora-xs";

    public override string Title => "LoRA-XS";

    public override AdapterOptions Defaults { get; } = new LoraXsOptions();

    public override AdapterOptions DefaultsForEmbedded { get; } = new LoraXsOptions { Targets = ["*"] };

    public override double LearningRate => 0.004;

    public override double LearningRateForEmbedded => 0.01;

    public override IReadOnlyList<AdapterOption> OwnOptions => [];

    public override string Generator => TruncatedSvd.Id;

    internal override string OtherBases => "its base was kept in another precision";

    public override void Check(AdapterOptions options, IReadOnlyList<MapGroup> groups)
    {
        FrozenWeights.Check(groups, "LoRA-XS");
        int shortest = groups.Min(group => Math.Min(group.In, group.Out));
        if (options.Rank < 1 || options.Rank > shortest)
            throw new NolaException($"rank is {options.Rank}; expected 1 to {shortest}, the shortest side of the adapted maps.");
        CheckFactors(options.Rank, groups);
    }

    public override IReadOnlyList<(string Name, int[] Shape)> Trained(
        AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups) =>
        [.. groups.Select(group => (group.Kind + ".R", (int[])[group.Count, options.Rank, options.Rank]))];

    public override IReadOnlyList<DeltaStack> Create(AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups) =>
        ForEach(groups, group => new Stack(group, options, model.Device));

    internal override long LoadedBytes(AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups) =>
        groups.Sum(group => (long)group.Count * (group.In + group.Out) * options.Rank * sizeof(float));

    /// <summary>FNV-1a over the float32 bits of the first 64 entries of U · S and of Vᵀ of every map. 16 hex digits.</summary>
    public override string Fingerprint(AdapterOptions options, IReadOnlyList<MapGroup> groups) => BasisFingerprint.Of(
        groups.SelectMany(group => SingularVectors.Of(group, options.Rank))
            .SelectMany(map => map.Left.Take(64).Concat(map.Right.Take(64))));

    /// <summary>The frozen U · S as A, and R · Vᵀ as B, made anew for each step.</summary>
    private sealed class Stack : LowRankStack
    {
        private readonly Device device;
        private readonly Parameter r;                                             // (L, r, r)
        private readonly Tensor right;                                            // Vᵀ of every layer (L, r, out)
        private bool frozen;

        public Stack(MapGroup group, AdapterOptions options, Device device) : base(group, options, device)
        {
            this.device = device;
            using Rollback made = new(A, B);
            IReadOnlyList<(float[] Left, float[] Right)> bases = SingularVectors.Of(group, options.Rank);
            device.Upload([.. bases.SelectMany(map => map.Left)], A.Value);
            right = made.Add(device.From([.. bases.SelectMany(map => map.Right)], [group.Count, options.Rank, group.Out]));
            r = new Parameter(group.Kind + ".R", device.Zeros([group.Count, options.Rank, options.Rank]));
            made.Commit();
            A.Trainable = false;
            Parameters = [r];
        }

        public override IReadOnlyList<Parameter> Parameters { get; }

        public override void Update()
        {
            for (int row = 0; row < Group.Count; row++)
                device.MatMul(Matrix.OfStack(r.Value, row), false, Matrix.OfStack(right, row), false, Matrix.OfStack(B.Value, row));
        }

        /// <summary>dR = dB · V.</summary>
        public override void CollectGradients()
        {
            if (!B.HasGradient) return;
            using Tape tape = new(device);
            Variable whole = tape.Read(r), made = tape.New(r.Shape);
            for (int row = 0; row < Group.Count; row++)
                device.MatMul(Matrix.OfStack(B.Gradient, row), false, Matrix.OfStack(right, row), true, Matrix.OfStack(made.Value, row));
            tape.Backward((whole, made.Value));
            B.ClearGradient();
        }

        public override void Freeze()
        {
            base.Freeze();
            r.Dispose();
            right.Dispose();
            frozen = true;
        }

        protected override void Release()
        {
            if (!frozen) Freeze();
            base.Release();
        }
    }
}

/// <summary>
/// The largest singular values of frozen weights with their vectors, found once for a weight and rank while the weight is in memory.
/// </summary>
internal static class SingularVectors
{
    private static readonly ConditionalWeakTable<FrozenMatrix, ConcurrentDictionary<Place, (float[], float[])>> known = [];

    /// <summary>U · S (in, r) and Vᵀ (r, out) of each map's weight.</summary>
    public static IReadOnlyList<(float[] Left, float[] Right)> Of(MapGroup group, int rank)
    {
        (float[] Left, float[] Right)[] found = new (float[], float[])[group.Count];
        Lock device = new();
        // The largest group of a model is not on the host at once.
        Parallel.For(0, group.Count, row =>
        {
            AdaptableMap map = group.Maps[row];
            LinearMap host = (LinearMap)map.Host;
            found[row] = known.GetOrCreateValue(host.Frozen!).GetOrAdd(new(map.Column, map.Out, rank), _ =>
            {
                float[] weight;
                lock (device) weight = FrozenWeights.Columns(host, map.Column, map.Out);
                return TruncatedSvd.Of(weight, map.In, map.Out, rank);
            });
        });
        return found;
    }

    // Columns of a weight, and how many directions of them.
    private readonly record struct Place(int Column, int Out, int Rank);
}

/// <summary>For methods that read the weights that they adapt.</summary>
internal static class FrozenWeights
{
    /// <summary>Refuses maps whose weights are not frozen ones of a block.</summary>
    /// <exception cref="NolaException">A map is none of a block, or the weights are trained.</exception>
    public static void Check(IReadOnlyList<MapGroup> groups, string title)
    {
        foreach (AdaptableMap map in groups.Select(group => group.Maps[0]))
        {
            if (map.Host is not LinearMap host)
                throw new NolaException(
                    $"targets: {title} is on linear maps of blocks, and {map.Name} is none; leave it out, or use LoRA or NOLA.");
            if (host.Weight is not null)
                throw new NolaException($"{title}: the model's weights are trained, and it reads frozen ones; load the model frozen.");
        }
    }

    /// <summary>Some columns of a map's weight on the host. (in, count)</summary>
    public static float[] Columns(LinearMap host, int column, int count)
    {
        using Tensor copy = host.CopyWeight();                                    // (in, out)
        float[] whole = copy.ToArray();
        if (count == host.Out) return whole;
        float[] own = new float[host.In * count];
        for (int i = 0; i < host.In; i++) whole.AsSpan(i * host.Out + column, count).CopyTo(own.AsSpan(i * count));
        return own;
    }
}
