using System.Globalization;
using System.Text.Json;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>What is trained.</summary>
public enum TrainMethod
{
    /// <summary>Mixture coefficients of random bases (<see cref="NolaAdapter"/>).</summary>
    Nola,

    /// <summary>Low-rank factors (<see cref="LoraAdapter"/>).</summary>
    Lora,

    /// <summary>Every weight.</summary>
    Full,
}

/// <summary>Everything that <c>nola train</c> can be told, checked: what, on what, how, and where to.</summary>
public sealed record TrainConfig
{
    /// <summary>
    /// The largest rank. PEFT's LoRA takes any; but above the width of a map a higher one can express nothing more, and no GPT-2
    /// is a tenth as wide.
    /// </summary>
    private const int LargestRank = 65_536;

    private static readonly TrainOptions standard = new();
    private static readonly string[] sharings = ["shared", "per-layer"], storages = ["float32", "bfloat16"];

    /// <summary>The keys of a training configuration, in the order of the help.</summary>
    public static IReadOnlyList<Setting> Keys { get; } =
    [
        new("model", "Base model: nola-tiny (embedded), a directory with config.json and safetensors, or a name in the Hugging Face cache such as gpt2-medium [nola-tiny]", "a name or a directory"),
        new("data",
            "Training pairs: e2e (embedded), a file or - (standard input): csv, tsv, jsonl or json rows with context or prompt and "
            + "completion, instruction, input and output, messages, or text; E2E csv, WebNLG xml/json, DART json/xml, "
            + "context||completion txt; .gz too [e2e]",
            "e2e or a file"),
        new("valid", "Validation pairs, in any of these forms [E2E's dev set for e2e, else none]", "a file"),
        new("text",
            "Plain text for language modelling instead of pairs; documents separated by a line <|endoftext|>, "
            + "or jsonl with a text on each line",
            "files, comma-separated"),
        new("out", "Run directory for adapter, log, curve and checkpoints [runs/<method>-<time>]", "a directory"),
        new("method", $"What is trained: {Settings.Names<TrainMethod>()} [nola]", Settings.Names<TrainMethod>()),
        new("rank", "r of the adapter [nola 8, lora 4; nola 16 for nola-tiny]", $"a whole number from 1 to {LargestRank}"),
        new("alpha", "The adapter's output is scaled by alpha/rank [nola 8, lora 32; nola 16 for nola-tiny]", "a positive number"),
        new("bases", "k: random matrices mixed for each factor [512; 1024 for nola-tiny]", "a whole number from 1"),
        new("bases-a", "k for A, when it differs", "a whole number from 1"),
        new("bases-b", "k for B, when it differs", "a whole number from 1"),
        new("entries", $"Distribution of the bases' entries: {Settings.Names<BasisEntries>()} [uniform]", Settings.Names<BasisEntries>()),
        new("sharing", $"Whether all layers share their bases: {Settings.Names(sharings)} [shared]", Settings.Names(sharings)),
        new("variant", $"{Settings.Names<NolaVariant>()}: a frozen A0 plus mixture and B from 0, or mixtures alone [offset]", Settings.Names<NolaVariant>()),
        new("quantise-bits", "Mix NOLA's factors from coefficients rounded to 8, 4, 3 or 2 bits while training, and save them packed; 0 for float32 [0]", "0, 8, 4, 3 or 2"),
        new("basis-seed", "Seed of the random bases, or of LoRA's A [42]", "a whole number from 0"),
        new("targets", "Adapted maps by name pattern: q, k, v, c_attn, attn.c_proj, c_fc, mlp.c_proj, h.0.*, … [q,v as published; * for nola-tiny]", "patterns, comma-separated"),
        new("epochs", "Passes over the data, may be a fraction [as many as max-steps takes; 1 without it]", "a positive number"),
        new("max-steps", "Stop after this many steps; 0 for no limit. With epochs too, the first that is reached ends the run [0; 400 for e2e]", "a whole number from 0"),
        new("batch-tokens", "Most tokens in a batch; 0 for no limit [2048]", "a whole number from 0"),
        new("batch-size", "Most sequences in a batch; 0 for no limit [0]", "a whole number from 0"),
        new("accumulation", "Batches added up for one step [1]", "a whole number from 1"),
        new("lr", "Highest learning rate [nola 0.005 as published, lora 0.0002 as published, full 0.0001; for nola-tiny 0.03, 0.003, 0.003]", "a positive number"),
        new("schedule", $"Learning rate after the warm-up: {Settings.Names<Schedule>()} [linear]", Settings.Names<Schedule>()),
        new("warmup", "Steps of warm-up [20]", "a whole number from 0"),
        new("weight-decay", "Decoupled decay of matrices [0]", "0 to 1"),
        new("beta1", "AdamW's first decay [0.9]", "0 up to 1"),
        new("beta2", "AdamW's second decay [0.999]", "0 up to 1"),
        new("epsilon", "AdamW's epsilon [1e-6]", "a positive number"),
        new("clip", "Clip the gradient to this norm; 0 for no clipping [1]", "0 or more"),
        new("label-smoothing", "Label smoothing over the whole vocabulary; 0.1 as published [0]", "0 up to 1"),
        new("seed", "Seed of the shuffle [42]", "a whole number from 0"),
        new("eval-every", "Steps between evaluations; 0 for each epoch's end [0; 50 for e2e]", "a whole number from 0"),
        new("eval-pairs", "Evaluate on this many sequences; 0 for all [500]", "a whole number from 0"),
        new("patience", "Stop after this many evaluations without a new best; 0 for never [0]", "a whole number from 0"),
        new("checkpoint-every", "Steps between checkpoints [100]", "a whole number from 1"),
        new("read-every", "Steps between reads of losses from a GPU, which wait for it; 0 for 10 there, 1 on the CPU [0]", "a whole number from 0"),
        new("storage", $"How a frozen base is kept: {Settings.Names(storages)}, which takes half the memory [float32]", Settings.Names(storages)),
        new("checkpoint-blocks", "Compute blocks again in the backward pass: less memory, a third more work", "true or false", true),
        new("truncate", "Cut contexts of pairs that are too long from the left instead of refusing them", "true or false", true),
        new("device", "auto, cpu, cuda or cuda:1 [auto]", "auto, cpu, cuda or cuda:1"),
        new("threads", "Threads of the CPU; 0 for one per core [0]", "0 to 256"),
    ];

    /// <summary>Name or directory of the base model.</summary>
    public required string Model { get; init; }

    /// <summary>Training pairs: <c>e2e</c> or a file.</summary>
    public required string Data { get; init; }

    /// <summary>Validation pairs; empty for none, or E2E's dev set.</summary>
    public required string Valid { get; init; }

    /// <summary>Plain text in place of pairs.</summary>
    public required IReadOnlyList<string> Text { get; init; }

    /// <summary>Run directory.</summary>
    public required string Out { get; init; }

    /// <summary>What is trained.</summary>
    public required TrainMethod Method { get; init; }

    /// <summary>Settings of NOLA.</summary>
    public required NolaOptions Nola { get; init; }

    /// <summary>Settings of LoRA.</summary>
    public required LoraOptions Lora { get; init; }

    /// <summary>Settings of the loop.</summary>
    public required TrainOptions Options { get; init; }

    /// <summary>How the frozen base is kept.</summary>
    public required DType Storage { get; init; }

    /// <summary>Cut long contexts instead of refusing.</summary>
    public required bool Truncate { get; init; }

    /// <summary>Most steps between two reads of losses; see <see cref="Trainer.ReadEvery"/>.</summary>
    public required int ReadEvery { get; init; }

    /// <summary>Name of the device.</summary>
    public required string Device { get; init; }

    /// <summary>Threads of the CPU device.</summary>
    public required int Threads { get; init; }

    /// <summary>Whether the data are the embedded E2E.</summary>
    public bool UsesEmbeddedData => Data == EmbeddedData.E2EName && Text.Count == 0 && !File.Exists(Data);

    /// <summary>Where a run with this configuration comes from.</summary>
    public RunSource Source => new()
    {
        Data = Text.Count > 0 ? string.Join(", ", Text) : Data,
        Valid = Valid.Length > 0 ? Valid : UsesEmbeddedData ? EmbeddedData.E2EName + ":dev" : "none",
        // Where a LoRA began is in none of its settings.
        Settings = Method == TrainMethod.Lora
            ? new Dictionary<string, string> { ["basis-seed"] = Lora.Seed.ToString(CultureInfo.InvariantCulture) }
            : new Dictionary<string, string>(),
    };

    /// <summary>Puts a new adapter on a model; null when the whole model is trained.</summary>
    /// <exception cref="NolaException">A setting is out of range.</exception>
    public Adapter? Attach(Gpt2 model) => Method switch
    {
        TrainMethod.Nola => NolaAdapter.Attach(model, Nola),
        TrainMethod.Lora => LoraAdapter.Attach(model, Lora),
        _ => null,
    };

    /// <summary>Checks settings and fills in defaults.</summary>
    /// <exception cref="NolaException">A value is out of its range.</exception>
    public static TrainConfig From(Settings s)
    {
        TrainMethod method = s.Choice("method", TrainMethod.Nola);
        string data = s.Text("data", EmbeddedData.E2EName);
        bool e2e = data == EmbeddedData.E2EName && !s.Has("text");
        string model = s.Text("model", Gpt2.EmbeddedName);
        // The published settings are for GPT-2 medium and tens of thousands of steps; the embedded model is small, and its run short.
        bool tiny = model == Gpt2.EmbeddedName;
        int bases = s.Whole("bases", tiny ? 1024 : 512);
        string[] targets = s.List("targets", tiny ? ["*"] : ["q", "v"]);
        string sharing = s.Text("sharing", "shared");
        if (!sharings.Contains(sharing)) throw new NolaException($"sharing is {Quoted.Of(sharing)}; expected {Settings.Names(sharings)}.");
        TrainConfig config = new()
        {
            Model = model,
            Data = data,
            Valid = s.Text("valid", ""),
            Text = s.List("text"),
            Out = s.Text("out", $"runs/{method.ToString().ToLowerInvariant()}-{DateTime.Now.ToString("yyyyMMdd-HHmmss", CultureInfo.InvariantCulture)}"),
            Method = method,
            Nola = new NolaOptions
            {
                Rank = s.Whole("rank", tiny ? 16 : 8),
                Alpha = (float)s.Real("alpha", tiny ? 16 : 8),
                BasesA = s.Whole("bases-a", bases),
                BasesB = s.Whole("bases-b", bases),
                Entries = s.Choice("entries", BasisEntries.Uniform),
                PerLayer = sharing == "per-layer",
                Variant = s.Choice("variant", NolaVariant.Offset),
                QuantiseBits = s.Whole("quantise-bits", 0),
                Seed = s.Seed("basis-seed", 42),
                Targets = targets,
            },
            Lora = new LoraOptions { Rank = s.Whole("rank", 4), Alpha = (float)s.Real("alpha", 32), Seed = s.Seed("basis-seed", 42), Targets = targets },
            Options = Loop(s, e2e) with { LearningRate = (float)s.Real("lr", StandardRate(method, tiny)) },
            Storage = StorageType(s.Text("storage", "float32")),
            Truncate = s.Flag("truncate"),
            ReadEvery = s.Whole("read-every", 0),
            Device = s.Text("device", "auto"),
            Threads = s.Whole("threads", 0),
        };
        config.Options.Validate();
        config.CheckAdapter();
        return config;
    }

    /// <summary>The type that <c>--storage</c> names.</summary>
    /// <exception cref="NolaException">It is not one of the two.</exception>
    public static DType StorageType(string name) => name switch
    {
        "float32" => DType.Float32,
        "bfloat16" => DType.BFloat16,
        _ => throw new NolaException($"storage is {Quoted.Of(name)}; expected {Settings.Names(storages)}."),
    };

    /// <summary>The settings that a run was made with, so that the same command can be given again.</summary>
    public string ToJson()
    {
        TrainOptions o = Options;
        Dictionary<string, object?> keys = new()
        {
            ["model"] = Model,
            ["method"] = Method.ToString().ToLowerInvariant(),
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
            ["storage"] = Storage == DType.BFloat16 ? "bfloat16" : "float32",
            ["checkpoint-blocks"] = o.CheckpointBlocks,
            ["truncate"] = Truncate,
        };
        if (Text.Count > 0) keys["text"] = Text;
        else keys["data"] = Data;
        if (Valid.Length > 0) keys["valid"] = Valid;
        if (Method != TrainMethod.Full) AddAdapter(keys);
        Dictionary<string, object?> given = keys.Where(key => key.Value is not null).ToDictionary();
        return JsonSerializer.Serialize(given, new JsonSerializerOptions { WriteIndented = true }) + "\n";
    }

    // What an adapter would refuse, said before a model is loaded.
    private void CheckAdapter()
    {
        int rank = Method == TrainMethod.Nola ? Nola.Rank : Lora.Rank, bits = Nola.QuantiseBits;
        float alpha = Method == TrainMethod.Nola ? Nola.Alpha : Lora.Alpha;
        if (rank is < 1 or > LargestRank) throw new NolaException($"rank is {rank}; expected 1 to {LargestRank}.");
        if (!(alpha > 0 && float.IsFinite(alpha))) throw new NolaException(FormattableString.Invariant($"alpha is {alpha}; expected a positive number."));
        foreach (int k in (ReadOnlySpan<int>)[Nola.BasesA, Nola.BasesB])
            if (k is < 1 or > 1_000_000) throw new NolaException($"bases is {k}; expected 1 to 1,000,000.");
        if (bits is not (0 or 8 or 4 or 3 or 2)) throw new NolaException($"quantise-bits is {bits}; expected 0, 8, 4, 3 or 2.");
        if (bits > 0 && Method != TrainMethod.Nola)
            throw new NolaException($"quantise-bits is {bits} with method {Method.ToString().ToLowerInvariant()}; it is for nola. Round a LoRA after training, with 'nola quantise'.");
    }

    private static double StandardRate(TrainMethod method, bool tiny) => method switch
    {
        TrainMethod.Nola => tiny ? 0.03 : 0.005,
        TrainMethod.Lora => tiny ? 0.003 : 0.0002,
        _ => tiny ? 0.003 : 0.0001,
    };

    private void AddAdapter(Dictionary<string, object?> keys)
    {
        bool nola = Method == TrainMethod.Nola;
        keys["rank"] = nola ? Nola.Rank : Lora.Rank;
        keys["alpha"] = StrictNumber.Shortest(nola ? Nola.Alpha : Lora.Alpha);
        keys["targets"] = nola ? Nola.Targets : Lora.Targets;
        keys["basis-seed"] = nola ? Nola.Seed : Lora.Seed;
        if (!nola) return;
        keys["bases-a"] = Nola.BasesA;
        keys["bases-b"] = Nola.BasesB;
        keys["entries"] = Nola.Entries.ToString().ToLowerInvariant();
        keys["sharing"] = Nola.PerLayer ? "per-layer" : "shared";
        keys["variant"] = Nola.Variant.ToString().ToLowerInvariant();
        keys["quantise-bits"] = Nola.QuantiseBits;
    }

    private static TrainOptions Loop(Settings s, bool e2e) => new()
    {
        Epochs = s.Has("epochs") ? s.Real("epochs", 0) : null,
        MaxSteps = s.Whole("max-steps", e2e && !s.Has("epochs") ? 400 : 0),
        BatchTokens = s.Whole("batch-tokens", standard.BatchTokens),
        BatchSize = s.Whole("batch-size", standard.BatchSize),
        Accumulation = s.Whole("accumulation", standard.Accumulation),
        Schedule = s.Choice("schedule", standard.Schedule),
        WarmupSteps = s.Whole("warmup", standard.WarmupSteps),
        WeightDecay = (float)s.Real("weight-decay", standard.WeightDecay),
        Beta1 = (float)s.Real("beta1", standard.Beta1),
        Beta2 = (float)s.Real("beta2", standard.Beta2),
        Epsilon = (float)s.Real("epsilon", standard.Epsilon),
        ClipNorm = (float)s.Real("clip", standard.ClipNorm),
        LabelSmoothing = (float)s.Real("label-smoothing", standard.LabelSmoothing),
        Seed = s.Seed("seed", standard.Seed),
        EvalEvery = s.Whole("eval-every", e2e ? 50 : 0),
        EvalPairs = s.Whole("eval-pairs", standard.EvalPairs),
        Patience = s.Whole("patience", standard.Patience),
        CheckpointEvery = s.Whole("checkpoint-every", standard.CheckpointEvery),
        CheckpointBlocks = s.Flag("checkpoint-blocks"),
    };
}
