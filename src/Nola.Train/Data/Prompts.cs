using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// The distinct inputs of a file, in order: what a model is asked. Reads what <see cref="TextPairs"/> reads, and files that have
/// no completions: <c>.txt</c> with a context on each line (of <c>context||completion</c> the context counts), <c>.jsonl</c> and
/// <c>.csv</c> with a context or prompt alone. Any of them may be gzip-compressed (<c>.gz</c>).
/// </summary>
public static class Prompts
{
    /// <summary>Reads a file, or a directory of WebNLG XML files. The pairs' completions may be empty.</summary>
    /// <exception cref="NolaException">It is missing, empty, of an unknown format, or has a malformed line (named).</exception>
    public static IReadOnlyList<TextPair> Read(string path) => Distinct(ReadAll(path));

    /// <summary>All inputs of what <see cref="Read(string)"/> reads, equal ones too.</summary>
    internal static TextPairs ReadAll(string path) => new(Parse(path), path);

    /// <summary>The first pair of each context.</summary>
    public static IReadOnlyList<TextPair> Distinct(IEnumerable<TextPair> pairs)
    {
        HashSet<string> texts = [];
        HashSet<int[]> sequences = new(TokenSequences.Comparer);
        return [.. pairs.Where(pair => pair.ContextIds is { } ids ? sequences.Add(ids) : texts.Add(pair.Context))];
    }

    private static IEnumerable<TextPair> Parse(string path)
    {
        if (Directory.Exists(path)) return TextPairs.Read(path);
        string name = path.EndsWith(".gz", StringComparison.OrdinalIgnoreCase) ? path[..^3] : path;
        return Path.GetExtension(name).ToLowerInvariant() switch
        {
            ".txt" => Lines(path),
            ".jsonl" or ".ndjson" => Read(path, reader => JsonPairs.ReadLines(reader, path, contextsOnly: true)),
            ".csv" => Read(path, reader => CsvPairs.Read(reader, path, contextsOnly: true)),
            _ => TextPairs.Read(path),
        };
    }

    private static List<TextPair> Read(string path, Func<TextReader, IEnumerable<TextPair>> parse)
    {
        using StreamReader reader = TextPairs.OpenText(path, out _);
        try
        {
            return [.. parse(reader)];
        }
        catch (InvalidDataException error)
        {
            throw new NolaException($"{path}: not a gzip file ({error.Message.TrimEnd('.')}).", error);
        }
    }

    private static List<TextPair> Lines(string path) => Read(path, reader => ContextLines(reader, path));

    private static IEnumerable<TextPair> ContextLines(TextReader reader, string path)
    {
        for (int line = 1; reader.ReadLine() is { } text; line++)
        {
            if (string.IsNullOrWhiteSpace(text)) continue;
            string[] sides = text.Trim().Split("||", 2);
            yield return new TextPair(sides[0], sides.Length > 1 ? sides[1] : "", $"{path}, line {line}");
        }
    }
}
