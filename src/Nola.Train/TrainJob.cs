using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>What a configuration of training trains on what: a language model on text, or a vision model on images.</summary>
internal abstract class TrainJob : IDisposable
{
    /// <summary>The base.</summary>
    public abstract IModel Model { get; }

    /// <summary>What is trained on it; null for the whole model.</summary>
    public abstract TrainableAdapter? Adapter { get; }

    /// <summary>Number of values of the base.</summary>
    public abstract long ParameterCount { get; }

    /// <summary>What there is to learn from, for people.</summary>
    public abstract string Contents { get; }

    /// <summary>Trains.</summary>
    public abstract TrainResult Run(Trainer trainer, bool resume, CancellationToken cancel);

    /// <summary>How a saved adapter or model does on what was set apart for the end; null where there is nothing.</summary>
    public virtual ImageResult? Test(string saved, CancellationToken cancel) => null;

    /// <inheritdoc/>
    public void Dispose()
    {
        Adapter?.Dispose();
        Model.Dispose();
    }
}

/// <summary>A language model and pairs or text.</summary>
internal sealed class TextJob : TrainJob
{
    private readonly LanguageModel model;
    private readonly TrainData data;

    public TextJob(TrainConfig config, Device device)
    {
        model = LanguageModel.Load(config.Model, device, config.Adapter is null, config.Storage);
        try
        {
            Adapter = config.NewAdapter(model);
            data = TrainData.Read(config, model);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public override IModel Model => model;

    public override TrainableAdapter? Adapter { get; }

    public override long ParameterCount => model.Config.ParameterCount;

    public override string Contents => $"{data.Training.Length:N0} sequences";

    public override TrainResult Run(Trainer trainer, bool resume, CancellationToken cancel) =>
        trainer.Run(data.Training, data.Validation, resume, cancel);
}

/// <summary>A vision model and labeled images.</summary>
internal sealed class ImageJob : TrainJob
{
    private readonly TrainConfig config;
    private readonly VisionModel model;
    private readonly ImageSet training;
    private readonly ImageSet? validation, test;

    public ImageJob(TrainConfig config, Device device)
    {
        this.config = config;
        ImageSet all = ImageSet.Read(config.Images, ImagePart.Train);
        training = config.Shots > 0 ? all.Shots(config.Shots, config.ShotsSeed) : all;
        test = ImageSet.Find(config.Images, ImagePart.Test)?.For(all.Labels);
        if (config.Valid.Length > 0)
            validation = ImageSet.Find(config.Valid, ImagePart.Test) ?? ImageSet.Read(config.Valid, ImagePart.Train);
        model = VisionModel.Load(config.Model, device, all.Labels, config.ImageSize, config.Adapter is null, config.Storage);
        try
        {
            Adapter = config.NewAdapter(model);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public override IModel Model => model;

    public override TrainableAdapter? Adapter { get; }

    public override long ParameterCount => model.Config.ParameterCount;

    public override string Contents =>
        $"{training.Images.Count:N0} images of {training.Labels.Count:N0} classes"
        + (model.HasNewClassifier ? ", for which there is a new classifier" : "");

    public override TrainResult Run(Trainer trainer, bool resume, CancellationToken cancel) =>
        trainer.Run(training, validation, config.Augmentation, resume, cancel);

    /// <summary>Whether there are images to test on.</summary>
    public bool HasTest => test is not null;

    // Once, at the end, and not to choose anything by.
    public override ImageResult? Test(string saved, CancellationToken cancel)
    {
        if (test is null) return null;
        if (Adapter is not null)
        {
            using LoadedAdapter adapter = AdapterFile.Load(saved, model);
            return ImageEvaluation.Test(model, test, adapter, cancel: cancel);
        }
        using VisionModel whole = VisionModel.Load(saved, model.Device);
        return ImageEvaluation.Test(whole, test, cancel: cancel);
    }
}
