using System.CommandLine;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Cli;

/// <summary><c>nola generate</c>: continues a prompt, streaming, or a file of them, batched.</summary>
internal static class GenerateCommand
{
    private static readonly GenerateOptions defaults = new();

    public static Command Create()
    {
        CommonOptions common = new();
        Option<string> prompt = new("--prompt") { Description = "The context. Read from standard input when neither this nor --ids nor --prompts is given" };
        Option<string> ids = new("--ids") { Description = "Token ids in place of a prompt, taken as they stand, for example \"15496,995\"" };
        Option<string> prompts = new("--prompts") { Description = "A file of contexts (.txt, one a line; .jsonl), or a data set that train reads, or e2e:test: one line of output for each distinct input, in order" };
        Option<string> output = new("--out") { Description = "With --prompts, write the lines to this file, whole or not at all, in place of standard output" };
        Option<bool> raw = new("--raw") { Description = "Continue the text itself; else the prompt is a context, followed by token 50256 as in training" };
        Option<int> maxNew = new("--max-new") { Description = "Most new tokens", DefaultValueFactory = _ => defaults.MaxNewTokens };
        Option<int> minNew = new("--min-new") { Description = "Least new tokens: no stop token before", DefaultValueFactory = _ => defaults.MinNewTokens };
        Option<int> beams = new("--beams") { Description = "Beam search with this many sequences; 1 for none", DefaultValueFactory = _ => defaults.Beams };
        Option<double> lengthPenalty = new("--length-penalty") { Description = "p of a beam's score, sum of log-probabilities / length^p: larger favours longer texts", DefaultValueFactory = _ => defaults.LengthPenalty };
        Option<string> beamRules = new("--beam-rules") { Description = "published: as the LoRA and NOLA code decodes (penalties see new tokens only); huggingface: as Transformers does (they see the prompt too)", DefaultValueFactory = _ => BeamRulesNames.Of(defaults.BeamRules) };
        Option<int> noRepeat = new("--no-repeat-ngram") { Description = "No sequence of this many tokens twice; 0 for no limit", DefaultValueFactory = _ => defaults.NoRepeatNgram };
        Option<float> repetition = new("--repetition-penalty") { Description = "Above 1 makes tokens that are there already less likely", DefaultValueFactory = _ => defaults.RepetitionPenalty };
        Option<float> temperature = new("--temperature") { Description = "0 for the likeliest token each time, 1 for the model's own distribution" };
        Option<int> topK = new("--top-k") { Description = "Sample from this many likeliest tokens; 0 for all" };
        Option<float> topP = new("--top-p") { Description = "Sample from the likeliest tokens with this sum of probabilities", DefaultValueFactory = _ => defaults.TopP };
        Option<ulong> seed = new("--seed") { Description = "Of the sampling" };
        Option<string> stop = new("--stop") { Description = "Token ids that end the text; \"\" for none", DefaultValueFactory = _ => string.Join(',', defaults.StopTokens) };
        Option<int> batchTokens = new("--batch-tokens") { Description = "With --prompts, most tokens read at once: beams × open prompts", DefaultValueFactory = _ => defaults.BatchTokens };
        Command command = new("generate", "Continue a prompt, or a file of them, with a model and, if given, an adapter. The published decoding is --beams 10 --length-penalty 0.8 --no-repeat-ngram 4.")
        {
            prompt, ids, prompts, output, raw, maxNew, minNew, beams, lengthPenalty, beamRules, noRepeat, repetition, temperature, topK, topP, seed, stop, batchTokens, common.Json,
        };
        common.AddTo(command);
        command.Does((r, cancel) =>
        {
            GenerateOptions options = new()
            {
                MaxNewTokens = r.GetValue(maxNew),
                MinNewTokens = r.GetValue(minNew),
                Beams = r.GetValue(beams),
                LengthPenalty = r.GetValue(lengthPenalty),
                BeamRules = Rules(r.GetValue(beamRules)!),
                NoRepeatNgram = r.GetValue(noRepeat),
                RepetitionPenalty = r.GetValue(repetition),
                Temperature = r.GetValue(temperature),
                TopK = r.GetValue(topK),
                TopP = r.GetValue(topP),
                Seed = r.GetValue(seed),
                StopTokens = CommonOptions.Ids(r.GetValue(stop)!, "--stop"),
                BatchTokens = r.GetValue(batchTokens),
            };
            options.Validate();
            bool json = r.GetValue(common.Json);
            string? text = r.GetValue(prompt), given = r.GetValue(ids), file = r.GetValue(prompts), path = r.GetValue(output);
            if (file is not null && (text is not null || given is not null)) throw new NolaException("--prompts is given together with --prompt or --ids; give one of them.");
            if (file is null && path is not null) throw new NolaException("--out is given without --prompts; it names the file for the lines of many inputs.");
            // The tokenizer and the model are ready at about the same time.
            if (given is null) _ = Task.Run(Gpt2Tokenizer.Default.Prepare, CancellationToken.None);
            return common.WithModel(r, (model, _) => file is not null
                ? new GenerateFile(model, options, r.GetValue(raw), json).Run(file, path, cancel)
                : Run(model, Prompt(text, given), given, r.GetValue(raw), options, json, cancel));
        });
        return command;
    }

    private static BeamRules Rules(string name) =>
        BeamRulesNames.Find(name) ?? throw new NolaException($"beam-rules is '{name}'; expected {BeamRulesNames.Known}.");

    private static string Prompt(string? prompt, string? ids) => prompt ?? (ids is null ? Console.In.ReadToEnd().TrimEnd('\n', '\r') : "");

    private static int Run(Gpt2 model, string prompt, string? ids, bool raw, GenerateOptions options, bool json, CancellationToken cancel)
    {
        // With ids and --json no text is needed, so that a model without a tokenizer can be asked too.
        Gpt2Tokenizer? tokenizer = ids is not null && json ? null : ModelTokenizer.For(model.Source, model.Config);
        int[] context = ids is not null ? CommonOptions.Ids(ids, "--ids")
            : raw ? (prompt.Length == 0 ? [Gpt2Tokenizer.EndOfText] : tokenizer!.Encode(prompt))
            : [.. tokenizer!.Encode(prompt), Gpt2Tokenizer.EndOfText];
        IncrementalDecoder? decoder = json || tokenizer is null ? null : new(tokenizer);
        bool first = true;
        int[] generated = model.Generate(context, options, token =>
        {
            if (decoder is null || options.StopTokens.Contains(token)) return;
            string text = decoder.Add(token);
            // A completion begins with the space that the encoders put before it.
            Console.Out.Write(first && !raw ? text.TrimStart() : text);
            Console.Out.Flush();
            first = false;
        }, cancel);
        if (!json)
        {
            Console.Out.WriteLine();
            return 0;
        }
        int[] spoken = [.. generated.Where(id => !options.StopTokens.Contains(id))];
        if (tokenizer is null) Terminal.Json(new { ids = generated });
        else Terminal.Json(new { text = tokenizer.Decode(spoken).TrimStart(), ids = generated });
        return 0;
    }
}
