using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>Settings of BEFT.</summary>
public sealed record BeftOptions : AdapterOptions
{
    /// <summary>On the value projections, as published.</summary>
    public BeftOptions() => Targets = ["v"];

    /// <inheritdoc/>
    public override AdapterMethod Method => BeftMethod.Instance;
}

/// <summary>
/// BEFT (2025, arXiv 2509.15974): y += b, a bias of the adapter's own on each adapted map, which is the value projection of every layer
/// unless targets say others. It is there where the model's map has no bias too, and starts at zero.
/// </summary>
internal sealed class BeftMethod : AdapterMethod
{
    public static readonly BeftMethod Instance = new();

    private BeftMethod() { }

    public override string Name => "beft";

    public override string Title => "BEFT";

    public override AdapterOptions Defaults { get; } = new BeftOptions();

    public override double LearningRate => 0.001;

    public override double LearningRateForEmbedded => 0.01;

    public override IReadOnlyList<AdapterOption> CommonOptions { get; } =
        [.. AdapterOption.Common.Where(option => option.Key == "targets")];

    public override IReadOnlyList<AdapterOption> OwnOptions => [];

    internal override PeftForm Peft => PeftBeft.Instance;

    public override void Check(AdapterOptions options) { }

    public override void Check(AdapterOptions options, IReadOnlyList<MapGroup> groups)
    {
        if (groups.Select(group => group.Maps[0]).FirstOrDefault(map => !map.IsInBlock) is { } outside)
            throw new NolaException(
                $"targets: BEFT is on linear maps of blocks, and {outside.Name} is none; leave it out, or use LoRA or NOLA.");
    }

    public override IReadOnlyList<(string Name, int[] Shape)> Trained(
        AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups) =>
        [.. groups.Select(group => (group.Kind + ".b", (int[])[group.Count, group.Out]))];

    public override IReadOnlyList<DeltaStack> Create(AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups) =>
        ForEach(groups, group => new Stack(group, model.Device));

    /// <summary>The biases of one kind of map.</summary>
    internal sealed class Stack(MapGroup group, Device device) : MapStack(group)
    {
        private readonly Parameter b = new(group.Kind + ".b", device.Zeros([group.Count, group.Out])) { Decays = false };

        public override IReadOnlyList<Parameter> Parameters => [b];

        public override IEnumerable<Delta> On(Tape tape, int row) => [new AddedBias(tape.Read(b), row, Group.Maps[row].Column)];

        public override void Freeze() => b.Trainable = false;

        protected override void Release() => b.Dispose();
    }
}
