using System.Reflection;
using Nola.Tensors;

namespace Nola.Models;

public sealed partial class LanguageModel
{
    /// <summary>The name of the model that is embedded in this library.</summary>
    public const string EmbeddedName = "nola-tiny";

    private IReadOnlyList<int>? stopTokens;
    private ChatFormat? chat;
    private bool? talks;

    /// <summary>
    /// Loads a checkpoint of any known family: the embedded <c>nola-tiny</c>, a directory with <c>config.json</c> and safetensors, or
    /// a name in the Hugging Face cache such as <c>gpt2-medium</c>.
    /// </summary>
    /// <param name="model">Name or directory.</param>
    /// <param name="device">Where to put the weights.</param>
    /// <param name="trainable">Every weight as a parameter, for full fine-tuning; else frozen and packed.</param>
    /// <param name="format">
    /// How frozen weights are kept: Float32; BFloat16 for half the memory; Int8, Nf4 or Nf4Double for less. In the latter three only
    /// the linear maps of the blocks are in codes, each of the checkpoint's modules by itself; embeddings, head, norms and biases
    /// stay what they are. Maps that the checkpoint has in codes are kept in those, whatever the format.
    /// </param>
    /// <exception cref="NolaException">There is no such model, or its files are not a checkpoint that can be loaded.</exception>
    public static LanguageModel Load(string model, Device device, bool trainable = false, WeightFormat format = WeightFormat.Float32) =>
        Load(model, device, trainable, format, readsText: false);

    /// <summary>As above; where text will be encoded, the tokenizer is made ready on another thread while the weights are read.</summary>
    internal static LanguageModel Load(string model, Device device, bool trainable, WeightFormat format, bool readsText)
    {
        if (model == EmbeddedName && !Directory.Exists(model)) return LoadEmbedded(device, trainable, format, readsText);
        string directory = ModelLocator.Current.Find(model);
        ModelConfig config = ModelFamilies.Read(Path.Combine(directory, "config.json"));
        Lazy<ITokenizer?> tokenizer = Begin(() => TokenizerFiles.Find(directory, config.Tokens), readsText);
        using WeightFiles weights = WeightFiles.Open(directory, device, config.Family.Prefix, config.Tied);
        LanguageModel loaded = new(config, device, trainable, format, model, weights) { Origin = directory, LazyTokenizer = tokenizer };
        try
        {
            weights.RefuseUnread($"{config.Family.Title} with {config.Shape.Layers} layers", config.Family.Skips);
            return loaded;
        }
        catch
        {
            loaded.Dispose();
            throw;
        }
    }

    private static Lazy<ITokenizer?> Begin(Func<ITokenizer?> find, bool prepare)
    {
        Lazy<ITokenizer?> tokenizer = new(find);
        if (prepare) _ = Task.Run(() => tokenizer.Value?.Prepare());
        return tokenizer;
    }

    /// <summary>A new model with its family's initial values, a pure function of the seed.</summary>
    /// <param name="config">Its sizes.</param>
    /// <param name="device">Where to put the weights.</param>
    /// <param name="seed">Seed of the initial values.</param>
    /// <param name="trainable">Every weight as a parameter; else frozen and packed.</param>
    /// <param name="format">How frozen weights are kept.</param>
    /// <param name="tokenizer">A tokenizer of its own, which <see cref="Save"/> writes beside it; null for GPT-2's where it fits.</param>
    /// <exception cref="NolaException">The sizes are none of such a model, or the tokenizer has more tokens.</exception>
    public static LanguageModel Create(
        ModelConfig config, Device device, ulong seed, bool trainable = true, WeightFormat format = WeightFormat.Float32,
        Gpt2Tokenizer? tokenizer = null)
    {
        config.Check("LanguageModel.Create");
        if (tokenizer?.Vocabulary > config.Shape.Vocabulary)
            throw new NolaException(
                $"LanguageModel.Create: the tokenizer has {tokenizer.Vocabulary} tokens and the model's vocabulary is "
                + $"{config.Shape.Vocabulary}; give the model as many.");
        return new(config, device, trainable, format, "new", new RandomWeights(config.Deviation, device, seed))
        {
            IsCreated = true,
            LazyTokenizer = new(() => tokenizer ?? TokenizerFiles.Find(null, config.Tokens)),
        };
    }

    /// <summary>
    /// The model's tokenizer, found once: its own files, else for GPT-2's kin GPT-2's where the vocabulary is as large.
    /// </summary>
    /// <exception cref="NolaException">
    /// It has another vocabulary and no tokenizer files, so that text cannot be encoded for it; or the files do not fit it, or are of a
    /// kind that cannot be read.
    /// </exception>
    public ITokenizer Tokenizer => FindTokenizer() ?? throw TokenizerFiles.None(IsCreated ? "The created model" : Source, Config.Tokens);

    /// <summary>
    /// The tokens that end a generated text when nothing else is asked for: those of <c>generation_config.json</c> or else of
    /// <c>config.json</c>, as Hugging Face's generate reads them, and the tokenizer's, which training puts at the end of texts.
    /// </summary>
    /// <exception cref="NolaException">A file that says it cannot be read.</exception>
    public IReadOnlyList<int> StopTokens => stopTokens ??=
        [.. GenerationConfig.EndTokens(Origin, Config).Concat(FindTokenizer()?.StopTokens ?? []).Distinct()];

    /// <summary>How conversations are written for the model: the chat template in its directory, read once.</summary>
    /// <exception cref="NolaException">It has none, or one that is not known; or it has no tokenizer.</exception>
    public ChatFormat Chat => chat ??= ChatFormat.Read(Origin, Tokenizer, IsCreated ? "The created model" : Source);

    /// <summary>
    /// Writes <c>config.json</c> and <c>model.safetensors</c> into a directory, in the layout that Hugging Face reads. Adapters are
    /// not written; merge one first. The tokenizer's files come along: those of the directory that the model was loaded from, or of the
    /// tokenizer that it was created with.
    /// </summary>
    /// <inheritdoc/>
    public void Save(string directory, DType type = DType.Float32)
    {
        AtomicFile.EnsureDirectory(directory);
        SafetensorsWriter.Write(
            Path.Combine(directory, "model.safetensors"),
            Weights().Select(w => new SafetensorsTensor(w.Name, type, w.Shape, w.Values)),
            new Dictionary<string, string> { ["format"] = "pt" });
        AtomicFile.WriteText(Path.Combine(directory, "config.json"), Config.ToJson() + "\n");
        if (Origin is not null) TokenizerFiles.Copy(Origin, directory);
        // GPT-2's own is found without files.
        else if (FindTokenizer() is Gpt2Tokenizer { IsDefault: false } own) own.Save(directory);
    }

    /// <summary>The directory of its files, if it was loaded from one.</summary>
    internal string? Origin { get; private init; }

    // Found once, by whoever asks first. A fault is told to whoever uses it, as it is where nothing was made ready.
    private Lazy<ITokenizer?> LazyTokenizer { get; init; } = new(() => null);

    /// <summary>Whether it is the one in this library, whose tokenizer is a part of GPT-2's.</summary>
    internal bool IsEmbedded { get; private init; }

    /// <summary>Whether it was made by <see cref="Create"/>, of no files.</summary>
    internal bool IsCreated { get; private init; }

    /// <summary>The tokenizer, or null for a model of another vocabulary that has no tokenizer files.</summary>
    /// <exception cref="NolaException">There are files, and they do not fit the model.</exception>
    internal ITokenizer? FindTokenizer() => LazyTokenizer.Value;

    /// <summary>How conversations are written for the model, or null where its directory has no chat template.</summary>
    /// <exception cref="NolaException">It has one that is not known.</exception>
    internal ChatFormat? FindChat() => chat is null && !(talks ??= ChatFormat.IsThere(Origin)) ? null : Chat;

    private static LanguageModel LoadEmbedded(Device device, bool trainable, WeightFormat format, bool readsText)
    {
        const string Place = "the embedded model " + EmbeddedName;
        ModelConfig config = EmbeddedConfig();
        Lazy<ITokenizer?> tokenizer = Begin(() => Gpt2Tokenizer.WithVocabulary(config.Shape.Vocabulary), readsText);
        UnmanagedMemoryStream stream = (UnmanagedMemoryStream)Resource("model.safetensors")!;
        using WeightFiles weights = new(Place, device, [Safetensors.Open(stream, Place)], config.Family.Prefix, config.Tied);
        return new LanguageModel(config, device, trainable, format, EmbeddedName, weights) { IsEmbedded = true, LazyTokenizer = tokenizer };
    }

    /// <summary>The configuration of the embedded model.</summary>
    /// <exception cref="NolaException">This build has none.</exception>
    internal static ModelConfig EmbeddedConfig()
    {
        const string Place = "the embedded model " + EmbeddedName;
        using Stream json = Resource("config.json")
            ?? throw new NolaException($"This build does not have {Place}; name a directory or a model in the Hugging Face cache.");
        byte[] config = new byte[json.Length];
        json.ReadExactly(config);
        return ModelFamilies.Parse(config, Place);
    }

    private static Stream? Resource(string name) => Assembly.GetExecutingAssembly().GetManifestResourceStream(EmbeddedName + "." + name);
}
