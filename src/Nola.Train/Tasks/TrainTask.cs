using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>One of many tasks, each of which is to have its own adapter.</summary>
/// <param name="Name">What it is called.</param>
/// <param name="Read">Reads and encodes what is learned, and what is evaluated on; that may be empty.</param>
public sealed record TrainTask(string Name, Func<(EncodedPair[] Training, EncodedPair[] Validation)> Read)
{
    /// <summary>The run directory; null keeps nothing.</summary>
    public string? Directory { get; init; }

    /// <summary>Told the run directory before the task is trained, to write its settings; null writes none.</summary>
    public Action<RunDirectory>? OnDirectory { get; init; }

    /// <summary>Where the data come from, for the state that it is resumed from.</summary>
    public RunSource Source { get; init; } = new();
}

/// <summary>What became of a task.</summary>
/// <param name="Task">The task.</param>
/// <param name="Result">What its run gave, also when it was interrupted; null where it failed.</param>
/// <param name="Error">Why it failed; the others went on.</param>
public sealed record TaskResult(TrainTask Task, TrainResult? Result, NolaException? Error);
