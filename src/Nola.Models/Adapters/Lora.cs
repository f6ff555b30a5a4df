using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>Settings of LoRA.</summary>
public sealed record LoraOptions : AdapterOptions
{
    /// <summary>The settings that were published for GPT-2: rank 4, alpha 32.</summary>
    public LoraOptions() => (Rank, Alpha) = (4, 32);

    /// <summary>Seed of A's initial values.</summary>
    public ulong Seed { get; init; } = 42;

    /// <inheritdoc/>
    public override AdapterMethod Method => LoraMethod.Instance;
}

/// <summary>
/// LoRA (Hu et al. 2022, arXiv 2106.09685): y += (alpha / r) · (x · A) · B with A and B trained. A starts uniform in
/// ±1/√in (the Kaiming form of the authors' code), B at zero, so the first output is the base model's.
/// </summary>
internal sealed class LoraMethod : AdapterMethod
{
    public static readonly LoraMethod Instance = new();

    private LoraMethod() { }

    public override string Name => "lora";

    public override string Title => "LoRA";

    public override AdapterOptions Defaults { get; } = new LoraOptions();

    public override AdapterOptions DefaultsForEmbedded { get; } = new LoraOptions { Targets = ["*"] };

    public override double LearningRate => 0.0002;

    public override double LearningRateForEmbedded => 0.003;

    public override IReadOnlyList<AdapterOption> OwnOptions { get; } =
    [
        AdapterOption.Seed<LoraOptions>("basis-seed", null, "Seed of the random bases, or of LoRA's A", o => o.Seed, (o, value) => o with { Seed = value }),
    ];

    internal override PeftForm Peft => PeftLora.Instance;

    public override void Check(AdapterOptions options, IReadOnlyList<MapGroup> groups) => CheckFactors(options.Rank, groups);

    public override IReadOnlyList<(string Suffix, int[] Shape)> Trained(AdapterOptions options, MapGroup group) =>
        [(".A", [group.Count, group.In, options.Rank]), (".B", [group.Count, options.Rank, group.Out])];

    public override IReadOnlyList<DeltaStack> Create(AdapterOptions options, IReadOnlyList<MapGroup> groups, Device device) =>
        ForEach(groups, group => new Stack(group, (LoraOptions)options, device));

    private sealed class Stack : LowRankStack
    {
        public Stack(MapGroup group, LoraOptions options, Device device) : base(group, options, device)
        {
            device.Upload(InitialFactors.Uniform(options.Seed, group, options.Rank), A.Value);
            Parameters = [A, B];
        }

        public override IReadOnlyList<Parameter> Parameters { get; }
    }
}
