using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>Which biases LoRA trains beside its factors, as PEFT's option <c>bias</c> has it.</summary>
public enum LoraBias
{
    /// <summary>None.</summary>
    None,

    /// <summary>Those of all layers of the model, norms too.</summary>
    All,

    /// <summary>Those of the adapted linear maps.</summary>
    LoraOnly,
}

/// <summary>Settings of LoRA.</summary>
public sealed record LoraOptions : AdapterOptions
{
    /// <summary>The settings that were published for GPT-2: rank 4, alpha 32.</summary>
    public LoraOptions() => (Rank, Alpha) = (4, 32);

    /// <summary>Seed of A's initial values.</summary>
    public ulong Seed { get; init; } = 42;

    /// <summary>Which biases are trained too.</summary>
    public LoraBias Bias { get; init; }

    /// <summary>
    /// Whether the scale is alpha / √r in place of alpha / r (rsLoRA, Kalajdzievski 2023, arXiv 2312.03732), PEFT's <c>use_rslora</c>.
    /// </summary>
    public bool RankStabilized { get; init; }

    /// <summary>
    /// Whether the length of each of the weight's columns is trained by itself, and LoRA changes their directions alone (DoRA, Liu et
    /// al. 2024, arXiv 2402.09353), PEFT's <c>use_dora</c>.
    /// </summary>
    public bool Decomposed { get; init; }

    /// <inheritdoc/>
    public override AdapterMethod Method => LoraMethod.Instance;

    /// <inheritdoc/>
    internal override float Scale => RankStabilized ? (float)(Alpha / Math.Sqrt(Rank)) : base.Scale;
}

/// <summary>
/// LoRA (Hu et al. 2022, arXiv 2106.09685): y += (alpha / r) · (x · A) · B with A and B trained. A starts uniform in
/// ±1/√in (the Kaiming form of the authors' code), B at zero, so the first output is the base model's. On the token embedding the
/// two change places, as in the authors' code and PEFT: A starts at zero and B normal with deviation 1.
/// </summary>
internal sealed class LoraMethod : AdapterMethod
{
    public static readonly LoraMethod Instance = new();

    private LoraMethod() { }

    public override string Name => "lora";

    public override string Title => "LoRA";

    public override AdapterOptions Defaults { get; } = new LoraOptions();

    public override AdapterOptions DefaultsForEmbedded { get; } = new LoraOptions { Targets = ["*"] };

    public override AdapterOptions DefaultsForImages { get; } = new LoraOptions { Rank = 4, Alpha = 4, TrainHead = true };

    public override double LearningRateForImages => 0.002;

    public override double LearningRate => 0.0002;

    public override double LearningRateForEmbedded => 0.005;

    public override IReadOnlyList<AdapterOption> OwnOptions { get; } =
    [
        AdapterOption.BasisSeed<LoraOptions>(null, o => o.Seed, (o, value) => o with { Seed = value }),
        AdapterOption.Choice<LoraOptions, LoraBias>(
            "bias", "bias", "Biases that LoRA trains too, those of all layers or of the adapted maps",
            [("none", LoraBias.None), ("all", LoraBias.All), ("lora_only", LoraBias.LoraOnly)],
            o => o.Bias, (o, value) => o with { Bias = value }) with { IsOmitted = true },
        AdapterOption.Flag<LoraOptions>(
            "rslora", "rslora", "Scale LoRA's output by alpha/√rank in place of alpha/rank (rsLoRA)",
            o => o.RankStabilized, (o, value) => o with { RankStabilized = value }),
        AdapterOption.Flag<LoraOptions>(
            "dora", "dora", "Train the length of each column of LoRA's sum with the weight by itself (DoRA)",
            o => o.Decomposed, (o, value) => o with { Decomposed = value }),
    ];

    internal override PeftForm Peft => PeftLora.Instance;

    public override void Check(AdapterOptions options, IReadOnlyList<MapGroup> groups)
    {
        if (((LoraOptions)options).Decomposed) FrozenWeights.Check(groups, "DoRA");
        CheckFactors(options.Rank, groups);
    }

    public override IReadOnlyList<(string Name, int[] Shape)> Trained(
        AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups) =>
    [
        .. groups.SelectMany(group => ((string, int[])[])
            [
                (group.Kind + ".A", [group.Count, group.In, options.Rank]),
                (group.Kind + ".B", [group.Count, options.Rank, group.Out]),
                .. ((LoraOptions)options).Decomposed ? [(group.Kind + ".m", [group.Count, group.Out])] : Array.Empty<(string, int[])>(),
            ]),
        .. Biased((LoraOptions)options, model, groups).Select(bias => (bias.Name, (int[])[1, bias.Out])),
    ];

    public override IReadOnlyList<DeltaStack> Create(AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups)
    {
        LoraOptions o = (LoraOptions)options;
        IEnumerable<Func<DeltaStack>> all =
        [
            .. groups.Select(group => (Func<DeltaStack>)(() =>
                o.Decomposed ? new DoraStack(group, o, model.Device) : new Stack(group, o, model.Device))),
            .. Biased(o, model, groups).Select(bias => (Func<DeltaStack>)(() => new BiasStack(bias, model.Device))),
        ];
        return ForEach(all, create => create());
    }

    internal override long LoadedBytes(AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups) =>
        base.LoadedBytes(options, model, groups) + (((LoraOptions)options).Decomposed ? DoraStack.GainBytes(groups) : 0);

    /// <summary>The biases that are trained, in the checkpoint's order.</summary>
    internal static IEnumerable<LayerBias> Biased(LoraOptions options, IModel model, IReadOnlyList<MapGroup> groups)
    {
        if (options.Bias == LoraBias.None) return [];
        ILookup<AdaptableLayer, AdaptableMap> adapted = groups.SelectMany(group => group.Maps).ToLookup(map => map.Host);
        return Biases(model).Where(bias => options.Bias == LoraBias.All || IsAdapted(bias));

        // Whether an adapted map writes columns of it.
        bool IsAdapted(LayerBias bias) =>
            adapted[bias.Layer].Any(map => map.Column < bias.Column + bias.Out && bias.Column < map.Column + map.Out);
    }

    /// <summary>The biases of a model, in the checkpoint's order; a classifier's is trained with its weight or not at all.</summary>
    internal static IEnumerable<LayerBias> Biases(IModel model) =>
        model.AdaptableLayers.Where(layer => layer is not LinearMap { IsClassifier: true }).SelectMany(layer => layer.Biases);

    /// <summary>Factors with LoRA's initial values.</summary>
    private sealed class Stack : LowRankStack
    {
        public Stack(MapGroup group, LoraOptions options, Device device) : base(group, options, device)
        {
            if (group.IsLookup) device.Upload(InitialFactors.Normal(options.Seed, group, options.Rank), B.Value);
            else device.Upload(InitialFactors.Uniform(options.Seed, group, options.Rank), A.Value);
            Parameters = [A, B];
        }

        public override IReadOnlyList<Parameter> Parameters { get; }
    }
}
