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
        SamplingOptions sampling = new();
        Option<string> prompt = new("--prompt")
        {
            Description = "The context. Read from standard input when neither this nor --ids nor --prompts is given",
        };
        Option<string> ids = new("--ids")
        {
            Description = "Token ids instead of a prompt, used unchanged, for example \"15496,995\"; "
                + "a model without a tokenizer prints ids too",
        };
        Option<string> prompts = new("--prompts")
        {
            Description = "A file of contexts (.txt, one a line; .jsonl), or a data set that train reads, or e2e:test: "
                + "one line of output for each distinct input, in order. "
                + "When sampling, a file without completions has one for each input, for equal ones too",
        };
        Option<string> output = new("--out")
        {
            Description = "With --prompts, write the lines to this file, completely or not at all, instead of standard output",
        };
        Option<bool> raw = new("--raw")
        {
            Description = "Continue the prompt itself; otherwise it is a context as in training, which for GPT-2 the end of text follows",
        };
        Option<bool> chat = new("--chat")
        {
            Description = "The prompt is a question, written by the model's chat template; with --prompts, conversations (messages) too",
        };
        Option<string> system = new("--system")
        {
            Description = "With --chat, the system message of conversations that have none",
        };
        Option<int> maxNew = new WholeOption<int>("--max-new")
        {
            Description = "Maximum number of new tokens",
            DefaultValueFactory = _ => defaults.MaxNewTokens,
        };
        Option<int> minNew = new WholeOption<int>("--min-new")
        {
            Description = "Minimum number of new tokens, before which no stop token is chosen",
            DefaultValueFactory = _ => defaults.MinNewTokens,
        };
        Option<int> beams = new WholeOption<int>("--beams")
        {
            Description = "Number of beams; 1 for no beam search",
            DefaultValueFactory = _ => defaults.Beams,
        };
        Option<double> lengthPenalty = new RealOption<double>("--length-penalty")
        {
            Description = "p of a beam's score, sum of log-probabilities / length^p: larger favors longer texts",
            DefaultValueFactory = _ => defaults.LengthPenalty,
        };
        Option<string> beamRules = new("--beam-rules")
        {
            Description = "published: as the LoRA and NOLA code decodes (penalties see new tokens only); "
                + "huggingface: as Transformers does (they see the prompt too)",
            DefaultValueFactory = _ => BeamRulesNames.Of(defaults.BeamRules),
        };
        Option<int> noRepeat = new WholeOption<int>("--no-repeat-ngram")
        {
            Description = "Never repeat a sequence of this many tokens; 0 for no limit",
            DefaultValueFactory = _ => defaults.NoRepeatNgram,
        };
        Option<float> repetition = new RealOption<float>("--repetition-penalty")
        {
            Description = "Above 1, tokens that have already appeared become less likely",
            DefaultValueFactory = _ => defaults.RepetitionPenalty,
        };
        Option<string> stop = new("--stop")
        {
            Description = "Token ids that end the text; \"\" for none "
                + "[the model's own, from its files; for GPT-2 the end of text and a blank line, 50256,628]",
        };
        Option<string[]> stopString = new("--stop-string")
        {
            Description = "Text that ends the text where it appears, and is not printed; may be given several times",
        };
        Option<int> batchTokens = new WholeOption<int>("--batch-tokens")
        {
            Description = "With many texts, maximum number of tokens read at once: beams × open texts",
            DefaultValueFactory = _ => defaults.BatchTokens,
        };
        Command command = new("generate", "Continue a prompt, or a file of them, with a model and, if given, an adapter. "
            + "The published decoding is --beams 10 --length-penalty 0.8 --no-repeat-ngram 4.")
        {
            prompt, ids, prompts, output, raw, chat, system, maxNew, minNew, beams, lengthPenalty, beamRules, noRepeat, repetition,
        };
        sampling.AddTo(command);
        command.Add(stop);
        command.Add(stopString);
        command.Add(batchTokens);
        command.Add(common.Json);
        common.AddTo(command);
        command.Does((r, cancel) =>
        {
            GenerateOptions options = sampling.Read(r, new()
            {
                MaxNewTokens = r.GetValue(maxNew),
                MinNewTokens = r.GetValue(minNew),
                Beams = r.GetValue(beams),
                LengthPenalty = r.GetValue(lengthPenalty),
                BeamRules = Rules(r.GetValue(beamRules)!),
                NoRepeatNgram = r.GetValue(noRepeat),
                RepetitionPenalty = r.GetValue(repetition),
                StopTokens = r.GetValue(stop) is { } tokens ? CommonOptions.Ids(tokens, "--stop") : null,
                StopStrings = r.GetValue(stopString) ?? [],
                BatchTokens = r.GetValue(batchTokens),
            });
            PromptForm form = new(r.GetValue(raw), r.GetValue(chat), r.GetValue(system));
            bool json = r.GetValue(common.Json);
            string? text = r.GetValue(prompt), given = r.GetValue(ids), file = r.GetValue(prompts), path = r.GetValue(output);
            RefuseTwo(("--prompt", text), ("--ids", given), ("--prompts", file));
            CheckForm(form, given);
            if (file is null && path is not null)
                throw new NolaException("--out is given without --prompts; it names the file for the lines of many inputs.");
            if (file is null && given is null) text ??= FromInput();
            return file is null
                ? common.WithModel(
                    r,
                    (model, adapter) =>
                        new GeneratePrompt(model, adapter, options.For(model, form.Chat), form, json).Run(text, given, cancel),
                    readsText: given is null)
                : Ranks.Run(ranks => common.WithModel(
                    r,
                    ranks,
                    (model, adapter) =>
                        new GenerateFile(model, adapter, options.For(model, form.Chat), form, json, ranks).Run(file, path, cancel),
                    readsText: true));
        });
        return command;
    }

    private static BeamRules Rules(string name) =>
        BeamRulesNames.Find(name) ?? throw new NolaException($"beam-rules is {Quoted.Of(name)}; expected {BeamRulesNames.Known}.");

    private static void CheckForm(PromptForm form, string? ids)
    {
        if (form.Chat && form.Raw) throw new NolaException("--chat is given together with --raw; give one of them.");
        if (form.Chat && ids is not null)
            throw new NolaException("--chat is given together with --ids, which are taken as they are; give one of them.");
        if (form.System is not null && !form.Chat)
            throw new NolaException("--system is given without --chat; it is a message of a conversation.");
    }

    // The ways to say what is continued, of which one counts.
    private static void RefuseTwo(params (string Name, string? Value)[] sources)
    {
        string[] given = [.. sources.Where(source => source.Value is not null).Select(source => source.Name)];
        if (given.Length > 1)
            throw new NolaException($"{given[0]} is given together with {string.Join(" and ", given[1..])}; give one of them.");
    }

    private static string FromInput()
    {
        if (!Console.IsInputRedirected) Terminal.Say("Reading the prompt from standard input, to its end.");
        using TextInput input = TextInput.Of(Console.OpenStandardInput(), "standard input");
        return input.ReadToEnd().TrimEnd('\n', '\r');
    }
}
