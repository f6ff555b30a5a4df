using System.Globalization;
using System.Text.Json;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>Everything that <c>nola train</c> can be told, checked: what, on what, how, and where to.</summary>
internal sealed record TrainConfig
{
    /// <summary>The method that trains every weight, beside those of adapters.</summary>
    public const string Full = "full";

    private static readonly TrainOptions standard = new();

    // Full fine-tuning's learning rates, as those of the methods.
    private const double FullRate = 0.0001, FullRateForEmbedded = 0.001, FullRateForEmbeddedImages = 0.0003;

    /// <summary>Steps of a run on what is embedded, unless steps or epochs are given.</summary>
    public const int StepsForEmbedded = 300;

    // What NOLA's code for ViT does.
    private const int ImageEpochs = 50, ImageBatch = 16;
    private const double ImageSmoothing = 0.1;

    /// <summary>The keys of a training configuration, in the order of the help.</summary>
    public static IReadOnlyList<Setting> Keys =>
    [
        new("model", "Base model: nola-tiny (embedded), a directory with config.json and safetensors, "
            + "or a name in the Hugging Face cache such as gpt2-medium [nola-tiny]", "a name or a directory"),
        new("data",
            "Training pairs: e2e or laptops (embedded), a file or - (standard input): "
            + "csv, tsv, jsonl or json rows with context or prompt and "
            + "completion, instruction, input and output, messages, or text; E2E csv, WebNLG xml/json, DART json/xml, "
            + "context||completion txt; .gz too [e2e]",
            "e2e, laptops or a file"),
        new("valid", "Validation pairs, in any of these forms [the dev set of what is embedded, else none]", "a file"),
        new("text",
            "Plain text for language modeling instead of pairs; documents separated by a line <|endoftext|>, "
            + "or jsonl with a text on each line",
            "files, comma-separated"),
        new(
            "images",
            "Images instead of text, for a vision transformer: a directory with a folder for each class, also below train and test; or "
            + $"MNIST's IDX files, or CIFAR's binary ones; or {EmbeddedImages.Name}, the embedded Greek letters",
            "a directory"),
        new("shots", "Learn from this many images of each class; 0 for all [0]", "a whole number from 0"),
        new("shots-seed", "Seed of the choice of these images [that of seed]", "a whole number from 0"),
        new("image-size", "Pixels of a side of the images that the model reads, positions interpolated; 0 for the model's own [0]",
            "a whole number from 0"),
        new(
            "augment",
            $"How images are changed from epoch to epoch: {Settings.Names<Augmentation>()} "
            + $"[published; crop for {VisionModel.EmbeddedName}]",
            Settings.Names<Augmentation>()),
        new("out", "Run directory for adapter, log, curve and checkpoints [runs/<method>-<time>]", "a directory"),
        new("method", $"What is trained: {Settings.Names(MethodNames)} [{NolaName}]", Settings.Names(MethodNames)),
        .. AdapterKeys,
        new(
            "epochs", "Passes over the data, may be a fraction [as many as max-steps takes; 1 without it; 50 for images]",
            "a positive number"),
        new("max-steps", "Stop after this many steps; 0 for no limit. "
            + $"With epochs too, the first that is reached ends the run [0; {StepsForEmbedded} for embedded text]",
            "a whole number from 0"),
        new("batch-tokens", "Most tokens in a batch; 0 for no limit [2048; 0 for images]", "a whole number from 0"),
        new("batch-size", "Most sequences in a batch; 0 for no limit [0; 16 for images]", "a whole number from 0"),
        new("accumulation", "Batches added up for one step [1]", "a whole number from 1"),
        new("shards",
            "Parts that a step's sequences are dealt to, each with gradients of its own that are added up in order; what is trained "
            + "depends on it, and not on the number of ranks, which is at most as large [1; as many as ranks where mpirun starts several]",
            "a whole number from 1"),
        new("lr", $"Highest learning rate [{RateHelp()}]", "a positive number"),
        new("head-lr", "Highest learning rate of a head that is trained beside an adapter; 0 for that of lr [0]", "0 or more"),
        new(
            "schedule", $"Learning rate after the warm-up: {Settings.Names<Schedule>()} [linear; cosine for images]",
            Settings.Names<Schedule>()),
        new("warmup", "Steps of warm-up [20; 0 for images]", "a whole number from 0"),
        new("weight-decay", "Decoupled decay of matrices [0]", "0 to 1"),
        new("beta1", "AdamW's first decay [0.9]", "0 up to 1"),
        new("beta2", "AdamW's second decay [0.999]", "0 up to 1"),
        new("epsilon", "AdamW's epsilon [1e-6]", "a positive number"),
        new("clip", "Clip the gradient to this norm; 0 for no clipping [1]", "0 or more"),
        new("label-smoothing", "Label smoothing over the whole vocabulary; 0.1 as published [0; 0.1 for images]", "0 up to 1"),
        new("seed", "Seed of the shuffle [42]", "a whole number from 0"),
        new("eval-every", "Steps between evaluations; 0 for each epoch's end [0; 50 for embedded text]", "a whole number from 0"),
        new("eval-pairs", "Evaluate on this many sequences; 0 for all [500; 0 for images]", "a whole number from 0"),
        new("patience", "Stop after this many evaluations without a new best; 0 for never [0]", "a whole number from 0"),
        new("checkpoint-every", "Steps between checkpoints [100]", "a whole number from 1"),
        new(
            "read-every",
            "Steps between reads of losses from a GPU, which wait for it; 0 for 10 there, 1 on the CPU [0]",
            "a whole number from 0"),
        new("storage",
            $"How a frozen base is kept: {Storages}; bfloat16 takes half the memory; int8 and nf4 a quarter and an eighth of that of "
            + "the linear maps, and nf4-double a little less [float32]",
            Storages),
        new("checkpoint-blocks", "Compute blocks again in the backward pass: less memory, a third more work", "true or false", true),
        new("truncate", "Cut contexts of pairs that are too long from the left instead of refusing them", "true or false", true),
        new("chat",
            "Write conversations, and pairs as conversations, by the model's chat template; answers alone are learned",
            "true or false", true),
        new("device", "auto, cpu, cpu,bfloat16 (where the chip has such products), cuda or cuda:1 [auto]", "auto, cpu, cuda or cuda:1"),
        new("threads", "Threads of the CPU; 0 for one per core [0]", "0 to 256"),
    ];

    /// <summary>Name or directory of the base model.</summary>
    public required string Model { get; init; }

    /// <summary>Training pairs: <c>e2e</c>, <c>laptops</c> or a file.</summary>
    public required string Data { get; init; }

    /// <summary>Validation pairs; empty for none, or E2E's dev set.</summary>
    public required string Valid { get; init; }

    /// <summary>Plain text in place of pairs.</summary>
    public required IReadOnlyList<string> Text { get; init; }

    /// <summary>The directory of images in place of text; empty for text.</summary>
    public required string Images { get; init; }

    /// <summary>Images of each class that are learned from; 0 for all.</summary>
    public required int Shots { get; init; }

    /// <summary>Seed of their choice.</summary>
    public required ulong ShotsSeed { get; init; }

    /// <summary>Pixels of a side of images; 0 for the model's own.</summary>
    public required int ImageSize { get; init; }

    /// <summary>How images are changed from epoch to epoch.</summary>
    public required Augmentation Augmentation { get; init; }

    /// <summary>Run directory.</summary>
    public required string Out { get; init; }

    /// <summary>Method and settings of the adapter; null when every weight is trained.</summary>
    public required AdapterOptions? Adapter { get; init; }

    /// <summary>Settings of the loop.</summary>
    public required TrainOptions Options { get; init; }

    /// <summary>How the frozen base is kept.</summary>
    public required WeightFormat Storage { get; init; }

    /// <summary>Cut long contexts instead of refusing.</summary>
    public required bool Truncate { get; init; }

    /// <summary>Write pairs by the model's chat template.</summary>
    public required bool Chat { get; init; }

    /// <summary>Most steps between two reads of losses; see <see cref="Trainer.ReadEvery"/>.</summary>
    public required int ReadEvery { get; init; }

    /// <summary>Name of the device.</summary>
    public required string Device { get; init; }

    /// <summary>Threads of the CPU device.</summary>
    public required int Threads { get; init; }

    /// <summary>Whether the data are an embedded set.</summary>
    public bool UsesEmbeddedData => IsEmbedded(Data) && Text.Count == 0 && !UsesImages;

    /// <summary>Whether it is an image model that is trained.</summary>
    public bool UsesImages => Images.Length > 0;

    /// <summary>Where a run with this configuration comes from.</summary>
    public RunSource Source => UsesImages ? ImageSource : new()
    {
        Data = Text.Count > 0 ? string.Join(", ", Text) : Data,
        Valid = Valid.Length > 0 ? Valid : UsesEmbeddedData ? Data + ":dev" : "none",
    };

    private RunSource ImageSource => new()
    {
        Data = Images,
        Valid = Valid.Length > 0 ? Valid : "none",
        Settings = new Dictionary<string, string>
        {
            ["shots"] = Shots.ToString(CultureInfo.InvariantCulture),
            ["image-size"] = ImageSize.ToString(CultureInfo.InvariantCulture),
            ["augment"] = Augmentation.ToString().ToLowerInvariant(),
        },
    };

    /// <summary>The name of what is trained: that of the adapter's method, or <see cref="Full"/>.</summary>
    public string Method => Adapter?.Method.Name ?? Full;

    /// <summary>A new adapter for a model; null when the whole model is trained.</summary>
    /// <exception cref="NolaException">A setting is out of range.</exception>
    public TrainableAdapter? NewAdapter(IModel model) => Adapter is null ? null : model.NewAdapter(Adapter);

    /// <summary>Checks settings and fills in defaults.</summary>
    /// <exception cref="NolaException">A value is out of its range.</exception>
    public static TrainConfig From(Settings s)
    {
        AdapterMethod? method = MethodOf(s);
        string data = s.Text("data", EmbeddedData.E2EName);
        string images = s.Text("images", "");
        CheckSources(s);
        bool embedded = IsEmbedded(data) && !s.Has("text") && images.Length == 0;
        string model = s.Text("model", images.Length > 0 ? VisionModel.EmbeddedName : LanguageModel.EmbeddedName);
        // The published settings are for GPT-2 medium and tens of thousands of steps; the embedded model is small, and its run short.
        bool tiny = model is LanguageModel.EmbeddedName or VisionModel.EmbeddedName;
        TrainConfig config = new()
        {
            Model = model,
            Data = data,
            Valid = s.Text("valid", ""),
            Text = s.List("text"),
            Out = s.Text("out", $"runs/{method?.Name ?? Full}-{DateTime.Now.ToString("yyyyMMdd-HHmmss", CultureInfo.InvariantCulture)}"),
            Images = images,
            Shots = s.Whole("shots", 0) is >= 0 and var shots ? shots : throw s.Bad("shots"),
            ShotsSeed = s.Seed("shots-seed", s.Seed("seed", standard.Seed)),
            ImageSize = s.Whole("image-size", 0) is >= 0 and var side ? side : throw s.Bad("image-size"),
            // What photographs are changed by leaves little of a picture of 32 pixels.
            Augmentation = s.Choice("augment", tiny ? Augmentation.Crop : Augmentation.Published),
            Adapter = method is null ? null : AdapterOf(s, method, Start(method, tiny, images.Length > 0)),
            Options = Loop(s, embedded, images.Length > 0) with
            {
                LearningRate = (float)s.Real("lr", RateOf(method, tiny, images.Length > 0)),
                HeadLearningRate = (float)s.Real("head-lr", 0),
            },
            Storage = StorageType(s.Text("storage", "float32")),
            Truncate = s.Flag("truncate"),
            Chat = s.Flag("chat"),
            ReadEvery = s.Whole("read-every", 0),
            Device = s.Text("device", "auto"),
            Threads = s.Whole("threads", 0),
        };
        config.Options.Validate();
        return config;
    }

    /// <summary>The format that the setting <c>storage</c> names.</summary>
    /// <exception cref="NolaException">There is none of that name.</exception>
    public static WeightFormat StorageType(string name) =>
        WeightFormats.Find(name) ?? throw new NolaException($"storage is {Quoted.Of(name)}; expected {Storages}.");

    /// <summary>The settings that a run was made with, so that the same command can be given again.</summary>
    /// <param name="withDevice">Also where it ran, so that it is resumed with the same arithmetic.</param>
    public string ToJson(bool withDevice = false)
    {
        TrainOptions o = Options;
        Dictionary<string, object?> keys = new()
        {
            ["model"] = Model,
            ["method"] = Method,
            // Not given, they must not become a limit when this is read again.
            ["epochs"] = o.Epochs,
            ["max-steps"] = o.MaxSteps,
            ["batch-tokens"] = o.BatchTokens,
            ["batch-size"] = o.BatchSize,
            ["accumulation"] = o.Accumulation,
            ["lr"] = StrictNumber.Shortest(o.LearningRate),
            ["schedule"] = o.Schedule.ToString().ToLowerInvariant(),
            ["warmup"] = o.WarmupSteps,
            ["weight-decay"] = StrictNumber.Shortest(o.WeightDecay),
            ["beta1"] = StrictNumber.Shortest(o.Beta1),
            ["beta2"] = StrictNumber.Shortest(o.Beta2),
            ["epsilon"] = StrictNumber.Shortest(o.Epsilon),
            ["clip"] = StrictNumber.Shortest(o.ClipNorm),
            ["label-smoothing"] = StrictNumber.Shortest(o.LabelSmoothing),
            ["seed"] = o.Seed,
            ["eval-every"] = o.EvalEvery,
            ["eval-pairs"] = o.EvalPairs,
            ["patience"] = o.Patience,
            ["checkpoint-every"] = o.CheckpointEvery,
            ["storage"] = Storage.Name(),
            ["checkpoint-blocks"] = o.CheckpointBlocks,
            ["truncate"] = Truncate,
        };
        if (withDevice) keys["device"] = Device;
        if (Chat) keys["chat"] = true;
        if (o.Shards > 1) keys["shards"] = o.Shards;
        if (o.HeadLearningRate > 0) keys["head-lr"] = StrictNumber.Shortest(o.HeadLearningRate);
        if (UsesImages)
        {
            keys["images"] = Images;
            keys["shots"] = Shots;
            keys["shots-seed"] = ShotsSeed;
            keys["image-size"] = ImageSize;
            keys["augment"] = Augmentation.ToString().ToLowerInvariant();
        }
        else if (Text.Count > 0) keys["text"] = Text;
        else keys["data"] = Data;
        if (Valid.Length > 0) keys["valid"] = Valid;
        if (Adapter is not null)
            foreach (AdapterOption option in Adapter.Method.Options)
                keys[option.Key] = option.Get(Adapter) is float real ? StrictNumber.Shortest(real) : option.Get(Adapter);
        Dictionary<string, object?> given = keys.Where(key => key.Value is not null).ToDictionary();
        return JsonSerializer.Serialize(given, JsonForms.Indented) + "\n";
    }

    private static string Storages => Settings.Names([.. WeightFormats.Names]);

    private static string NolaName => AdapterMethods.Known[0].Name;

    private static string[] MethodNames => [.. AdapterMethods.Known.Select(method => method.Name), Full];

    // Every option of every method once, with its defaults.
    private static IEnumerable<Setting> AdapterKeys => AdapterMethods.Known
        .SelectMany(method => method.Options)
        .DistinctBy(option => option.Key)
        .Select(option => new Setting(option.Key, option.Help + DefaultHelp(option.Key), option.Values, option.IsFlag));

    private static AdapterMethod? MethodOf(Settings s)
    {
        string name = s.Text("method", NolaName).ToLowerInvariant();
        return name == Full ? null : AdapterMethods.Find(name) ?? throw s.Bad("method");
    }

    // The method's defaults with what is given; what an adapter would refuse is said before a model is loaded.
    private static AdapterOptions AdapterOf(Settings s, AdapterMethod method, AdapterOptions options)
    {
        foreach (AdapterOption option in method.Options)
        {
            if (!s.Has(option.Key)) continue;
            string text = option.Get(options) is IEnumerable<string> ? string.Join(',', s.List(option.Key)) : s.Text(option.Key, "");
            options = option.Set(options, text) ?? throw s.Bad(option.Key);
        }
        method.Check(options);
        foreach (AdapterMethod other in AdapterMethods.Known)
            foreach (AdapterOption option in other.OwnOptions.Where(option => option.Elsewhere is not null && s.Has(option.Key)))
                if (method.Options.All(own => own.Key != option.Key) && s.Text(option.Key, "") != option.Text(other.Defaults))
                    throw new NolaException(
                        $"{option.Key} is {Quoted.Of(s.Text(option.Key, ""))} with method {method.Name}; "
                        + $"it is for {other.Name}. {option.Elsewhere}")
                    {
                        Options = [option.Key],
                    };
        return options;
    }

    private static AdapterOptions Start(AdapterMethod method, bool tiny, bool images) =>
        images ? method.DefaultsForImages : tiny ? method.DefaultsForEmbedded : method.Defaults;

    private static void CheckSources(Settings s)
    {
        bool images = s.Has("images");
        foreach (string key in (string[])["data", "text", "chat", "truncate"])
            if (images && (key is "chat" or "truncate" ? s.Flag(key) : s.Has(key)))
                throw new NolaException($"images and {key} are both given; a run is of images or of text.");
        foreach (string key in (string[])["shots", "shots-seed", "image-size", "augment"])
            if (!images && s.Has(key)) throw new NolaException($"{key} is given, and images is not, of which it is a setting.");
    }

    // A file of that name wins.
    private static bool IsEmbedded(string data) => EmbeddedData.Names.Contains(data) && !File.Exists(data);

    private static double RateOf(AdapterMethod? method, bool tiny, bool images) => (images, tiny) switch
    {
        (true, true) => method?.LearningRateForEmbeddedImages ?? FullRateForEmbeddedImages,
        (true, false) => method?.LearningRateForImages ?? FullRate,
        (false, true) => method?.LearningRateForEmbedded ?? FullRateForEmbedded,
        (false, false) => method?.LearningRate ?? FullRate,
    };

    private static string RateHelp()
    {
        IEnumerable<AdapterMethod?> all = [.. AdapterMethods.Known, null];
        // Most methods have one rate for images.
        string images = string.Join(", ", all
            .GroupBy(method => RateOf(method, tiny: false, images: true))
            .OrderByDescending(same => same.Count())
            .Select((same, i) => i == 0 ? Number(same.Key) : string.Join(", ", same.Select(method => Rate(method, false, true)))));
        string changed = string.Join(", ", all
            .Where(method => RateOf(method, true, true) != RateOf(method, false, true))
            .Select(method => Rate(method, true, true)));
        return $"{Rates(false)}; for {LanguageModel.EmbeddedName} {Rates(true)}; for images {images}; "
            + $"for {VisionModel.EmbeddedName} {changed}";

        string Rates(bool tiny) => string.Join(", ", all.Select(method => Rate(method, tiny, false)));

        static string Rate(AdapterMethod? method, bool tiny, bool images) =>
            $"{method?.Name ?? Full} {Number(RateOf(method, tiny, images))}";

        static string Number(double rate) => rate.ToString(CultureInfo.InvariantCulture);
    }

    // " [nola 8, lora 4; nola 16 for nola-tiny]"; nothing where an option has no default.
    private static string DefaultHelp(string key)
    {
        List<(string Name, string Published, string Embedded, string Images)> defaults = [];
        foreach (AdapterMethod method in AdapterMethods.Known)
            if (method.Options.FirstOrDefault(option => option.Key == key) is { } option && option.Get(method.Defaults) is not null)
                defaults.Add((
                    method.Name, option.Text(method.Defaults), option.Text(method.DefaultsForEmbedded),
                    option.Text(method.DefaultsForImages)));
        if (defaults.Count == 0) return "";
        string published = Joined([.. defaults.Select(d => (d.Name, d.Published))]);
        return $" [{published}{Changed(d => d.Embedded, LanguageModel.EmbeddedName)}{Changed(d => d.Images, "images")}]";

        string Changed(Func<(string Name, string Published, string Embedded, string Images), string> text, string where)
        {
            (string, string)[] changed = [.. defaults.Where(d => text(d) != d.Published).Select(d => (d.Name, text(d)))];
            if (changed.Length == 0) return "";
            return $"; {(changed.Length == defaults.Count ? Joined(changed) : Named(changed))} for {where}";
        }

        static string Joined((string Name, string Text)[] values) =>
            values.Select(v => v.Text).Distinct().Count() == 1 ? values[0].Text : Named(values);

        static string Named((string Name, string Text)[] values) => string.Join(", ", values.Select(v => $"{v.Name} {v.Text}"));
    }

    private static TrainOptions Loop(Settings s, bool embedded, bool images) => new()
    {
        Epochs = s.Has("epochs") ? s.Real("epochs", 0) : images && !s.Has("max-steps") ? ImageEpochs : null,
        MaxSteps = s.Whole("max-steps", embedded && !s.Has("epochs") ? StepsForEmbedded : 0),
        BatchTokens = s.Whole("batch-tokens", images ? 0 : standard.BatchTokens),
        BatchSize = s.Whole("batch-size", images ? ImageBatch : standard.BatchSize),
        Accumulation = s.Whole("accumulation", standard.Accumulation),
        Shards = s.Whole("shards", standard.Shards),
        Schedule = s.Choice("schedule", images ? Schedule.Cosine : standard.Schedule),
        WarmupSteps = s.Whole("warmup", images ? 0 : standard.WarmupSteps),
        WeightDecay = (float)s.Real("weight-decay", standard.WeightDecay),
        Beta1 = (float)s.Real("beta1", standard.Beta1),
        Beta2 = (float)s.Real("beta2", standard.Beta2),
        Epsilon = (float)s.Real("epsilon", standard.Epsilon),
        ClipNorm = (float)s.Real("clip", standard.ClipNorm),
        LabelSmoothing = (float)s.Real("label-smoothing", images ? ImageSmoothing : standard.LabelSmoothing),
        Seed = s.Seed("seed", standard.Seed),
        EvalEvery = s.Whole("eval-every", embedded ? 50 : 0),
        EvalPairs = s.Whole("eval-pairs", images ? 0 : standard.EvalPairs),
        Patience = s.Whole("patience", standard.Patience),
        CheckpointEvery = s.Whole("checkpoint-every", standard.CheckpointEvery),
        CheckpointBlocks = s.Flag("checkpoint-blocks"),
    };
}
