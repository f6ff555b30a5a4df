using Nola.Tensors;

namespace Nola.Models;

/// <summary>Settings of BitFit; there are none of its own.</summary>
public sealed record BitFitOptions : AdapterOptions
{
    /// <inheritdoc/>
    public override AdapterMethod Method => BitFitMethod.Instance;
}

/// <summary>
/// BitFit (Ben Zaken et al. 2022, arXiv 2106.10199): every bias of the model is trained, those of norms too, and nothing else. What is
/// trained is added to the model's own biases, and starts at zero.
/// </summary>
internal sealed class BitFitMethod : AdapterMethod
{
    public static readonly BitFitMethod Instance = new();

    private BitFitMethod() { }

    public override string Name => "bitfit";

    public override string Title => "BitFit";

    public override AdapterOptions Defaults { get; } = new BitFitOptions();

    public override double LearningRate => 0.001;

    public override double LearningRateForEmbedded => 0.01;

    public override IReadOnlyList<AdapterOption> OwnOptions => [];

    public override IReadOnlyList<AdapterOption> CommonOptions => [];

    public override bool AdaptsMaps => false;

    public override void Check(AdapterOptions options) { }

    public override IReadOnlyList<(string Name, int[] Shape)> Trained(
        AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups)
    {
        (string, int[])[] trained = [.. LoraMethod.Biases(model).Select(bias => (bias.Name, (int[])[1, bias.Out]))];
        return trained.Length > 0 ? trained : throw new NolaException(
            $"BitFit trains biases, and {Quoted.Of(model.Source)} has none; choose another method.");
    }

    public override IReadOnlyList<DeltaStack> Create(AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups) =>
        ForEach(LoraMethod.Biases(model), bias => new BiasStack(bias, model.Device));
}
