using Nola.Tensors;

namespace Nola.Models;

/// <summary>Settings of a trained head alone; there are none.</summary>
public sealed record HeadOptions : AdapterOptions
{
    /// <summary>The head is what is trained.</summary>
    public HeadOptions() => TrainHead = true;

    /// <inheritdoc/>
    public override AdapterMethod Method => HeadMethod.Instance;
}

/// <summary>Only the head is trained, on what the frozen model sees: for images the "linear" row of the papers' tables.</summary>
internal sealed class HeadMethod : AdapterMethod
{
    public static readonly HeadMethod Instance = new();

    private HeadMethod() { }

    public override string Name => "head";

    public override string Title => "head alone";

    public override AdapterOptions Defaults { get; } = new HeadOptions();

    public override double LearningRate => 0.005;

    public override double LearningRateForEmbeddedImages => 0.02;

    public override IReadOnlyList<AdapterOption> OwnOptions => [];

    public override IReadOnlyList<AdapterOption> CommonOptions => [];

    public override bool AdaptsMaps => false;

    public override void Check(AdapterOptions options)
    {
        if (!options.TrainHead)
            throw new NolaException("train-head is false, and method head trains nothing else; choose another method.");
    }

    public override IReadOnlyList<(string Name, int[] Shape)> Trained(
        AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups) => [];

    public override IReadOnlyList<DeltaStack> Create(AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups) => [];
}
