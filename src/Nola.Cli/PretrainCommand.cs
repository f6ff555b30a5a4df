using System.CommandLine;
using System.Globalization;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;

namespace Nola.Cli;

/// <summary><c>nola pretrain</c>: a new GPT-2 from random values, on plain text and pairs.</summary>
internal sealed class PretrainCommand
{
    private readonly Option<string[]> text = new("--text")
    {
        Description = "Plain text files (.gz too); documents separated by a line <|endoftext|>",
        AllowMultipleArgumentsPerToken = true,
    };
    private readonly Option<string[]> pairs = new("--pairs")
    {
        Description = "Files of text pairs, in any form that train reads",
        AllowMultipleArgumentsPerToken = true,
    };
    private readonly Option<string[]> images = new("--images")
    {
        Description = "Sets of labeled images instead of text, in any form that train reads: a new vision transformer learns to tell their "
            + "classes, those of all sets together",
        AllowMultipleArgumentsPerToken = true,
    };
    private readonly Option<int> imageSize = Whole("--image-size", "Pixels of a side of the images that it reads", 32);
    private readonly Option<int> patchSize = Whole("--patch-size", "Pixels of a side of a patch", 4);
    private readonly Option<int> batchSize = Whole("--batch-size", "Images in a batch", 64);
    private readonly Option<string[]> mix = new("--mix")
    {
        Description = "Share of the tokens of a file, as NAME=SHARE: 'books=0.2' for books.train.txt.gz, '*.pairs=0.6' for all of "
            + "that pattern together; files that are not named divide the rest by their sizes",
        AllowMultipleArgumentsPerToken = true,
    };
    private readonly Option<bool> completions = new("--completions-only")
    {
        Description = "Predict only the completions of pairs, not their contexts",
    };
    private readonly Option<string> valid = new("--valid")
    {
        Description = "Plain text for validation, in addition to the held-out files NAME.valid.* next to NAME.train.*",
    };
    private readonly Option<string> output = new("--out")
    {
        Description = "Run directory; the model goes to its 'model' folder",
        Required = true,
    };
    private readonly Option<string> from = new("--from")
    {
        Description = "Start from this checkpoint (a directory) instead of random values; its sizes and tokenizer take precedence",
    };
    private readonly Option<int> vocabulary = new WholeOption<int>("--vocabulary")
    {
        Description = "Tokens: the first merges of GPT-2's encoding, 257 to 50257; the tokenizer is written beside the model",
        DefaultValueFactory = _ => Gpt2Tokenizer.GptVocabulary,
    };
    private readonly Option<string> tokenizer = new("--tokenizer")
    {
        Description = "A directory with vocab.json and merges.txt to use instead of GPT-2's encoding",
    };
    private readonly Option<int> layers = Whole("--layers", "Blocks", 6);
    private readonly Option<int> heads = Whole("--heads", "Attention heads", 4);
    private readonly Option<int> channels = Whole("--channels", "Width of the residual stream", 128);
    private readonly Option<int> positions = Whole("--positions", "Longest sequence", 512);
    private readonly Option<double> epochs = new RealOption<double>("--epochs")
    {
        Description = "Passes over the data; an epoch of a mixture has as many tokens as all files together",
        DefaultValueFactory = _ => 1,
    };
    private readonly Option<int> tokens = Whole("--batch-tokens", "Tokens in a batch", 4096);
    private readonly Option<float> rate = new RealOption<float>("--lr")
    {
        Description = "Maximum learning rate",
        DefaultValueFactory = _ => 0.002f,
    };
    private readonly Option<int> warmup = Whole("--warmup", "Steps of warm-up", 100);
    private readonly Option<int> every = Whole("--eval-every", "Steps between evaluations", 500);
    private readonly Option<int> evalTokens = Whole("--eval-tokens", "Tokens of each held-out file to evaluate on; 0 for all", 8192);
    private readonly Option<int> saveEvery = Whole("--checkpoint-every", "Steps between checkpoints to resume from", 100);
    private readonly Option<int> maxSteps = Whole("--max-steps", "Stop after this many steps; 0 for no limit", 0);
    private readonly Option<ulong> seed = new WholeOption<ulong>("--seed")
    {
        Description = "Seed of initial values and shuffle",
        DefaultValueFactory = _ => 1UL,
    };
    private readonly Option<string> deviceName = new CommonOptions().DeviceName;
    private readonly Option<int> threads = new CommonOptions().Threads;
    private readonly Option<bool> resume = new("--resume") { Description = "Continue the run in --out" };
    private readonly Option<string> augment = new ChoiceOption("--augment", "published", "crop", "none")
    {
        Description = "How images are changed from epoch to epoch",
    };

    public static Command Create() => new PretrainCommand().Make();

    private Command Make()
    {
        Command command = new(
            "pretrain", "Train a new GPT-2 from random values on plain text and pairs, or a new vision transformer on images.")
        {
            text, pairs, images, imageSize, patchSize, batchSize, augment, mix, completions, valid,
            output, from, vocabulary, tokenizer, layers, heads, channels, positions,
            epochs, tokens, rate, warmup, every, evalTokens, saveEvery, maxSteps, seed, deviceName, threads, resume,
        };
        command.Does(Run);
        return command;
    }

    private int Run(ParseResult given, CancellationToken cancel)
    {
        CheckSizes(given);
        if (Files(given, images).Length > 0) return RunImages(given, cancel);
        if (Files(given, text).Length + Files(given, pairs).Length == 0)
            throw new NolaException("There is nothing to train on; give --text, --pairs or --images.");
        foreach (Option option in (Option[])[imageSize, patchSize, batchSize, augment])
            if (given.IsGiven(option))
                throw new NolaException($"{option.Name} is given without --images; it means nothing for text.");
        string place = given.GetValue(output)!;
        bool resumes = given.GetValue(resume);
        if (!resumes) RunDirectory.RefuseUsed(place);
        // The run to be resumed is taken before anything in it is read.
        using RunDirectory? old = resumes ? new RunDirectory(place, resume: true) : null;
        using Device device = Device.Open(given.GetValue(deviceName)!, given.GetValue(threads), Terminal.Say);
        using LanguageModel model = Model(given, device);
        Mixture mixture = Mix(given, model, cancel);
        TrainOptions options = Options(given);
        Terminal.Say($"{device.Description}: {model.Config.ParameterCount:N0} parameters");
        SaySources(mixture);
        using IDisposable section = Signals.Held(Signals.Checkpoint);
        using RunDirectory run = old ?? new RunDirectory(place);
        TrainView view = new();
        Trainer trainer = new(model, null, options, run, view) { Source = Source(given, mixture) };
        TrainResult result = view.Show(() => TrainCommand.Finished(trainer, () => trainer.Run(mixture, resumes, cancel)));
        run.DrawLossCurve();
        string loss = double.IsNaN(result.LastLoss) ? "" : $"; validation loss {result.LastLoss:F4}";
        Terminal.Say($"{result.Steps:N0} steps, {result.Tokens:N0} tokens in {Time(result.Elapsed)}{loss}; model in {run.BestModel}");
        return Ended(result);
    }

    private int RunImages(ParseResult given, CancellationToken cancel)
    {
        foreach (Option option in (Option[])[text, pairs, mix, from, tokenizer, vocabulary, positions, tokens, completions, evalTokens])
            if (given.IsGiven(option))
                throw new NolaException($"--images and {option.Name} are both given; a model learns from images or from text.");
        string place = given.GetValue(output)!;
        bool resumes = given.GetValue(resume);
        if (!resumes) RunDirectory.RefuseUsed(place);
        using RunDirectory? old = resumes ? new RunDirectory(place, resume: true) : null;
        ImageSet[] sets = [.. Files(given, images).Select(path => ImageSet.Read(path, ImagePart.Train).WithName(path))];
        ImageSet training = ImageSet.Join(sets);
        ImageSet? test = given.GetValue(valid) is { } held ? ImageSet.Read(held, ImagePart.Test) : Held(given);
        int width = given.GetValue(channels);
        VitConfig config = new(
            given.GetValue(layers), given.GetValue(heads), width, 4 * width, given.GetValue(imageSize), given.GetValue(patchSize))
        {
            Labels = training.Labels,
        };
        using Device device = Device.Open(given.GetValue(deviceName)!, given.GetValue(threads), Terminal.Say);
        using VisionModel model = VisionModel.Create(config, device, given.GetValue(seed));
        Augmentation augmentation = Enum.Parse<Augmentation>(given.GetValue(augment)!, ignoreCase: true);
        TrainOptions options = Options(given) with { BatchTokens = 0, BatchSize = given.GetValue(batchSize), LabelSmoothing = 0.1f };
        Terminal.Say(
            $"{device.Description}: {config.ParameterCount:N0} parameters; {training.Images.Count:N0} images of "
            + $"{training.Labels.Count:N0} classes");
        using IDisposable signals = Signals.Held(Signals.Checkpoint);
        using RunDirectory run = old ?? new RunDirectory(place);
        RunSource source = new()
        {
            Data = string.Join(", ", sets.Select(set => set.Name)),
            Valid = test?.Name ?? "none",
            Settings = new Dictionary<string, string> { ["augment"] = given.GetValue(augment)! },
        };
        TrainView view = new();
        Trainer trainer = new(model, null, options, run, view) { Source = source };
        TrainResult result =
            view.Show(() => TrainCommand.Finished(trainer, () => trainer.Run(training, test, augmentation, resumes, cancel)));
        run.DrawLossCurve();
        Terminal.Say($"{result.Steps:N0} steps in {Time(result.Elapsed)}; model in {run.BestModel}");
        return Ended(result);
    }

    private static int Ended(TrainResult result)
    {
        if (result.Outcome != TrainOutcome.Interrupted) return 0;
        Terminal.Say("Interrupted; continue with the same command and --resume.");
        return Terminal.Interrupted;
    }

    // What the sets have to test on, all together.
    private ImageSet? Held(ParseResult given)
    {
        ImageSet?[] sets = [.. Files(given, images).Select(path => ImageSet.Find(path, ImagePart.Test)?.WithName(path))];
        return sets.OfType<ImageSet>().Any() ? ImageSet.Join([.. sets.OfType<ImageSet>()]) : null;
    }

    private LanguageModel Model(ParseResult given, Device device)
    {
        if (given.GetValue(from) is { } start)
        {
            LanguageModel loaded = LanguageModel.Load(start, device, trainable: true);
            if (loaded.Config is Gpt2Config) return loaded;
            string title = loaded.Config.Family.Title;
            loaded.Dispose();
            throw new NolaException($"--from is a {title}; only a GPT-2 can be trained further here.");
        }
        Gpt2Tokenizer own = Tokenizer(given);
        Gpt2Config config = new(
            given.GetValue(layers), given.GetValue(heads), given.GetValue(channels), own.Vocabulary, given.GetValue(positions));
        if (config.Channels % config.Heads != 0)
            throw new NolaException($"--channels is {config.Channels} and --heads {config.Heads}; heads must divide channels.");
        return LanguageModel.Create(config, device, given.GetValue(seed), tokenizer: own);
    }

    private Gpt2Tokenizer Tokenizer(ParseResult given)
    {
        if (given.GetValue(tokenizer) is not { } directory) return Gpt2Tokenizer.WithVocabulary(given.GetValue(vocabulary));
        if (given.IsGiven(vocabulary))
            throw new NolaException("--tokenizer and --vocabulary are both given; a tokenizer has its own vocabulary.");
        return Gpt2Tokenizer.FromFiles(Path.Combine(directory, "vocab.json"), Path.Combine(directory, "merges.txt"));
    }

    private Mixture Mix(ParseResult given, LanguageModel model, CancellationToken cancel)
    {
        PretrainData data = new(model.Tokenizer, model.Shape.Positions, model.Shape.Vocabulary, given.GetValue(evalTokens))
        {
            CompletionsOnly = given.GetValue(completions),
        };
        List<TrainSource> sources = [];
        foreach (string path in Files(given, text)) Add(data.Text(path));
        foreach (string path in Files(given, pairs)) Add(data.Pairs(path));
        double[] shares = Mixture.SharesOf(sources, given.GetValue(mix) ?? []);
        // Nothing is trained on it.
        if (given.GetValue(valid) is { } held) (sources, shares) = ([.. sources, data.Validation(held)], [.. shares, 0]);
        return new Mixture(sources, shares, given.GetValue(seed));

        void Add(TrainSource source)
        {
            cancel.ThrowIfCancellationRequested();
            if (sources.Any(other => other.Name == source.Name))
                throw new NolaException($"Two files are called {source.Name}; a source is known by its file's name, so rename one.");
            sources.Add(source);
        }
    }

    private TrainOptions Options(ParseResult given) => new()
    {
        // A number of steps alone is no less for want of data.
        Epochs = given.GetValue(maxSteps) > 0 && !given.IsGiven(epochs) ? null : given.GetValue(epochs),
        BatchTokens = given.GetValue(tokens),
        LearningRate = given.GetValue(rate),
        Schedule = Schedule.Cosine,
        WarmupSteps = given.GetValue(warmup),
        WeightDecay = 0.1f,
        Beta2 = 0.95f,
        Epsilon = 1e-8f,
        ClipNorm = 1,
        Seed = given.GetValue(seed),
        EvalEvery = given.GetValue(every),
        EvalPairs = 0,
        CheckpointEvery = given.GetValue(saveEvery),
        MaxSteps = given.GetValue(maxSteps),
    };

    private RunSource Source(ParseResult given, Mixture mixture) => new()
    {
        Data = string.Join(", ", mixture.Sources.Select(source => source.Name)),
        Valid = given.GetValue(valid) ?? "held-out files",
        Settings = mixture.Sources.Count == 1
            ? new Dictionary<string, string>()
            : new Dictionary<string, string> { ["mix"] = mixture.ToString() },
    };

    private static void SaySources(Mixture mixture)
    {
        for (int i = 0; i < mixture.Sources.Count; i++)
        {
            TrainSource source = mixture.Sources[i];
            if (source.Training.Length == 0) continue;
            Terminal.Say(string.Create(
                CultureInfo.InvariantCulture,
                $"  {source.Name,-24} {source.Training.Length,9:N0} sequences {source.Tokens,12:N0} tokens "
                + $"{100 * mixture.Shares[i],6:F2} %  {mixture.Passes(i):F2} passes an epoch"));
        }
        long all = mixture.Sources.Sum(source => source.Tokens);
        Terminal.Say($"  {"together",-24} {mixture.Sequences.Length,9:N0} sequences {all,12:N0} tokens per epoch");
    }

    private static string Time(TimeSpan elapsed) => $"{(long)elapsed.TotalHours}:{elapsed:mm\\:ss}";

    private static string[] Files(ParseResult given, Option<string[]> option) => given.GetValue(option) ?? [];

    private static WholeOption<int> Whole(string name, string description, int standard) =>
        new(name) { Description = description, DefaultValueFactory = _ => standard };

    // Sizes beyond these are typing errors, and would be found out by the lack of memory.
    private void CheckSizes(ParseResult given)
    {
        Check(layers, 1, 1000);
        Check(heads, 1, 65_536);
        Check(channels, 1, 65_536);
        Check(positions, 2, 1_000_000);
        Check(imageSize, 1, 4096);
        Check(patchSize, 1, 4096);
        Check(batchSize, 1, 1_000_000);
        Check(evalTokens, 0, int.MaxValue);

        void Check(Option<int> option, int least, int most)
        {
            int value = given.GetValue(option);
            if (value < least || value > most) throw new NolaException($"{option.Name} is {value}; expected {least} to {most}.");
        }
    }
}
