using Nola.Train;

namespace Nola.Tests;

/// <summary>The loss, with a count of its measurements.</summary>
internal sealed class CountingScore(string settings) : IExperimentScore
{
    private readonly LossScore loss = new();
    private int calls;

    public int Calls => calls;

    public string Name => "loss";

    public string Settings => settings;

    public IReadOnlyList<string> Columns => loss.Columns;

    public IReadOnlyDictionary<string, double> Measure(ScoreInput input, CancellationToken cancel)
    {
        Interlocked.Increment(ref calls);
        return loss.Measure(input, cancel);
    }
}

/// <summary>The same value for every model.</summary>
internal sealed class ConstantScore(string settings, double value, Action<int> before) : IExperimentScore
{
    private int calls;

    public string Name => "loss";

    public string Settings => settings;

    public IReadOnlyList<string> Columns => ["loss"];

    public IReadOnlyDictionary<string, double> Measure(ScoreInput input, CancellationToken cancel)
    {
        before(++calls);
        cancel.ThrowIfCancellationRequested();
        return new Dictionary<string, double> { ["loss"] = value };
    }
}

/// <summary>Stops after some steps, and counts them and the texts that are decoded.</summary>
internal sealed class StopAfter(int steps, CancellationTokenSource stop) : IExperimentObserver
{
    public int Steps { get; private set; }

    public int Decoded { get; private set; }

    public List<string> Notices { get; } = [];

    public void OnDecoded(int done, int count) => Decoded = done;

    public void OnNotice(string sentence) => Notices.Add(sentence);

    public void OnStep(StepReport report)
    {
        if (++Steps == steps) stop.Cancel();
    }
}
