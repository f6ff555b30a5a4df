using Nola.Tensors;

namespace Nola.Train;

/// <summary>Which column is what.</summary>
internal sealed class CsvColumns
{
    private readonly string? context;
    private readonly int contextAt, completionAt, inputAt, textAt;

    /// <summary>Finds the columns of a header.</summary>
    /// <exception cref="NolaException">A name stands there twice, or two columns are the same side of a pair.</exception>
    public CsvColumns(IReadOnlyList<string> header, string place)
    {
        List<string> names = Names(header);
        if (names.Where(name => name.Length > 0).GroupBy(name => name).FirstOrDefault(group => group.Count() > 1) is { } twice)
            throw new NolaException($"{place}: the column {Quoted.Of(twice.Key)} is there twice; leave one out or rename it.");
        context = PairNames.Context(names, place);
        string? completion = PairNames.Completion(names, place);
        contextAt = context is null ? -1 : names.IndexOf(context);
        completionAt = completion is null ? -1 : names.IndexOf(completion);
        inputAt = context == PairNames.Instruction ? names.IndexOf(PairNames.Input) : -1;
        textAt = contextAt < 0 && completionAt < 0 ? names.IndexOf(PairNames.Text) : -1;
    }

    /// <summary>Whether a line names such columns, though perhaps twice.</summary>
    public static bool AreNamedIn(IReadOnlyList<string> header, bool contextsOnly)
    {
        List<string> names = Names(header);
        if (contextsOnly) return PairNames.IsContext(names);
        return names.Contains(PairNames.Text) || (PairNames.IsContext(names) && PairNames.IsCompletion(names));
    }

    /// <summary>Whether there are pairs (or texts) in these columns, or contexts at least.</summary>
    public bool AreEnough(bool contextsOnly) => contextAt >= 0 ? contextsOnly || completionAt >= 0 : textAt >= 0 && !contextsOnly;

    /// <summary>The pair of a row.</summary>
    /// <exception cref="NolaException">A meaning representation is malformed.</exception>
    public TextPair Pair(List<string> fields, string place)
    {
        if (textAt >= 0) return new TextPair("", fields[textAt], place) { IsDocument = true };
        string left = PairNames.Read(context!, fields[contextAt], inputAt < 0 ? null : fields[inputAt], place);
        return new TextPair(left, completionAt < 0 ? "" : fields[completionAt], place);
    }

    private static List<string> Names(IReadOnlyList<string> header) => [.. header.Select(name => name.Trim().ToLowerInvariant())];
}
