using Microsoft.Extensions.AI;
using Microsoft.Extensions.AI.Evaluation;
using Nola.Tensors;
using Nola.Train.Metrics;
using ChatMessage = Microsoft.Extensions.AI.ChatMessage;

namespace Nola.Extensions.AI;

/// <summary>The reference texts of an answer, for <see cref="TextMetricsEvaluator"/>.</summary>
/// <param name="references">At least one.</param>
public sealed class ReferenceTexts(params IReadOnlyList<string> references)
    : EvaluationContext("References", references.Select(text => new TextContent(text)))
{
    /// <summary>The texts.</summary>
    public IReadOnlyList<string> References { get; } = references;
}

/// <summary>
/// The metrics of generated text (BLEU, NIST, ROUGE_L, METEOR, TER, chrF++) of single answers against reference texts. A score of
/// one sentence is only an indication: papers report those of whole data sets, which <see cref="Scorer"/> computes.
/// </summary>
/// <param name="options">Which metrics, and what they need; by default those that one sentence has.</param>
public sealed class TextMetricsEvaluator(ScoreOptions? options = null) : IEvaluator
{
    // CIDEr weighs words by how many of the data set's inputs have them, and so is zero for one.
    private static readonly string[] ofOne = ["BLEU", "NIST", "ROUGE_L", "METEOR", "TER", "chrF++"];

    private readonly ScoreOptions chosen = options is { Metrics.Count: > 0 } ? options : (options ?? new()) with { Metrics = ofOne };

    /// <inheritdoc/>
    public IReadOnlyCollection<string> EvaluationMetricNames => [.. chosen.Metrics];

    /// <summary>Scores an answer against the <see cref="ReferenceTexts"/> of the additional context.</summary>
    /// <exception cref="NolaException">There are none, or there is no such metric.</exception>
    public ValueTask<EvaluationResult> EvaluateAsync(
        IEnumerable<ChatMessage> messages, ChatResponse modelResponse, ChatConfiguration? chatConfiguration = null,
        IEnumerable<EvaluationContext>? additionalContext = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(modelResponse);
        ReferenceTexts references = additionalContext?.OfType<ReferenceTexts>().FirstOrDefault()
            ?? throw new NolaException("There are no references to score the answer against; give ReferenceTexts as additional context.");
        Corpus corpus = new([modelResponse.Text], [references.References], allowEmpty: true);
        IEnumerable<EvaluationMetric> metrics = Scorer.Score(corpus, chosen)
            .Select(score => new NumericMetric(score.Metric, score.Value, score.Signature.ToString()));
        return ValueTask.FromResult(new EvaluationResult(metrics));
    }
}
