using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// Where a run keeps what it makes: <c>config.json</c>, <c>log.jsonl</c>, TensorBoard's <c>events.out.tfevents…</c>,
/// <c>loss.svg</c>, the best <c>adapter.safetensors</c> (or <c>model/</c>), and <c>last.safetensors</c> to resume from.
/// </summary>
public sealed class RunDirectory : IDisposable
{
    /// <summary>Makes the directory, or opens the one of a run to be resumed.</summary>
    /// <exception cref="NolaException">It cannot be written, or holds a run already, or none to resume.</exception>
    public RunDirectory(string path, bool resume = false)
    {
        Path = path;
        bool exists = File.Exists(LastState);
        if (resume && !exists) throw new NolaException($"{path}: there is no last.safetensors to resume from; start the run without --resume.");
        if (!resume && exists) throw new NolaException($"{path}: holds a run already; go on with it with --resume, or choose another --out.");
        AtomicFile.EnsureDirectory(path);
        Log = new RunLog(path);
        // What a run left that ended before its first checkpoint is of no use to this one.
        if (!resume) Log.Resume(-1);
    }

    /// <summary>The directory.</summary>
    public string Path { get; }

    /// <summary>The run's log.</summary>
    public RunLog Log { get; }

    /// <summary>Everything that resuming needs.</summary>
    public string LastState => System.IO.Path.Combine(Path, "last.safetensors");

    /// <summary>The adapter with the lowest validation loss.</summary>
    public string BestAdapter => System.IO.Path.Combine(Path, "adapter.safetensors");

    /// <summary>The model with the lowest validation loss, when the whole model is trained.</summary>
    public string BestModel => System.IO.Path.Combine(Path, "model");

    /// <summary>Whether a best adapter or model has been written.</summary>
    public bool HasBest => File.Exists(BestAdapter) || File.Exists(System.IO.Path.Combine(BestModel, "model.safetensors"));

    /// <summary>Writes the settings of the run.</summary>
    public void WriteConfig(string json) => AtomicFile.WriteText(System.IO.Path.Combine(Path, "config.json"), json);

    /// <summary>Draws the loss curve from the log.</summary>
    public void DrawLossCurve()
    {
        (List<(int, double)> training, List<(int, double)> validation) = Log.Read();
        if (training.Count > 0) AtomicFile.WriteText(System.IO.Path.Combine(Path, "loss.svg"), LossCurve.Draw(training, validation));
    }

    /// <inheritdoc/>
    public void Dispose() => Log.Dispose();

    internal void SaveBest(Gpt2 model, Adapter? adapter)
    {
        if (adapter is null) model.Save(BestModel);
        else AdapterFile.Save(adapter, BestAdapter);
    }
}
