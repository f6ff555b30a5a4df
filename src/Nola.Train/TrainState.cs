using System.Globalization;
using System.Numerics;
using System.Runtime.InteropServices;
using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// Everything that resuming needs, in one file that is whole or not there: parameters, AdamW's moments, and the counters.
/// The data order is a function of the seed and the epoch, so a position is two numbers.
/// </summary>
internal sealed class TrainState
{
    private const string Format = "nola-train-state/2";

    // What an item of the run's identity is called in the file.
    private const string Item = "run.";

    /// <summary>Optimizer steps done.</summary>
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

    /// <summary>The step that the run is to end with, which its schedule is drawn to.</summary>
    public int Total { get; set; }

    /// <summary>Writes the state with the parameters and moments of an optimizer.</summary>
    /// <param name="path">The file.</param>
    /// <param name="optimizer">Whose parameters and moments.</param>
    /// <param name="run">What identifies the run: resuming another one is refused.</param>
    /// <exception cref="NolaException">The file cannot be written.</exception>
    internal void Save(string path, AdamW optimizer, RunIdentity run)
    {
        List<SafetensorsTensor> tensors = [];
        foreach ((Parameter p, Tensor m, Tensor v) in optimizer.States)
        {
            tensors.Add(new SafetensorsTensor("p." + p.Name, DType.Float32, p.Shape, p.Value.ToArray));
            tensors.Add(new SafetensorsTensor("m." + p.Name, DType.Float32, p.Shape, m.ToArray));
            tensors.Add(new SafetensorsTensor("v." + p.Name, DType.Float32, p.Shape, v.ToArray));
        }
        Dictionary<string, string> data = new()
        {
            ["format"] = Format,
            ["step"] = Text(Step),
            ["total"] = Text(Total),
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
        };
        foreach ((string key, string value) in run.Items) data[Item + key] = value;
        SafetensorsWriter.Write(path, tensors, data);
    }

    /// <summary>Gives every rank what rank 0 has read: counters, parameters and moments.</summary>
    /// <param name="ranks">The ranks.</param>
    /// <param name="optimizer">Whose parameters and moments.</param>
    internal void Share(ICollective ranks, AdamW optimizer)
    {
        double[] numbers =
            [Step, Epoch, Batch, BitConverter.Int64BitsToDouble(Tokens), Seconds, FirstLoss, LastLoss, BestLoss, BestStep, Waited, Total];
        ranks.Broadcast(MemoryMarshal.AsBytes(numbers.AsSpan()));
        (Step, Epoch, Batch, Tokens) = ((int)numbers[0], (int)numbers[1], (int)numbers[2], BitConverter.DoubleToInt64Bits(numbers[3]));
        (Seconds, FirstLoss, LastLoss, BestLoss) = (numbers[4], numbers[5], numbers[6], numbers[7]);
        (BestStep, Waited, Total) = ((int)numbers[8], (int)numbers[9], (int)numbers[10]);
        foreach ((Parameter p, Tensor m, Tensor v) in optimizer.States)
            foreach (Tensor tensor in (ReadOnlySpan<Tensor>)[p.Value, m, v])
            {
                float[] values = tensor.ToArray();
                ranks.Broadcast(MemoryMarshal.AsBytes(values.AsSpan()));
                tensor.Device.Upload(values, tensor);
            }
        optimizer.Steps = Step;
    }

    /// <summary>Reads a state, and puts its parameters and moments into an optimizer; whatever is refused, that is untouched.</summary>
    /// <param name="path">The file.</param>
    /// <param name="optimizer">Optimizer of the same parameters.</param>
    /// <param name="run">What the state must be of.</param>
    /// <param name="options">The run's settings; of equal runs they differ in steps and epochs alone.</param>
    /// <param name="validated">Whether the run has validation data, and so losses.</param>
    /// <exception cref="NolaException">It is not a state of this run, or a value in it cannot be.</exception>
    internal static TrainState Load(string path, AdamW optimizer, RunIdentity run, TrainOptions options, bool validated)
    {
        using Safetensors file = Safetensors.Open(path);
        CheckRun(file, run);
        TrainState state = new Counters(file).Read(options, validated);
        List<(Tensor Tensor, float[] Values)> read = [];
        foreach ((Parameter p, Tensor m, Tensor v) in optimizer.States)
        {
            read.Add((p.Value, Values(file, "p." + p.Name, p.Shape)));
            read.Add((m, Values(file, "m." + p.Name, p.Shape)));
            read.Add((v, Values(file, "v." + p.Name, p.Shape)));
            if (read[^1].Values.Any(square => square < 0)) throw Damaged(path, $"'v.{p.Name}', a mean of squares, has a negative value");
        }
        foreach ((Tensor tensor, float[] values) in read) tensor.Device.Upload(values, tensor);
        optimizer.Steps = state.Step;
        return state;
    }

    private static void CheckRun(Safetensors file, RunIdentity run)
    {
        string format = file.Metadata.GetValueOrDefault("format", "");
        if (format.StartsWith("nola-train-state/", StringComparison.Ordinal) && format != Format)
            throw new NolaException(
                $"{file.Path}: a training state of another version ({format}; this one reads {Format}), which does not say the same of " +
                "its run; finish the run with the version that began it, or start a new one.");
        if (format != Format) throw new NolaException($"{file.Path}: not a training state ({Format}); start a new run.");
        RunIdentity was = RunIdentity.From(file.Metadata
            .Where(pair => pair.Key.StartsWith(Item, StringComparison.Ordinal))
            .Select(pair => KeyValuePair.Create(pair.Key[Item.Length..], pair.Value)));
        IReadOnlyList<string> differences = was.DifferencesTo(run);
        if (differences.Count == 0) return;
        string more = differences.Count > 3 ? $"; and {differences.Count - 3} more" : "";
        throw new NolaException(
            $"{file.Path}: this run was begun with other settings: {string.Join("; ", differences.Take(3))}{more}. Resume it with its " +
            "own, or start a new run in another directory.");
    }

    private static float[] Values(Safetensors file, string name, Shape shape)
    {
        SafetensorsEntry entry = file.Get(name);
        if (!entry.Shape.SequenceEqual(shape.Dimensions().Select(d => (long)d)))
            throw Damaged(file.Path, $"'{entry.Name}' has shape [{string.Join(", ", entry.Shape)}] where {shape} is expected");
        float[] values = new float[shape.Length];
        file.ReadFloats(entry, values);
        if (!values.All(float.IsFinite)) throw Damaged(file.Path, $"'{entry.Name}' has a value that is not a finite number");
        return values;
    }

    private static NolaException Damaged(string path, string what) => new($"{path}: {what}; the file is damaged, start a new run.");

    private static string Text(IFormattable number) => number.ToString(number is double ? "R" : null, CultureInfo.InvariantCulture);

    /// <summary>The counters of a file, each checked when it is read.</summary>
    private sealed class Counters(Safetensors file)
    {
        // What goes on counting has as much room again; three thousand years are a third of the longest time span.
        private const long MostTokens = long.MaxValue / 2;
        private const int MostWaited = int.MaxValue / 2;
        private const double MostSeconds = 1e11;

        public TrainState Read(TrainOptions options, bool validated)
        {
            int step = Whole("step", 0, int.MaxValue);
            // Every epoch has a batch at least, and every step takes some.
            long batches = (long)step * options.Accumulation;
            int most = (int)Math.Min(batches, int.MaxValue - 1);
            // Before the first step there may have been no evaluation yet; after it there was.
            bool known = validated && step > 0;
            TrainState state = new()
            {
                Step = step,
                Total = Whole("total", Math.Max(1, step), int.MaxValue),
                Epoch = Whole("epoch", 0, most),
                Batch = Whole("batch", 0, most),
                Tokens = Whole("tokens", 0L, MostTokens),
                Seconds = Real("seconds", mayBeUnknown: false, MostSeconds),
                FirstLoss = Real("first_loss", !known),
                LastLoss = Real("last_loss", !known),
                BestLoss = Real("best_loss", !known),
                BestStep = Whole("best_step", 0, step),
                Waited = Whole("waited", 0, MostWaited),
            };
            Whole("optimizer_steps", step, step);
            return state;
        }

        private T Whole<T>(string key, T least, T most) where T : struct, IBinaryInteger<T>
        {
            string text = Get(key);
            return StrictNumber.TryWhole(text, out T value) && value >= least && value <= most ? value
                : throw Bad(key, text, least == most ? $"{least}" : $"a whole number from {least} to {most}");
        }

        private double Real(string key, bool mayBeUnknown, double most = double.PositiveInfinity)
        {
            string text = Get(key);
            if (mayBeUnknown && text == "NaN") return double.NaN;
            if (StrictNumber.TryReal(text, out double value) && value >= 0 && value <= most) return value;
            throw Bad(key, text, double.IsFinite(most) ? $"a number from 0 to {most:F0}" : "a number from 0");
        }

        private string Get(string key) =>
            file.Metadata.TryGetValue(key, out string? text) ? text : throw Damaged(file.Path, $"it has no '{key}'");

        private NolaException Bad(string key, string text, string expected) =>
            Damaged(file.Path, $"its '{key}' is {Quoted.Of(text)} where {expected} is expected");
    }
}
