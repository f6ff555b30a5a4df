using System.Diagnostics;
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
        int[][] contexts = [.. pairs.Select(pair => GeneratedText.Context(pair, tokenizer, model.Config, raw))];
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

    private string Line(TextPair pair, int[] ids, Gpt2Tokenizer? tokenizer)
    {
        string? text = tokenizer is null ? null : GeneratedText.Of(ids, tokenizer, options.StopTokens);
        if (!json) return GeneratedText.OneLine(text!);
        Dictionary<string, object> line = new() { ["context"] = pair.ContextIds is { } context ? context : pair.Context };
        if (text is not null) line["text"] = text;
        line["ids"] = ids;
        return JsonSerializer.Serialize(line, Terminal.Readable);
    }
}
