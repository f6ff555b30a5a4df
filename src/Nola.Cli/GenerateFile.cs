using System.Diagnostics;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;

namespace Nola.Cli;

/// <summary><c>nola generate --prompts</c>: a line for each text of each input of a file, in order.</summary>
/// <param name="model">The model.</param>
/// <param name="adapter">What it is read with; null for the base model alone.</param>
/// <param name="options">How to choose; all that is left to be chosen is given.</param>
/// <param name="form">What the inputs are.</param>
/// <param name="json">An object on each line in place of text.</param>
internal sealed class GenerateFile(LanguageModel model, IAdapter? adapter, GenerateOptions options, PromptForm form, bool json)
{
    public int Run(string source, string? output, CancellationToken cancel)
    {
        IReadOnlyList<TextPair> pairs = Inputs(source);
        // Lines of ids need no tokenizer.
        bool needsText = !json || pairs.Any(p => p.ContextIds is null);
        ITokenizer? tokenizer = needsText ? model.Tokenizer : model.FindTokenizer();
        ChatFormat? chat = form.Chat ? model.Chat : null;
        int[][] contexts = [.. pairs.Select(pair => GeneratedText.Context(form.Asked(pair), tokenizer, model.Shape, form.Raw, chat: chat))];
        if (output is not null) AtomicFile.EnsureWritable(output);
        SamplingOptions.SaySeed(options);
        Stopwatch clock = Stopwatch.StartNew();
        string?[] lines = new string?[options.SequencesOf(pairs.Count)];
        int shown = 0, cut = 0;
        CountView view = new(lines.Length, options.NumSamples > 1 ? "texts" : "inputs");
        int[][] results = view.Show(() => model.GenerateAll(contexts, adapter, options, (i, ids) =>
        {
            int input = i / options.NumSamples;
            FinishReason reason = FinishReasons.Of(contexts[input].Length, ids, options, model.Shape.Positions);
            if (reason == FinishReason.Context) cut++;
            lines[i] = Line(pairs[input], ids, tokenizer, reason, i);
            if (output is null)
                for (; shown < lines.Length && lines[shown] is { } line; shown++) Console.Out.WriteLine(line);
            view.Add();
        }, cancel));
        long tokens = results.Sum(ids => (long)ids.Length);
        string distinct = options.Samples ? "" : "distinct ";
        string texts = options.NumSamples > 1 ? $" with {options.NumSamples:N0} texts each" : "";
        Terminal.Say($"{pairs.Count:N0} {distinct}inputs{texts}, {tokens:N0} new tokens in {clock.Elapsed.TotalSeconds:F1} s.");
        if (cut > 0) Terminal.Say($"{cut:N0} of the texts end at the model's limit of {model.Shape.Positions:N0} tokens.");
        if (output is null) return 0;
        AtomicFile.WriteText(output, string.Concat(lines.Select(line => line + "\n")));
        double seconds = Math.Round(clock.Elapsed.TotalSeconds, 1);
        if (json) Terminal.Json(new { @out = output, inputs = pairs.Count, tokens, seconds, seed = options.Samples ? options.Seed : null });
        else Terminal.Say($"Wrote {output}.");
        return 0;
    }

    // A data set has an input as often as it has references for it, and is asked once. A list of contexts is asked line by line when
    // sampling, where equal ones have different answers.
    private IReadOnlyList<TextPair> Inputs(string source)
    {
        if (TextPairs.IsEmbedded(source)) return Prompts.Distinct(TextPairs.Open(source));
        TextPairs all = Prompts.ReadAll(source);
        bool references = all.Any(pair => pair.Completion.Length > 0 || pair.CompletionIds is not null);
        return options.Samples && !references ? all : Prompts.Distinct(all);
    }

    private string Line(TextPair pair, int[] ids, ITokenizer? tokenizer, FinishReason reason, int index)
    {
        string? text = tokenizer is null ? null : GeneratedText.Of(ids, tokenizer, options);
        if (!json) return GeneratedText.OneLine(text!);
        return GeneratedLine.Json(pair.ContextIds is { } context ? context : pair.Context, text, ids, reason, options, index);
    }
}
