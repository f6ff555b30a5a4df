using System.Globalization;
using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// Everything that resuming needs, in one file that is whole or not there: parameters, AdamW's moments, and the counters.
/// The data order is a function of the seed and the epoch, so a position is two numbers.
/// </summary>
public sealed class TrainState
{
    private const string Format = "nola-train-state/1";

    /// <summary>Optimiser steps done.</summary>
    public int Step { get; set; }

    /// <summary>Passes over the data completed.</summary>
    public int Epoch { get; set; }

    /// <summary>Batches of this epoch done.</summary>
    public int Batch { get; set; }

    /// <summary>Tokens trained on.</summary>
    public long Tokens { get; set; }

    /// <summary>Seconds of training.</summary>
    public double Seconds { get; set; }

    /// <summary>Validation loss before the first step.</summary>
    public double FirstLoss { get; set; } = double.NaN;

    /// <summary>Latest validation loss.</summary>
    public double LastLoss { get; set; } = double.NaN;

    /// <summary>Lowest validation loss.</summary>
    public double BestLoss { get; set; } = double.NaN;

    /// <summary>Step of the lowest validation loss.</summary>
    public int BestStep { get; set; }

    /// <summary>Evaluations since the lowest.</summary>
    public int Waited { get; set; }

    /// <summary>Writes the state with the parameters and moments of an optimiser.</summary>
    /// <param name="path">The file.</param>
    /// <param name="optimizer">Whose parameters and moments.</param>
    /// <param name="run">What identifies the run: resuming another one is refused.</param>
    /// <exception cref="NolaException">The file cannot be written.</exception>
    public void Save(string path, AdamW optimizer, string run)
    {
        List<SafetensorsTensor> tensors = [];
        foreach ((Parameter p, Tensor m, Tensor v) in optimizer.States)
        {
            tensors.Add(new SafetensorsTensor("p." + p.Name, DType.Float32, p.Shape, p.Value.ToArray));
            tensors.Add(new SafetensorsTensor("m." + p.Name, DType.Float32, p.Shape, m.ToArray));
            tensors.Add(new SafetensorsTensor("v." + p.Name, DType.Float32, p.Shape, v.ToArray));
        }
        SafetensorsWriter.Write(path, tensors, new Dictionary<string, string>
        {
            ["format"] = Format,
            ["run"] = run,
            ["step"] = Text(Step),
            ["optimizer_steps"] = Text(optimizer.Steps),
            ["epoch"] = Text(Epoch),
            ["batch"] = Text(Batch),
            ["tokens"] = Text(Tokens),
            ["seconds"] = Text(Seconds),
            ["first_loss"] = Text(FirstLoss),
            ["last_loss"] = Text(LastLoss),
            ["best_loss"] = Text(BestLoss),
            ["best_step"] = Text(BestStep),
            ["waited"] = Text(Waited),
        });
    }

    /// <summary>Reads a state, and puts its parameters and moments into an optimiser.</summary>
    /// <exception cref="NolaException">It is not a state of this run.</exception>
    public static TrainState Load(string path, AdamW optimizer, string run)
    {
        using Safetensors file = Safetensors.Open(path);
        IReadOnlyDictionary<string, string> data = file.Metadata;
        if (data.GetValueOrDefault("format") != Format)
            throw new NolaException($"{path}: not a training state of this version ({Format}); start a new run.");
        if (data["run"] != run)
            throw new NolaException($"{path}: this state belongs to a run with other settings ({data["run"]}) than these ({run}); resume with the same model, data and options, or start a new run.");
        foreach ((Parameter p, Tensor m, Tensor v) in optimizer.States)
        {
            foreach ((string prefix, Tensor tensor) in (ReadOnlySpan<(string, Tensor)>)[("p.", p.Value), ("m.", m), ("v.", v)])
            {
                SafetensorsEntry entry = file.Get(prefix + p.Name);
                float[] values = new float[tensor.Length];
                if (entry.Length != values.Length) throw new NolaException($"{path}: '{entry.Name}' has {entry.Length} values where {values.Length} are expected; start a new run.");
                file.ReadFloats(entry, values);
                tensor.Device.Upload(values, tensor);
            }
        }
        optimizer.Steps = (int)Number("optimizer_steps");
        return new TrainState
        {
            Step = (int)Number("step"),
            Epoch = (int)Number("epoch"),
            Batch = (int)Number("batch"),
            Tokens = (long)Number("tokens"),
            Seconds = Number("seconds"),
            FirstLoss = Number("first_loss"),
            LastLoss = Number("last_loss"),
            BestLoss = Number("best_loss"),
            BestStep = (int)Number("best_step"),
            Waited = (int)Number("waited"),
        };

        double Number(string key) => double.Parse(data[key], CultureInfo.InvariantCulture);
    }

    private static string Text(IFormattable number) => number.ToString(number is double ? "R" : null, CultureInfo.InvariantCulture);
}
