using Nola.Tensors;

namespace Nola.Train;

/// <summary>MMLU's validation questions, the mean over subjects, in percent.</summary>
/// <param name="directory">Where they are; empty where the experiment names no place.</param>
internal sealed class MmluScore(string directory) : IExperimentScore
{
    private List<MmluQuestion>? questions;

    /// <inheritdoc/>
    public string Name => "MMLU";

    /// <inheritdoc/>
    public string Settings => $"percent, five examples, validation questions of {directory}, mean of subjects";

    /// <inheritdoc/>
    public IReadOnlyList<string> Columns => [Name];

    /// <inheritdoc/>
    public void Prepare(TextPairs test)
    {
        if (directory.Length == 0) throw new NolaException("The score 'MMLU' needs \"mmlu\", the directory of its questions.");
        questions ??= ChoiceFile.ReadMmlu(directory, "val");
    }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, double> Measure(ScoreInput input, CancellationToken cancel)
    {
        Prepare(input.Test);
        return new Dictionary<string, double> { [Name] = 100 * Mmlu.Ask(input.Model, questions!, input.Adapter, cancel: cancel).Accuracy };
    }
}
