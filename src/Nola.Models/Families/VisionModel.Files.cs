using System.Reflection;
using System.Text.Json;
using Nola.Tensors;

namespace Nola.Models;

public sealed partial class VisionModel
{
    /// <summary>The name of the vision model that is embedded in this library.</summary>
    public const string EmbeddedName = "nola-tiny-vit";

    private const string ConfigName = "config.json";

    /// <summary>
    /// Loads a checkpoint of a ViT, DeiT or DINOv2: a directory with <c>config.json</c> and safetensors, in Hugging Face's layout or
    /// timm's, or a name in the Hugging Face cache such as <c>google/vit-base-patch16-224</c>.
    /// </summary>
    /// <param name="model">Name or directory.</param>
    /// <param name="device">Where to put the weights.</param>
    /// <param name="labels">
    /// What the classes are called. Where these are the checkpoint's own, its classifier is kept; else there is a new one, which begins at
    /// zero. Null for the checkpoint's own, which may have none; as many as the checkpoint has, called LABEL_0, LABEL_1 and so on, are its
    /// own too.
    /// </param>
    /// <param name="imageSize">
    /// Pixels of a side of the images, where they are not the checkpoint's: positions are interpolated to it. 0 for the checkpoint's own;
    /// of DINOv2, which reads any size, for that of its prepared pictures.
    /// </param>
    /// <param name="trainable">Every weight as a parameter, for full fine-tuning; else frozen and packed.</param>
    /// <param name="format">How frozen weights are kept.</param>
    /// <exception cref="NolaException">There is no such model, or its files are not a checkpoint that can be loaded.</exception>
    public static VisionModel Load(
        string model, Device device, IReadOnlyList<string>? labels = null, int imageSize = 0, bool trainable = false,
        WeightFormat format = WeightFormat.Float32)
    {
        bool embedded = model == EmbeddedName && !Directory.Exists(model);
        string directory = embedded ? "the embedded model " + EmbeddedName : ModelLocator.Current.Find(model);
        string path = Path.Combine(directory, ConfigName);
        (VitConfig stored, ImagePreprocessor? preprocessing, bool isTimm) =
            embedded ? VitConfigReader.Parse(Resource(ConfigName, directory), directory) : VitConfigReader.Read(path);
        using WeightFiles weights = embedded
            ? new WeightFiles(directory, device, [Embedded(directory)], stored.NamePrefix, null, VitLayouts.Of)
            : WeightFiles.Open(directory, device, stored.NamePrefix, null, VitLayouts.Of);
        CheckClassifier(ref stored, weights, path, isTimm);
        // Numbers are names that nobody gave, as in adapters of PEFT.
        if (labels?.Count == stored.Labels.Count && labels.SequenceEqual(VitConfigReader.Numbered(labels.Count))) labels = null;
        bool isFresh = labels is not null && !labels.SequenceEqual(stored.Labels);
        preprocessing = (embedded ? null : ImagePreprocessor.Find(directory)) ?? preprocessing ?? Standard(stored);
        if (imageSize == 0 && stored.IsDinov2 && preprocessing.Output is { } made && made.Height == made.Width) imageSize = made.Height;
        VitConfig config = stored with
        {
            Labels = labels ?? stored.Labels,
            ImageSize = imageSize > 0 ? imageSize : stored.ImageSize,
        };
        config.Check(imageSize > 0 ? $"{path}, with images of {imageSize} pixels a side" : path);
        (int from, int to) = (stored.ImageSize / stored.PatchSize, config.ImageSize / config.PatchSize);
        VitWeights source = new(weights, device, isFresh ? config.Classifiers : [], from, to, config.Prefix);
        if (imageSize > 0) preprocessing = preprocessing.For(imageSize);
        CheckPreprocessing(preprocessing, config, directory);
        VisionModel loaded = new(config, preprocessing, device, trainable, format, model, isFresh, source);
        try
        {
            weights.RefuseUnread(
                $"{config.Title} with {config.Layers} layers", name => VitLayouts.Skips(name) || (isFresh && IsClassifier(name)),
                "a vision transformer with one classifier");
            return loaded;
        }
        catch
        {
            loaded.Dispose();
            throw;
        }
    }

    /// <summary>A new model with random weights, a pure function of the seed.</summary>
    /// <param name="config">Its sizes and classes.</param>
    /// <param name="device">Where to put the weights.</param>
    /// <param name="seed">Seed of the initial values.</param>
    /// <param name="trainable">Every weight as a parameter; else frozen and packed.</param>
    /// <param name="format">How frozen weights are kept.</param>
    /// <exception cref="NolaException">The sizes are none of such a model.</exception>
    public static VisionModel Create(
        VitConfig config, Device device, ulong seed, bool trainable = true, WeightFormat format = WeightFormat.Float32)
    {
        config.Check("VisionModel.Create");
        return new(
            config, ImagePreprocessor.Square(config.ImageSize), device, trainable, format, "new", isFresh: false,
            new RandomWeights(config.Deviation, device, seed));
    }

    /// <summary>What the files of a model say is done to a picture; the model itself is not read.</summary>
    /// <param name="directory">Its directory, with <c>preprocessor_config.json</c> or <c>config.json</c>.</param>
    /// <exception cref="NolaException">It has neither, or one that cannot be read.</exception>
    public static ImagePreprocessor PreprocessingOf(string directory)
    {
        bool embedded = directory == EmbeddedName && !Directory.Exists(directory);
        if (!embedded && ImagePreprocessor.Find(directory) is { } own) return own;
        (VitConfig config, ImagePreprocessor? preprocessing, _) = embedded
            ? VitConfigReader.Parse(Resource(ConfigName, directory), directory)
            : VitConfigReader.Read(Path.Combine(directory, ConfigName));
        return preprocessing ?? Standard(config);
    }

    /// <summary>Whether a name or directory is that of a vision model and not of a language model.</summary>
    /// <param name="model">Name or directory.</param>
    /// <exception cref="NolaException">There is no such model, or its configuration cannot be read.</exception>
    public static bool Recognizes(string model)
    {
        if (!Directory.Exists(model) && model is LanguageModel.EmbeddedName or EmbeddedName) return model == EmbeddedName;
        string path = Path.Combine(ModelLocator.Current.Find(model), ConfigName);
        using JsonDocument document = JsonInput.Read(path);
        return VitConfigReader.Recognizes(document.RootElement);
    }

    /// <summary>
    /// Writes <c>config.json</c>, <c>preprocessor_config.json</c> and <c>model.safetensors</c> into a directory, in the layout that
    /// Hugging Face reads. Adapters are not written; merge one first.
    /// </summary>
    /// <inheritdoc/>
    public void Save(string directory, DType type = DType.Float32)
    {
        AtomicFile.EnsureDirectory(directory);
        SafetensorsWriter.Write(
            Path.Combine(directory, "model.safetensors"),
            parts.Weights.Select(w => new SafetensorsTensor(Stored(w.Name), type, w.Shape, w.Values)),
            new Dictionary<string, string> { ["format"] = "pt" });
        AtomicFile.WriteText(Path.Combine(directory, ConfigName), Config.ToJson() + "\n");
        AtomicFile.WriteText(Path.Combine(directory, "preprocessor_config.json"), Preprocessing.ToJson() + "\n");

        // A model without a classifier has no prefix in Hugging Face's files.
        string Stored(string name) => Config.Labels.Count == 0 || IsClassifier(name) ? name : Config.NamePrefix + name;
    }

    private static Safetensors Embedded(string place) =>
        Safetensors.Open((UnmanagedMemoryStream)Stream("model.safetensors", place), place);

    private static byte[] Resource(string name, string place)
    {
        using Stream stream = Stream(name, place);
        byte[] bytes = new byte[stream.Length];
        stream.ReadExactly(bytes);
        return bytes;
    }

    private static Stream Stream(string name, string place) =>
        Assembly.GetExecutingAssembly().GetManifestResourceStream($"{EmbeddedName}.{name}")
        ?? throw new NolaException($"This build does not have {place}; name a directory or a model in the Hugging Face cache.");

    // Of a checkpoint that does not say it.
    private static ImagePreprocessor Standard(VitConfig config) =>
        config.IsDinov2 ? ImagePreprocessor.Dinov2 : ImagePreprocessor.Square(config.ImageSize);

    private static bool IsClassifier(string name) => name[..Math.Max(0, name.LastIndexOf('.'))]
        is "classifier" or "cls_classifier" or "distillation_classifier" or "head" or "head_dist";

    // The files have the last word on whether there is a classifier.
    private static void CheckClassifier(ref VitConfig config, WeightFiles weights, string path, bool isTimm)
    {
        string[] names = [.. config.Classifiers.Select(name => name + ".weight")];
        if (config.Labels.Count > 0 && !names.Any(weights.Has)) config = config with { Labels = [] };
        if (config.Labels.Count > 0 || isTimm || weights.ShapeOf("classifier.weight") is not [var classes, _]) return;
        throw new NolaException(
            $"{path}: the weights have a classifier of {classes} classes, and architectures names a model without one; set architectures "
            + "to [\"ViTForImageClassification\"] and give id2label.");
    }

    private static void CheckPreprocessing(ImagePreprocessor preprocessing, VitConfig config, string directory)
    {
        if (preprocessing.Output is { } size && size != (config.ImageSize, config.ImageSize))
            throw new NolaException(
                $"{directory}: preprocessor_config.json makes images of {size.Width} × {size.Height} pixels, and the model reads "
                + $"{config.ImageSize} × {config.ImageSize}; correct one of the two files, or give the size of images.");
    }
}
