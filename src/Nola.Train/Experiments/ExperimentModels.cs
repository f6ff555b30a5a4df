using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>The base model and the data of the run at hand, kept for the next when it wants the same. One model at a time.</summary>
internal sealed class ExperimentModels(Device device) : IDisposable
{
    private readonly Dictionary<string, string> identities = [];
    private readonly HashSet<string> fitting = [];
    private LanguageModel? model;
    private string loaded = "";
    private (string Key, TrainData Data)? data;

    /// <summary>A frozen base model, shared by runs; or a trainable one, new for each.</summary>
    public LanguageModel For(TrainConfig config, bool trainable)
    {
        string key = $"{config.Model} {config.Storage}";
        if (!trainable && loaded == key) return model!;
        LanguageModel found = Load(config.Model, trainable, config.Storage, trainable ? "" : key);
        identities.TryAdd(config.Model, found.Identity);
        return found;
    }

    /// <summary>A model that a run has trained, in the format it was trained in; that of a frozen base is none of its own.</summary>
    public LanguageModel Open(string directory) => Load(directory, false, WeightFormat.Float32, "");

    /// <summary>Keeps the digest of a base model that somebody else has loaded.</summary>
    public void Note(TrainConfig config, string identity) => identities.TryAdd(config.Model, identity);

    /// <summary>The digest of a base model that was loaded.</summary>
    public string IdentityOf(TrainConfig config) => identities.GetValueOrDefault(config.Model, "");

    /// <summary>The encoded data of a run, for the model that is loaded.</summary>
    public TrainData DataOf(TrainConfig config)
    {
        string key = string.Join('|', config.Model, config.Data, config.Valid, string.Join(',', config.Text), config.Truncate, config.Chat);
        if (data is { } kept && kept.Key == key) return kept.Data;
        TrainData read = TrainData.Read(config, model!);
        data = (key, read);
        return read;
    }

    /// <summary>Refuses test pairs that do not fit the model that is loaded, before anything is trained.</summary>
    /// <exception cref="NolaException">A pair is too long, empty, or has a token that the model does not.</exception>
    public void Check(TextPairs test, TrainConfig config)
    {
        if (fitting.Add($"{config.Model} {config.Truncate} {config.Chat}"))
            PairEncoder.EncodeFor(model!, test, config.Truncate, config.Chat);
    }

    public void Dispose()
    {
        model?.Dispose();
        model = null;
        loaded = "";
    }

    private LanguageModel Load(string source, bool trainable, WeightFormat format, string key)
    {
        Dispose();
        model = LanguageModel.Load(source, device, trainable, format);
        loaded = key;
        return model;
    }
}
