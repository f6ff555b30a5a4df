using Nola.Train.Metrics;

namespace Nola.Train;

/// <summary>A metric of the texts that a run's model generates for the test contexts, against their completions.</summary>
/// <param name="metric">One of <see cref="Scorer.Names"/>.</param>
/// <param name="outputs">The texts, which metrics share.</param>
/// <param name="options">What METEOR needs.</param>
internal sealed class TextScore(string metric, DecodedOutputs outputs, ScoreOptions options) : IExperimentScore
{
    // Kept for all runs: METEOR has read WordNet and a table of paraphrases.
    private readonly Lazy<IMetric> measure = new(() => Scorer.Create(metric, options));

    /// <inheritdoc/>
    public string Name => metric;

    /// <inheritdoc/>
    public string Settings => $"{outputs.Settings}; {outputs.Comparison}{(metric == "METEOR" ? $"; stages {Stages}" : "")}";

    private string Stages =>
        "exact, stem" + (options.WordNet is null ? "" : ", synonym") + (options.Paraphrases is null ? "" : ", paraphrase");

    /// <inheritdoc/>
    public IReadOnlyList<string> Columns => [metric];

    /// <inheritdoc/>
    public void Prepare(TextPairs test) => _ = measure.Value;

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, double> Measure(ScoreInput input, CancellationToken cancel) =>
        new Dictionary<string, double> { [metric] = measure.Value.Score(outputs.Of(input, cancel)).Value };

    /// <summary>
    /// Every score that an experiment file can name. When it names multi-bleu, which WebNLG and DART are scored with, outputs
    /// are compared as LoRA's and NOLA's code has GenerationEval compare them, else as e2e-metrics does.
    /// </summary>
    public static IReadOnlyList<IExperimentScore> All(ExperimentFile file, ScoreOptions options)
    {
        DecodedOutputs outputs = new(file.Decoding, file.Scores.Contains(Scorer.MultiBleu) ? ReferenceForm.Columns : ReferenceForm.Groups);
        return
        [
            new LossScore(), new AccuracyScore(), new MmluScore(file.Mmlu), new AnswerScore(outputs), new ForgettingScore(file.Forgetting),
            .. Scorer.Names.Select(name => new TextScore(name, outputs, options)),
        ];
    }
}
