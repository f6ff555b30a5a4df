using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// A vision transformer that tells what an image shows: the network with its weights, its classes, and how pictures are prepared for
/// it. A frozen model (the default) keeps its weights packed and trains only adapters, which travel with each batch; with
/// <c>trainable</c> every weight is an ordinary parameter.
/// </summary>
public sealed partial class VisionModel : IModel
{
    private readonly Vit network;
    private readonly ModelBuilder parts;
    private readonly bool isFresh;

    private VisionModel(
        VitConfig config, ImagePreprocessor preprocessing, Device device, bool trainable, WeightFormat format, string source, bool isFresh,
        IWeightSource weights)
    {
        (Config, Preprocessing, Device, Trainable, Source) = (config, preprocessing, device, trainable, source);
        this.isFresh = isFresh;
        parts = new ModelBuilder(device, trainable, format, weights);
        try
        {
            network = new Vit(config, parts);
        }
        catch
        {
            // A weight that cannot be read leaves nothing of those before it.
            parts.DisposeParts();
            throw;
        }
        finally
        {
            // What the weights were read into is not needed again.
            device.Pool.Trim();
        }
    }

    /// <summary>Its sizes and classes.</summary>
    public VitConfig Config { get; }

    /// <summary>What is done to a picture before it is read.</summary>
    public ImagePreprocessor Preprocessing { get; }

    /// <inheritdoc/>
    public Device Device { get; }

    /// <inheritdoc/>
    public bool Trainable { get; }

    /// <inheritdoc/>
    public string Source { get; }

    /// <summary>
    /// A digest of the configuration and of every value of every weight as it is now: what an adapter file names as its base. A
    /// classifier that was not loaded but begun at zero is not in it, since an adapter brings its own.
    /// </summary>
    public string Identity => ModelIdentity.Of(Config.Description, Digests());

    /// <summary>Whether the classifier is a new one, which begins at zero.</summary>
    public bool HasNewClassifier => isFresh && !parts.Classifiers.Any(classifier => classifier.IsReplaced);

    /// <inheritdoc/>
    string IModel.SampledIdentity => ModelIdentity.Sampled(Config.Description, Digests());

    /// <inheritdoc/>
    string IModel.Prefix => Config.NamePrefix;

    /// <inheritdoc/>
    IEnumerable<string> IModel.Modules => parts.Weights.Select(weight => weight.Name[..weight.Name.LastIndexOf('.')]).Distinct();

    /// <inheritdoc/>
    IReadOnlyList<AdaptableLayer> IModel.Heads => parts.Classifiers;

    /// <inheritdoc/>
    IReadOnlyList<string> IModel.Labels => Config.Labels;

    /// <inheritdoc/>
    public IReadOnlyList<AdaptableMap> AdaptableMaps => parts.AdaptableMaps;

    /// <inheritdoc/>
    public IReadOnlyList<AdaptableLayer> AdaptableLayers => parts.Layers;

    /// <inheritdoc/>
    public IReadOnlyList<Parameter> Parameters => parts.Parameters;

    /// <summary>All linear maps, block by block.</summary>
    public IReadOnlyList<LinearMap> Maps => parts.Maps;

    /// <summary>A batch of images, to be read or learned from.</summary>
    /// <param name="images">Normalized pixels of each, channel by channel. (3, size, size)</param>
    /// <param name="labels">The class of each; none where nothing is learned.</param>
    /// <exception cref="NolaException">An image has another size than the model reads.</exception>
    public TokenStream Stream(IReadOnlyList<float[]> images, IReadOnlyList<int>? labels = null)
    {
        (int tokens, int count) = (Config.Tokens, images.Count);
        float[] patches = new float[(long)count * Config.Patches * Config.PatchColumns];
        for (int i = 0; i < count; i++)
        {
            if (images[i].Length != VitConfig.Colors * Config.ImageSize * Config.ImageSize)
                throw new NolaException(
                    $"An image has {images[i].Length} numbers, and the model reads {VitConfig.Colors} × {Config.ImageSize} × "
                    + $"{Config.ImageSize}; prepare pictures as the model's own settings say.");
            Cut(images[i], patches.AsSpan(i * Config.Patches * Config.PatchColumns));
        }
        int[] starts = [.. Enumerable.Range(0, count + 1).Select(i => i * tokens)];
        return new TokenStream(new int[count * tokens], starts, starts[..^1], labels is null ? new int[count] : [.. labels])
        {
            Patches = new(patches, Config.PatchColumns, Config.Prefix),
        };
    }

    /// <summary>Logits of images, one row for each. (S, classes)</summary>
    /// <param name="images">Normalized pixels of each, channel by channel. (3, size, size)</param>
    /// <param name="adapter">What they are read with; null for the base model alone.</param>
    /// <exception cref="NolaException">An image has another size than the model reads, or there is no classifier.</exception>
    public float[] Logits(IReadOnlyList<float[]> images, IAdapter? adapter = null) => Logits(Stream(images).With(adapter));

    /// <summary>Logits of a batch. (S, classes)</summary>
    internal float[] Logits(TokenStream stream)
    {
        CheckClassifier();
        using StreamTensors batch = new(Device, stream);
        using Tape tape = new(Device, record: false);
        return network.Logits(tape, batch).Value.ToArray();
    }

    /// <summary>What one of DeiT's two classifiers says. (S, classes)</summary>
    internal float[] Logits(TokenStream stream, int classifier)
    {
        using StreamTensors batch = new(Device, stream);
        using Tape tape = new(Device, record: false);
        return network.Logits(tape, batch, classifier).Value.ToArray();
    }

    /// <summary>The tokens of images after the last norm. (S · T, C)</summary>
    public float[] Hidden(IReadOnlyList<float[]> images, IAdapter? adapter = null)
    {
        using StreamTensors batch = new(Device, Stream(images).With(adapter));
        using Tape tape = new(Device, record: false);
        return network.Hidden(tape, batch).Value.ToArray();
    }

    /// <inheritdoc/>
    public Variable Loss(Tape tape, StreamTensors batch, float labelSmoothing, float scale, Tensor? losses = null)
    {
        CheckClassifier();
        Variable rows = Ops.CrossEntropy(network.Logits(tape, batch), batch.Targets, labelSmoothing);       // (S)
        if (losses is not null) Device.Axpby(1, rows.Value, 0, losses);
        return scale * Ops.Sum(rows);
    }

    /// <inheritdoc/>
    public void Dispose() => parts.DisposeParts();

    /// <summary>Refuses to tell classes where there is no classifier.</summary>
    /// <exception cref="NolaException">There is none.</exception>
    internal void CheckClassifier()
    {
        if (Config.Labels.Count == 0)
            throw new NolaException(
                $"{Source}: the checkpoint has no classifier; load it with the names of classes and train one, or load an adapter that "
                + "has one.");
    }

    // Patch after patch, row by row of them, and in each channel by channel.
    private void Cut(float[] image, Span<float> patches)
    {
        (int size, int side) = (Config.ImageSize, Config.PatchSize);
        int at = 0;
        for (int top = 0; top < size; top += side)
            for (int left = 0; left < size; left += side)
                for (int channel = 0; channel < VitConfig.Colors; channel++)
                    for (int y = top; y < top + side; y++, at += side)
                        image.AsSpan((channel * size + y) * size + left, side).CopyTo(patches[at..]);
    }

    // What a new classifier holds is nobody's identity.
    private IEnumerable<(string Name, WeightDigest Digest)> Digests()
    {
        bool passes = HasNewClassifier && !Trainable;
        return parts.Weights
            .Where(weight => !(passes && Config.Classifiers.Any(name => weight.Name.StartsWith(name + ".", StringComparison.Ordinal))))
            .Select(weight => (weight.Name, weight.Digest()));
    }
}
