using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
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
/// <param name="ranks">Who the inputs are dealt to, each rank a run of neighbors; the first prints all.</param>
internal sealed class GenerateFile(
    LanguageModel model, IAdapter? adapter, GenerateOptions options, PromptForm form, bool json, ICollective ranks)
{
    public int Run(string source, string? output, CancellationToken cancel)
    {
        IReadOnlyList<TextPair> pairs = Inputs(source);
        // Lines of ids need no tokenizer.
        bool needsText = !json || pairs.Any(p => p.ContextIds is null);
        ITokenizer? tokenizer = needsText ? model.Tokenizer : model.FindTokenizer();
        ChatFormat? chat = form.Chat ? model.Chat : null;
        int[][] contexts = [.. pairs.Select(pair => GeneratedText.Context(form.Asked(pair), tokenizer, model.Shape, form.Raw, chat: chat))];
        if (output is not null && ranks.Rank == 0) AtomicFile.EnsureWritable(output);
        SamplingOptions.SaySeed(options);
        Stopwatch clock = Stopwatch.StartNew();
        int first = First(ranks.Rank), end = First(ranks.Rank + 1);
        // A sampled text depends on its number among all of them.
        GenerateOptions own = options.Samples
            ? options with { FirstSequence = options.FirstSequence + first * options.NumSamples, Seed = SharedSeed() }
            : options;
        string?[] lines = new string?[options.SequencesOf(end - first)];
        int shown = 0, cut = 0;
        bool shows = output is null && ranks.Size == 1;
        CountView view = new(lines.Length, options.NumSamples > 1 ? "texts" : "inputs");
        int[][] results = view.Show(() => model.GenerateAll(contexts[first..end], adapter, own, (i, ids) =>
        {
            int input = first + i / options.NumSamples;
            FinishReason reason = FinishReasons.Of(contexts[input].Length, ids, options, model.Shape.Positions);
            if (reason == FinishReason.Context) cut++;
            lines[i] = Line(pairs[input], ids, tokenizer, reason, own, i);
            if (shows)
                for (; shown < lines.Length && lines[shown] is { } line; shown++) Console.Out.WriteLine(line);
            view.Add();
        }, cancel));
        Said all = Together(new(lines, results.Sum(ids => (long)ids.Length), cut));
        string distinct = options.Samples ? "" : "distinct ";
        string texts = options.NumSamples > 1 ? $" with {options.NumSamples:N0} texts each" : "";
        Terminal.Say($"{pairs.Count:N0} {distinct}inputs{texts}, {all.Tokens:N0} new tokens in {clock.Elapsed.TotalSeconds:F1} s.");
        if (all.Cut > 0) Terminal.Say($"{all.Cut:N0} of the texts end at the model's limit of {model.Shape.Positions:N0} tokens.");
        if (output is null && !shows)
            foreach (string? line in all.Lines) Console.Out.WriteLine(line);
        if (output is null || ranks.Rank > 0) return 0;
        AtomicFile.WriteText(output, string.Concat(all.Lines.Select(line => line + "\n")));
        double seconds = Math.Round(clock.Elapsed.TotalSeconds, 1);
        ulong? seed = options.Samples ? own.Seed : null;
        if (json) Terminal.Json(new { @out = output, inputs = pairs.Count, tokens = all.Tokens, seconds, seed });
        else Terminal.Say($"Wrote {output}.");
        return 0;

        int First(int rank) => (int)((long)pairs.Count * rank / ranks.Size);
    }

    // One that was not given is another one in each process.
    private ulong SharedSeed() => ulong.Parse(
        ranks.Share(options.Seed!.Value.ToString(CultureInfo.InvariantCulture)), CultureInfo.InvariantCulture);

    // What all ranks said, in order.
    private Said Together(Said own)
    {
        if (ranks.Size == 1) return own;
        Said[] all = [.. ranks.Gather(JsonSerializer.Serialize(own)).Select(text => JsonSerializer.Deserialize<Said>(text)!)];
        return new([.. all.SelectMany(one => one.Lines)], all.Sum(one => one.Tokens), all.Sum(one => one.Cut));
    }

    // A data set has an input as often as it has references for it, and is asked once. A list of contexts is asked line by line when
    // sampling, where equal ones have different answers.
    private IReadOnlyList<TextPair> Inputs(string source)
    {
        if (source == "-" && ranks.Size > 1)
            throw new NolaException("--prompts is -, and only one of the ranks has the standard input; name a file that all can read.");
        if (TextPairs.IsEmbedded(source)) return Prompts.Distinct(TextPairs.Open(source));
        TextPairs all = Prompts.ReadAll(source);
        bool references = all.Any(pair => pair.Completion.Length > 0 || pair.CompletionIds is not null);
        return options.Samples && !references ? all : Prompts.Distinct(all);
    }

    private string Line(TextPair pair, int[] ids, ITokenizer? tokenizer, FinishReason reason, GenerateOptions own, int index)
    {
        string? text = tokenizer is null ? null : GeneratedText.Of(ids, tokenizer, options);
        if (!json) return GeneratedText.OneLine(text!);
        return GeneratedLine.Json(pair.ContextIds is { } context ? context : pair.Context, text, ids, reason, own, index);
    }

    /// <summary>What one rank has to say.</summary>
    private sealed record Said(IReadOnlyList<string?> Lines, long Tokens, int Cut);
}
