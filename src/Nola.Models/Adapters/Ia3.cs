using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>Settings of IA3.</summary>
public sealed record Ia3Options : AdapterOptions
{
    /// <summary>The published settings in the names of GPT-2: keys, values, and the inputs of the second layer of each MLP.</summary>
    public Ia3Options() => Targets = ["k", "v", "mlp.c_proj"];

    /// <summary>
    /// Which of the adapted maps have their inputs multiplied and not their outputs, PEFT's <c>feedforward_modules</c>; by patterns as
    /// the targets are.
    /// </summary>
    public IReadOnlyList<string> FeedForward { get; init; } = ["mlp.c_proj"];

    /// <inheritdoc/>
    public override AdapterMethod Method => Ia3Method.Instance;
}

/// <summary>
/// IA3 (Liu et al., NeurIPS 2022, arXiv 2205.05638): y = (x · W + b) ∘ l, and y = (x ∘ l) · W + b for the maps of the feed-forward
/// layers. As in PEFT, l starts at 1, so that the first output is the base model's, and the bias is multiplied too.
/// </summary>
internal sealed class Ia3Method : AdapterMethod
{
    public static readonly Ia3Method Instance = new();

    private Ia3Method() { }

    public override string Name => "ia3";

    public override string Title => "IA3";

    public override AdapterOptions Defaults { get; } = new Ia3Options();

    public override AdapterOptions DefaultsForImages { get; } =
        new Ia3Options { Targets = ["k", "v", "mlp.fc2"], FeedForward = ["mlp.fc2"], TrainHead = true };

    public override double LearningRate => 0.003;

    public override double LearningRateForEmbedded => 0.02;

    public override IReadOnlyList<AdapterOption> CommonOptions { get; } =
        [.. AdapterOption.Common.Where(option => option.Key == "targets")];

    public override IReadOnlyList<AdapterOption> OwnOptions { get; } =
    [
        new(
            "feedforward", "feedforward", "Adapted maps whose inputs IA3 multiplies, and not their outputs; by patterns as targets are",
            "patterns, comma-separated, or nothing",
            o => ((Ia3Options)o).FeedForward, (o, text) => (Ia3Options)o with { FeedForward = text.Length > 0 ? text.Split(',') : [] }),
    ];

    internal override PeftForm Peft => PeftIa3.Instance;

    public override void Check(AdapterOptions options) { }

    public override void Check(AdapterOptions options, IReadOnlyList<MapGroup> groups)
    {
        AdaptableMap[] maps = [.. groups.SelectMany(group => group.Maps)];
        if (maps.FirstOrDefault(map => !map.IsInBlock) is { } table)
            throw new NolaException($"targets: IA3 cannot be on {table.Kind}, a table of tokens; leave it out, or use LoRA or NOLA.");
        HashSet<AdaptableMap> feeds = FeedForward((Ia3Options)options, maps);
        if (feeds.FirstOrDefault(map => map.Host is LinearMap host && host.Out != map.Out) is { } part)
            throw new NolaException(
                $"feedforward: {part.Kind} shares its inputs with other maps, which would be multiplied too; leave it out of feedforward.");
        if (groups.FirstOrDefault(group => group.Maps.Any(feeds.Contains) && !group.Maps.All(feeds.Contains)) is { } mixed)
            throw new NolaException(
                $"feedforward: names {mixed.Kind} of some adapted layers and not of all; name all of them, or none.");
    }

    public override IReadOnlyList<(string Name, int[] Shape)> Trained(
        AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups)
    {
        HashSet<AdaptableMap> feeds = FeedForward((Ia3Options)options, [.. groups.SelectMany(group => group.Maps)]);
        return [.. groups.Select(group =>
            (group.Kind + ".l", (int[])[group.Count, feeds.Contains(group.Maps[0]) ? group.In : group.Out]))];
    }

    public override IReadOnlyList<DeltaStack> Create(AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups)
    {
        HashSet<AdaptableMap> feeds = FeedForward((Ia3Options)options, [.. groups.SelectMany(group => group.Maps)]);
        return ForEach(groups, group => new Stack(group, feeds.Contains(group.Maps[0]), model.Device));
    }

    // The adapted maps whose inputs are multiplied.
    private static HashSet<AdaptableMap> FeedForward(Ia3Options options, IReadOnlyList<AdaptableMap> maps)
    {
        if (options.FeedForward.Count == 0) return [];
        try
        {
            return [.. AdapterTargets.Resolve(options.FeedForward, maps).SelectMany(group => group.Maps)];
        }
        catch (NolaException error)
        {
            throw new NolaException("feedforward, of the adapted maps alone: " + error.Message, error);
        }
    }

    /// <summary>l of one kind of map.</summary>
    internal sealed class Stack : MapStack
    {
        private readonly Parameter l;                                             // (L, in) or (L, out)

        public Stack(MapGroup group, bool ofInputs, Device device) : base(group)
        {
            OfInputs = ofInputs;
            l = new Parameter(group.Kind + ".l", device.Empty([group.Count, ofInputs ? group.In : group.Out]));
            device.Fill(l.Value, 1);
            Parameters = [l];
        }

        /// <summary>Whether inputs are multiplied.</summary>
        public bool OfInputs { get; }

        public override IReadOnlyList<Parameter> Parameters { get; }

        public override IEnumerable<Delta> On(Tape tape, int row) =>
            [new Scaling(tape.Read(l), row, OfInputs, OfInputs ? 0 : Group.Maps[row].Column)];

        public override void Freeze() => l.Trainable = false;

        protected override void Release() => l.Dispose();
    }
}
