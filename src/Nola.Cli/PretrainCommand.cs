using System.CommandLine;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;

namespace Nola.Cli;

/// <summary><c>nola pretrain</c>: a new GPT-2 from random values, on plain text and pairs.</summary>
internal static class PretrainCommand
{
    public static Command Create()
    {
        Option<string[]> text = new("--text") { Description = "Plain text files (.gz too); documents separated by a line <|endoftext|>", Required = true, AllowMultipleArgumentsPerToken = true };
        Option<string[]> pairs = new("--pairs") { Description = "Files of text pairs to mix in; every token of them is learned", AllowMultipleArgumentsPerToken = true };
        Option<int> repeat = new WholeOption<int>("--repeat-pairs") { Description = "How often each pair stands in an epoch", DefaultValueFactory = _ => 1 };
        Option<string[]> exclude = new("--exclude-origin") { Description = "Leave out pairs that their data set marks as from here, for example e2e in DART", AllowMultipleArgumentsPerToken = true };
        Option<bool> spans = new("--spans") { Description = "Also learn to write each sentence of the text from a shuffled part of its words" };
        Option<string> valid = new("--valid") { Description = "Plain text for validation" };
        Option<string> output = new("--out") { Description = "Run directory; the model goes to its 'model' folder", Required = true };
        Option<string> from = new("--from") { Description = "Start from this checkpoint (a directory) in place of random values; its sizes win" };
        Option<int> layers = new WholeOption<int>("--layers") { Description = "Blocks", DefaultValueFactory = _ => 6 };
        Option<int> heads = new WholeOption<int>("--heads") { Description = "Attention heads", DefaultValueFactory = _ => 4 };
        Option<int> channels = new WholeOption<int>("--channels") { Description = "Width of the residual stream", DefaultValueFactory = _ => 128 };
        Option<int> positions = new WholeOption<int>("--positions") { Description = "Longest sequence", DefaultValueFactory = _ => 512 };
        Option<double> epochs = new RealOption<double>("--epochs") { Description = "Passes over the data", DefaultValueFactory = _ => 1 };
        Option<int> tokens = new WholeOption<int>("--batch-tokens") { Description = "Tokens in a batch", DefaultValueFactory = _ => 4096 };
        Option<float> rate = new RealOption<float>("--lr") { Description = "Highest learning rate", DefaultValueFactory = _ => 0.002f };
        Option<int> warmup = new WholeOption<int>("--warmup") { Description = "Steps of warm-up", DefaultValueFactory = _ => 100 };
        Option<int> every = new WholeOption<int>("--eval-every") { Description = "Steps between evaluations and checkpoints", DefaultValueFactory = _ => 100 };
        Option<int> maxSteps = new WholeOption<int>("--max-steps") { Description = "Stop after this many steps; 0 for no limit" };
        Option<ulong> seed = new WholeOption<ulong>("--seed") { Description = "Seed of initial values and shuffle", DefaultValueFactory = _ => 1UL };
        Option<string> deviceName = new CommonOptions().DeviceName;
        Option<int> threads = new CommonOptions().Threads;
        Option<bool> resume = new("--resume") { Description = "Go on with the run in --out" };
        Command command = new("pretrain", "Train a new GPT-2 from random values on plain text.")
        {
            text, spans, pairs, repeat, exclude, valid, output, from, layers, heads, channels, positions,
            epochs, tokens, rate, warmup, every, maxSteps, seed, deviceName, threads, resume,
        };
        command.Does((r, cancel) =>
        {
            Gpt2Config config = new(r.GetValue(layers), r.GetValue(heads), r.GetValue(channels), Gpt2Tokenizer.GptVocabulary, r.GetValue(positions));
            CheckSizes(config, r.GetValue(repeat));
            if (config.Heads < 1 || config.Channels % config.Heads != 0) throw new NolaException(
                $"--channels is {config.Channels} and --heads {config.Heads}; heads must divide channels.");
            string place = r.GetValue(output)!;
            bool resumes = r.GetValue(resume);
            if (!resumes) RunDirectory.RefuseUsed(place);
            // The run to be resumed is taken before anything in it is read.
            using RunDirectory? old = resumes ? new RunDirectory(place, resume: true) : null;
            using Device device = Device.Open(r.GetValue(deviceName)!, r.GetValue(threads), Terminal.Say);
            using LanguageModel model = r.GetValue(from) is { } start ? LanguageModel.Load(start, device, trainable: true) : LanguageModel.Create(config, device, r.GetValue(seed));
            config = model.Config as Gpt2Config ?? throw new NolaException($"--from is a {model.Config.Family.Title}; only a GPT-2 can be trained further here.");
            ITokenizer tokenizer = model.Tokenizer;
            List<EncodedPair> training = [.. PlainText.Read(r.GetValue(text)!, tokenizer, config.Positions)];
            if (r.GetValue(spans))
            {
                PairEncoder encoder = new(tokenizer, config.Positions, config.Vocabulary);
                training.AddRange(SpanPairs.Read(r.GetValue(text)!, (int)r.GetValue(seed)).Select(encoder.Encode));
            }
            foreach (string path in r.GetValue(pairs) ?? [])
                training.AddRange(Enumerable.Repeat(WholePairs(path, r.GetValue(exclude) ?? [], tokenizer, config), r.GetValue(repeat)).SelectMany(p => p));
            EncodedPair[] held = r.GetValue(valid) is { } v ? PlainText.Read([v], tokenizer, config.Positions) : [];
            TrainOptions options = new()
            {
                // A number of steps alone is no less for want of data.
                Epochs = r.GetValue(maxSteps) > 0 && r.GetResult(epochs) is not { Implicit: false } ? null : r.GetValue(epochs),
                BatchTokens = r.GetValue(tokens),
                LearningRate = r.GetValue(rate),
                Schedule = Schedule.Cosine,
                WarmupSteps = r.GetValue(warmup),
                WeightDecay = 0.1f,
                Beta2 = 0.95f,
                Epsilon = 1e-8f,
                ClipNorm = 1,
                Seed = r.GetValue(seed),
                EvalEvery = r.GetValue(every),
                EvalPairs = 64,
                CheckpointEvery = r.GetValue(every),
                MaxSteps = r.GetValue(maxSteps),
            };
            Terminal.Say($"{device.Description}: {config.ParameterCount:N0} parameters, {training.Count:N0} sequences, {training.Sum(p => (long)p.Length - 1):N0} tokens an epoch");
            using IDisposable section = Signals.Held();
            using RunDirectory run = old ?? new RunDirectory(place);
            TrainView view = new();
            RunSource source = Source(r.GetValue(text)!, r.GetValue(pairs) ?? [], r.GetValue(valid));
            Trainer trainer = new(model, null, options, run, view) { Source = source };
            TrainResult result = view.Show(() => TrainCommand.Finished(trainer, () => trainer.Run([.. training], held, resumes, cancel)));
            run.DrawLossCurve();
            Terminal.Say($"{result.Steps:N0} steps, {result.Tokens:N0} tokens in {result.Elapsed:h\\:mm\\:ss}{(held.Length > 0 ? $"; validation loss {result.LastLoss:F4}" : "")}; model in {run.BestModel}");
            if (result.Outcome != TrainOutcome.Interrupted) return 0;
            Terminal.Say("Interrupted; go on with the same command and --resume.");
            return Terminal.Interrupted;
        });
        return command;
    }

    private static RunSource Source(string[] text, string[] pairs, string? valid) =>
        new() { Data = string.Join(", ", (string[])[.. text, .. pairs]), Valid = valid ?? "none" };

    // Sizes beyond these are typing errors, and would be found out by the lack of memory.
    private static void CheckSizes(Gpt2Config config, int repeat)
    {
        Check(config.Layers is >= 1 and <= 1000, "layers", config.Layers, "1 to 1000");
        Check(config.Channels is >= 1 and <= 65_536, "channels", config.Channels, "1 to 65536");
        Check(config.Positions is >= 2 and <= 1_000_000, "positions", config.Positions, "2 to 1000000");
        Check(repeat is >= 1 and <= 1000, "repeat-pairs", repeat, "1 to 1000");

        static void Check(bool fits, string option, int value, string range)
        {
            if (!fits) throw new NolaException($"--{option} is {value}; expected {range}.");
        }
    }

    // Every token of a pair is learned, context too.
    private static EncodedPair[] WholePairs(string path, string[] excluded, ITokenizer tokenizer, Gpt2Config config)
    {
        TextPairs pairs = TextPairs.Read(path);
        PairEncoder encoder = new(tokenizer, config.Positions, config.Vocabulary, truncate: true);
        return [.. pairs.Where(pair => !excluded.Contains(pair.Origin))
            .Select(encoder.Encode)
            .Select(pair => new EncodedPair([], [.. pair.Context, .. pair.Completion]))];
    }
}
