using System.Text.RegularExpressions;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// Where a run keeps what it makes: <c>config.json</c>, <c>log.jsonl</c>, TensorBoard's <c>events.out.tfevents…</c>,
/// <c>loss.svg</c>, the best <c>adapter.safetensors</c> (or <c>model/</c>), and <c>last.safetensors</c> to resume from.
/// One process at a time has it: <c>.running</c> is locked from the constructor to <see cref="Dispose"/>, or to the end of the
/// process.
/// </summary>
public sealed class RunDirectory : IDisposable
{
    /// <summary>What the last checkpoint is called.</summary>
    internal const string LastStateName = "last.safetensors";

    private RunLock mine;
    private string? config;

    // Whether the run that is there may be changed: at once for a new one, else once its state was found to be of these settings.
    private bool accepted;

    /// <summary>Makes the directory, or opens the one of a run to be resumed, and takes it for this process.</summary>
    /// <exception cref="NolaException">
    /// It cannot be written, another process has it, or it holds a run already, or none to resume.
    /// </exception>
    public RunDirectory(string path, bool resume = false)
    {
        (Path, Resumes, accepted) = (path, resume, !resume);
        // So that nothing is left in a directory that somebody named by mistake.
        if (resume) CheckState();
        else AtomicFile.EnsureDirectory(path);
        mine = Lock();
        try
        {
            CheckState();
            Log = new RunLog(path);
            foreach (string file in (ReadOnlySpan<string>)[ConfigFile, LastState, BestAdapter, BestWeights, LossPicture, Log.Path])
                AtomicFile.RemoveStale(file);
            // What a run left that ended before its first checkpoint is of no use to this one.
            if (!resume) Log.Resume(-1);
        }
        catch
        {
            mine.Dispose();
            throw;
        }
    }

    /// <summary>The directory.</summary>
    public string Path { get; }

    /// <summary>Whether it was opened to resume the run that it holds.</summary>
    public bool Resumes { get; }

    /// <summary>The run's log.</summary>
    internal RunLog Log { get; }

    /// <summary>Everything that resuming needs.</summary>
    public string LastState => File(LastStateName);

    /// <summary>The adapter with the lowest validation loss.</summary>
    public string BestAdapter => File("adapter.safetensors");

    /// <summary>The model with the lowest validation loss, when the whole model is trained.</summary>
    public string BestModel => File("model");

    /// <summary>Whether a best adapter or model has been written.</summary>
    public bool HasBest => System.IO.File.Exists(BestAdapter) || System.IO.File.Exists(BestWeights);

    private string BestWeights => System.IO.Path.Combine(BestModel, "model.safetensors");

    private string ConfigFile => File("config.json");

    private string LossPicture => File("loss.svg");

    /// <summary>Says without a look at anything else that a directory holds a run already, before long work for a new one.</summary>
    /// <exception cref="NolaException">It does.</exception>
    public static void RefuseUsed(string path)
    {
        if (System.IO.File.Exists(System.IO.Path.Combine(path, LastStateName)))
            throw new NolaException($"{path}: holds a run already; resume it, or choose another directory.")
            {
                Options = ["Resume", "Directory"],
            };
    }

    /// <summary>
    /// Writes the settings of the run. Of a run that is resumed they are kept back until its state has turned out to be of these
    /// settings, so that a refused run is as it was.
    /// </summary>
    /// <exception cref="NolaException">The file cannot be written.</exception>
    public void WriteConfig(string json)
    {
        config = json;
        if (accepted) AtomicFile.WriteText(ConfigFile, json);
    }

    /// <summary>
    /// The same with the device, also one that was chosen by itself, so that a run is resumed with the same arithmetic; and says so when
    /// this is another one than it was begun with.
    /// </summary>
    /// <exception cref="NolaException">The file cannot be written, or the one that is there cannot be read.</exception>
    internal void WriteConfig(TrainConfig settings, Device device, Action<string> notice)
    {
        string name = settings.Device == "auto" ? device.Name : settings.Device;
        if (BegunOn() is { } before && Arithmetic(before) != Arithmetic(name))
            notice($"{Path}: was begun on {before} and goes on on {name}, which does not compute to the same bits.");
        WriteConfig((settings with { Device = name }).ToJson(withDevice: true));
    }

    /// <summary>Draws the loss curve from the log.</summary>
    /// <exception cref="NolaException">The picture cannot be written.</exception>
    public void DrawLossCurve()
    {
        (List<(int, double)> training, List<(int, double)> validation) = Log.Read();
        if (training.Count > 0) AtomicFile.WriteText(LossPicture, LossCurve.Draw(training, validation));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Log.Dispose();
        mine.Dispose();
    }

    /// <summary>The run that is there is the one that goes on from a step; from here on it may be changed.</summary>
    internal void Accept(int step)
    {
        accepted = true;
        if (config is not null) WriteConfig(config);
        Log.Resume(step);
    }

    /// <summary>
    /// Makes the directory again, with its configuration, when somebody removed it while the run was in it; true when that was so.
    /// </summary>
    /// <exception cref="NolaException">It cannot be made, or another process has taken the place.</exception>
    internal bool Restore()
    {
        if (mine.IsInPlace) return false;
        AtomicFile.EnsureDirectory(Path);
        RunLock again = Lock();
        mine.Dispose();
        mine = again;
        Log.Reopen();
        if (config is not null) WriteConfig(config);
        return true;
    }

    internal void SaveBest(IModel model, TrainableAdapter? adapter)
    {
        if (adapter is null) model.Save(BestModel);
        else AdapterFile.Save(adapter, BestAdapter);
    }

    private string File(string name) => System.IO.Path.Combine(Path, name);

    // Null for a new run, and one whose settings do not say.
    private string? BegunOn()
    {
        if (!Resumes || !System.IO.File.Exists(ConfigFile)) return null;
        Settings had = new(TrainConfig.Keys);
        had.ReadJson(ConfigFile);
        return had.Has("device") ? had.Text("device", "") : null;
    }

    // A device without its number: which of several GPUs it is changes nothing.
    private static string Arithmetic(string device) => Regex.Replace(device, ":[0-9]+", "");

    private RunLock Lock() => RunLock.Take(Path, "is training in this directory");

    private void CheckState()
    {
        bool exists = System.IO.File.Exists(LastState);
        if (!Resumes && exists) RefuseUsed(Path);
        if (!Resumes || exists) return;
        if (!Directory.Exists(Path)) throw new NolaException(
            $"{Path}: there is no such directory; name the directory of the run to resume.");
        if (!System.IO.File.Exists(ConfigFile)) throw new NolaException(
            $"{Path}: there is no config.json and no last.safetensors; is it a run's directory?");
        throw new NolaException($"{Path}: there is no last.safetensors to resume from; start a new run instead of resuming.")
        {
            Options = ["Resume"],
        };
    }
}
