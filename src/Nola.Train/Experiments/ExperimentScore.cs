using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>What a score is measured on.</summary>
/// <param name="Model">The base model; or the run's own model, where all of it was trained.</param>
/// <param name="Adapter">The run's adapter; null where there is none.</param>
/// <param name="BaseModel">Name or directory of the base model.</param>
/// <param name="Test">The pairs.</param>
/// <param name="TestName">What the experiment file calls them.</param>
/// <param name="Truncate">Cut contexts that are too long.</param>
/// <param name="Folder">The run's directory, for outputs that a score leaves, such as generated texts.</param>
/// <param name="OnDecoded">Told after each text that is generated: how many, of how many.</param>
internal sealed record ScoreInput(
    LanguageModel Model, IAdapter? Adapter, string BaseModel, TextPairs Test,
    string TestName, bool Truncate, string Folder, Action<int, int>? OnDecoded = null)
{
    /// <summary>Whether pairs are written by the model's chat template.</summary>
    public bool Chat { get; init; }
}

/// <summary>Something that is measured of each finished run.</summary>
internal interface IExperimentScore
{
    /// <summary>What an experiment file calls it.</summary>
    string Name { get; }

    /// <summary>How it measures: runs that were scored in another way are scored again.</summary>
    string Settings { get; }

    /// <summary>The values that it gives: columns of the table, and what a plot can show.</summary>
    IReadOnlyList<string> Columns { get; }

    /// <summary>Before the first run: reads what measuring needs.</summary>
    /// <param name="test">The pairs that will be measured on.</param>
    /// <exception cref="NolaException">It is missing or malformed, or the pairs are none that this can measure.</exception>
    void Prepare(TextPairs test) { }

    /// <summary>Measures every column.</summary>
    IReadOnlyDictionary<string, double> Measure(ScoreInput input, CancellationToken cancel);
}

/// <summary>
/// How many test images are told right, in percent: of all, and the mean over classes; and the mean cross-entropy in nats an image. It is
/// measured of images, where others are of text.
/// </summary>
internal sealed class AccuracyScore : IExperimentScore
{
    /// <summary>What an experiment file calls it.</summary>
    public const string Called = "accuracy";

    /// <inheritdoc/>
    public string Name => Called;

    /// <inheritdoc/>
    public string Settings => "percent of the test images, the image in the model's own size";

    /// <inheritdoc/>
    public IReadOnlyList<string> Columns => [Called, "mean-per-class", "image-loss"];

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, double> Measure(ScoreInput input, CancellationToken cancel) =>
        throw new NolaException("The score 'accuracy' is of images; an experiment with text has none to measure it on.");

    /// <summary>The values of a tested run.</summary>
    public static IReadOnlyDictionary<string, double> Of(ImageResult result) => new Dictionary<string, double>
    {
        [Called] = 100 * result.Accuracy,
        ["mean-per-class"] = 100 * result.MeanPerClass,
        ["image-loss"] = result.Loss,
    };
}

/// <summary>The mean loss of the completions' tokens, and e to its power.</summary>
internal sealed class LossScore : IExperimentScore
{
    /// <inheritdoc/>
    public string Name => "loss";

    /// <inheritdoc/>
    public string Settings => "nats a completion token, no label smoothing";

    /// <inheritdoc/>
    public IReadOnlyList<string> Columns => ["loss", "perplexity"];

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, double> Measure(ScoreInput input, CancellationToken cancel)
    {
        EncodedPair[] pairs = PairEncoder.EncodeFor(input.Model, input.Test, input.Truncate, input.Chat);
        LossResult result = Evaluation.Loss(input.Model, pairs, input.Adapter, cancel: cancel);
        return new Dictionary<string, double> { ["loss"] = result.Loss, ["perplexity"] = result.Perplexity };
    }
}
