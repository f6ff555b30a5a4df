using System.Diagnostics;
using System.Text;
using System.Text.Json;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;

namespace Nola.Cli;

/// <summary><c>nola generate --prompts</c>: one line for each distinct input of a file, in order.</summary>
/// <param name="model">With its adapter.</param>
/// <param name="options">How to choose.</param>
/// <param name="raw">Continue the text itself, without token 50256 after it.</param>
/// <param name="json">An object on each line in place of text.</param>
internal sealed class GenerateFile(Gpt2 model, GenerateOptions options, bool raw, bool json)
{
    public int Run(string source, string? output, CancellationToken cancel)
    {
        IReadOnlyList<TextPair> pairs = TextPairs.IsEmbedded(source) ? Prompts.Distinct(TextPairs.Open(source)) : Prompts.Read(source);
        Gpt2Tokenizer? tokenizer = json && pairs.All(p => p.ContextIds is not null) ? null : ModelTokenizer.For(model.Source, model.Config);
        int[][] contexts = [.. pairs.Select(pair => Context(pair, tokenizer))];
        if (output is not null) AtomicFile.EnsureWritable(output);
        Stopwatch clock = Stopwatch.StartNew();
        string?[] lines = new string?[pairs.Count];
        int shown = 0;
        CountView view = new(pairs.Count, "inputs");
        int[][] results = view.Show(() => model.GenerateAll(contexts, options, (i, ids) =>
        {
            lines[i] = Line(pairs[i], ids, tokenizer);
            if (output is null)
                for (; shown < lines.Length && lines[shown] is { } line; shown++) Console.Out.WriteLine(line);
            view.Add();
        }, cancel));
        long tokens = results.Sum(ids => (long)ids.Length);
        Terminal.Say($"{pairs.Count:N0} distinct inputs, {tokens:N0} new tokens in {clock.Elapsed.TotalSeconds:F1} s.");
        if (output is null) return 0;
        AtomicFile.WriteText(output, string.Concat(lines.Select(line => line + "\n")));
        if (json) Terminal.Json(new { @out = output, inputs = pairs.Count, tokens, seconds = Math.Round(clock.Elapsed.TotalSeconds, 1) });
        else Terminal.Say($"Wrote {output}.");
        return 0;
    }

    /// <summary>The text of generated tokens: without stop tokens and, where a blank line ends it, up to the first one.</summary>
    public static string Text(Gpt2Tokenizer tokenizer, int[] ids, GenerateOptions options)
    {
        string text = tokenizer.Decode([.. ids.Where(id => !options.StopTokens.Contains(id))]);
        // A blank line is token 628, or two newlines.
        int blank = options.StopTokens.Contains(BlankLine) ? text.IndexOf("\n\n", StringComparison.Ordinal) : -1;
        return (blank < 0 ? text : text[..blank]).Trim();
    }

    private const int BlankLine = 628;

    private int[] Context(TextPair pair, Gpt2Tokenizer? tokenizer)
    {
        int[] ids = pair.ContextIds ?? (raw ? tokenizer!.Encode(pair.Context) : [.. tokenizer!.Encode(pair.Context), Gpt2Tokenizer.EndOfText]);
        int most = model.Config.Positions;
        if (ids.Length == 0) throw new NolaException($"{pair.Place}: the context is empty; give at least one token.");
        if (ids.Length > most) throw new NolaException($"{pair.Place}: the context has {ids.Length} tokens; this model reads at most {most}.");
        int wrong = Array.FindIndex(ids, id => id >= model.Config.Vocabulary);
        if (wrong >= 0) throw new NolaException($"{pair.Place}: token id {ids[wrong]} is outside the model's vocabulary of {model.Config.Vocabulary}.");
        return ids;
    }

    private string Line(TextPair pair, int[] ids, Gpt2Tokenizer? tokenizer)
    {
        string? text = tokenizer is null ? null : Text(tokenizer, ids, options);
        if (!json) return OneLine(text!);
        Dictionary<string, object> line = new() { ["context"] = pair.ContextIds is { } context ? context : pair.Context };
        if (text is not null) line["text"] = text;
        line["ids"] = ids;
        return JsonSerializer.Serialize(line, Terminal.Readable);
    }

    // A line of the file is an input, whatever the text holds.
    private static string OneLine(string text)
    {
        StringBuilder line = new(text);
        return line.Replace("\r\n", " ").Replace('\n', ' ').Replace('\r', ' ').ToString();
    }
}
