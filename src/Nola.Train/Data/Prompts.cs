using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// The distinct inputs of a file, in order: what a model is asked. Reads what <see cref="TextPairs"/> reads, and files that have
/// no completions: <c>.txt</c> (or standard input, <c>-</c>) with a context on each line, of <c>context||completion</c> the first part;
/// rows with a context, prompt or instruction alone; conversations that end with the user. Any of them may be gzip-compressed (<c>.gz</c>).
/// </summary>
public static class Prompts
{
    /// <summary>Reads a file, or a directory of WebNLG XML files. The pairs' completions may be empty.</summary>
    /// <exception cref="NolaException">It is missing, empty, of an unknown format, or has a malformed line (named).</exception>
    public static IReadOnlyList<TextPair> Read(string path) => Distinct(ReadAll(path));

    /// <summary>All inputs of what <see cref="Read(string)"/> reads, equal ones too.</summary>
    internal static TextPairs ReadAll(string path) => Directory.Exists(path)
        ? TextPairs.Read(path)
        : new TextPairs(PairFile.Read(path, contextsOnly: true), DataInput.Place(path));

    /// <summary>The first pair of each context.</summary>
    public static IReadOnlyList<TextPair> Distinct(IEnumerable<TextPair> pairs)
    {
        HashSet<string> texts = [];
        HashSet<int[]> sequences = new(TokenSequences.Comparer);
        return [.. pairs.Where(pair => pair.ContextIds is { } ids ? sequences.Add(ids) : texts.Add(pair.Context))];
    }
}
