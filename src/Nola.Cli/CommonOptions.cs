using System.CommandLine;
using System.Globalization;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;

namespace Nola.Cli;

/// <summary>Options that several commands have, and what they mean.</summary>
internal sealed class CommonOptions
{
    public Option<string> Model { get; } = new("--model")
    {
        Description = "Embedded nola-tiny, a directory, or a name in the Hugging Face cache",
        DefaultValueFactory = _ => LanguageModel.EmbeddedName,
    };

    public Option<string> Adapter { get; } = new("--adapter") { Description = "Nola adapter file, or Hugging Face PEFT directory" };

    public Option<string> DeviceName { get; } = new("--device")
    {
        Description = "auto, cpu, cuda or cuda:1; cpu,bfloat16 computes products of bfloat16 where the processor has them, "
            + "cuda,float32 and cuda,tf32 those of a GPU otherwise than in bfloat16",
        DefaultValueFactory = _ => "auto",
    };

    public Option<int> Threads { get; } = new WholeOption<int>("--threads") { Description = "Threads of the CPU; 0 for one per core" };

    public Option<string> Storage { get; } = new("--storage")
    {
        Description = $"Keep the base model as {string.Join(", ", WeightFormats.Names)}; bfloat16 takes half the memory, the others less",
        DefaultValueFactory = _ => WeightFormat.Float32.Name(),
    };

    public Option<bool> Json { get; } = new("--json")
    {
        Description = "Print one JSON object on standard output, everything else on standard error",
    };

    /// <summary>Adds the options of everything that loads a model.</summary>
    public void AddTo(Command command)
    {
        command.Add(Model);
        command.Add(Adapter);
        command.Add(DeviceName);
        command.Add(Threads);
        command.Add(Storage);
    }

    /// <summary>Opens device, model and adapter, and runs.</summary>
    /// <param name="result">The command line.</param>
    /// <param name="run">What to do.</param>
    /// <param name="readsText">Whether text will be encoded, so that the tokenizer is made ready while the weights are read.</param>
    public int WithModel(ParseResult result, Func<LanguageModel, LoadedAdapter?, int> run, bool readsText = false) =>
        WithModel(result, Alone.Instance, run, readsText);

    /// <summary>The same on one of several ranks, with its own device.</summary>
    public int WithModel(
        ParseResult result, ICollective ranks, Func<LanguageModel, LoadedAdapter?, int> run, bool readsText = false)
    {
        int threads = Ranks.Threads(ranks, result.GetValue(Threads));
        using Device device = Device.Open(Ranks.Device(ranks, result.GetValue(DeviceName)!), threads, Terminal.Say);
        using LanguageModel model = LanguageModel.Load(
            result.GetValue(Model)!, device, trainable: false, TrainConfig.StorageType(result.GetValue(Storage)!), readsText);
        using LoadedAdapter? adapter = result.GetValue(Adapter) is { } path ? AdapterFile.Load(path, model) : null;
        return run(model, adapter);
    }

    /// <summary>
    /// Opens device, vision model and adapter, and runs. The model gets the adapter's classes where the adapter has a classifier.
    /// </summary>
    /// <param name="result">The command line.</param>
    /// <param name="imageSize">Pixels of a side of the images; 0 for the model's own.</param>
    /// <param name="run">What to do.</param>
    public int WithVision(ParseResult result, int imageSize, Func<VisionModel, LoadedAdapter?, int> run)
    {
        if (imageSize < 0)
            throw new NolaException($"--image-size is {imageSize}; expected the pixels of a side, or 0 for the model's own.");
        string? path = result.GetValue(Adapter);
        IReadOnlyList<string>? labels = path is null ? null : AdapterFile.Labels(path);
        using Device device = Device.Open(result.GetValue(DeviceName)!, result.GetValue(Threads), Terminal.Say);
        using VisionModel model = VisionModel.Load(
            result.GetValue(Model)!, device, labels, imageSize, format: TrainConfig.StorageType(result.GetValue(Storage)!));
        using LoadedAdapter? adapter = path is null ? null : AdapterFile.Load(path, model);
        return run(model, adapter);
    }

    /// <summary>For commands of images alone: their model is another one by default.</summary>
    public void TakeImages()
    {
        Model.Description = "Embedded nola-tiny-vit, a directory of a vision transformer, or a name in the Hugging Face cache";
        Model.DefaultValueFactory = _ => VisionModel.EmbeddedName;
    }

    /// <summary>An option for the size of images.</summary>
    public static Option<int> ImageSize() => new WholeOption<int>("--image-size")
    {
        Description = "Pixels of a side of the images that a vision model reads, positions interpolated; 0 for the model's own",
    };

    /// <summary>Whether the model is one for images.</summary>
    public bool IsVision(ParseResult result) => VisionModel.Recognizes(result.GetValue(Model)!);

    /// <summary>Token ids from text such as <c>1,2,3</c>.</summary>
    public static int[] Ids(string text, string option)
    {
        string[] parts = text.Split([',', ' '], StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        return [.. parts.Select(part => int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out int id)
            ? id
            : throw new NolaException($"{option}: '{part}' is not a token id; expected whole numbers, for example \"15496,995\"."))];
    }
}
