using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// How many generated texts come to the right final answer, in percent: those of the task of PEFT's method_comparison, which trains on
/// MetaMathQA and tests on GSM8K.
/// </summary>
/// <param name="outputs">The texts.</param>
internal sealed class AnswerScore(DecodedOutputs outputs) : IExperimentScore
{
    /// <summary>What an experiment file calls it.</summary>
    public const string Called = "answers";

    /// <inheritdoc/>
    public string Name => Called;

    /// <inheritdoc/>
    public string Settings => $"{outputs.Settings}; percent of final answers, read as PEFT's method_comparison reads them";

    /// <inheritdoc/>
    public IReadOnlyList<string> Columns => [Called];

    /// <inheritdoc/>
    public void Prepare(TextPairs test)
    {
        if (test.FirstOrDefault(pair => FinalAnswer.Of(pair.Completion) is null) is { } bare)
            throw new NolaException($"{bare.Place}: the completion announces no final answer, which the score '{Called}' compares; "
                + $"expected {FinalAnswer.Expected}.");
    }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, double> Measure(ScoreInput input, CancellationToken cancel)
    {
        IReadOnlyList<DecodedText> texts = outputs.TextsOf(input, cancel);
        int right = texts.Count(text =>
            text.Pairs.Any(pair => FinalAnswer.AreEqual(FinalAnswer.Of(text.Text), FinalAnswer.Of(pair.Completion))));
        return new Dictionary<string, double> { [Called] = 100.0 * right / texts.Count };
    }
}
