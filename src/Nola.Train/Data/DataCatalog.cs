using Nola.Tensors;

namespace Nola.Train;

/// <summary>A published data set that this library reads.</summary>
/// <param name="Key">Its short name.</param>
/// <param name="Title">Its name and paper.</param>
/// <param name="License">What it may be used under.</param>
/// <param name="Home">Where it is published.</param>
/// <param name="Splits">Its splits with their numbers of pairs as trained on, quality filter applied.</param>
internal sealed record PublishedSet(string Key, string Title, string License, string Home, IReadOnlyList<(string Name, int Pairs)> Splits);

/// <summary>Data that were found and read.</summary>
/// <param name="Path">What to give to <c>TextPairs.Read</c>.</param>
/// <param name="Set">The published set that they are of; null for others.</param>
/// <param name="Split">The split whose number of pairs they have; empty for none.</param>
/// <param name="Pairs">How many pairs.</param>
/// <param name="Contexts">How many distinct contexts.</param>
internal sealed record FoundData(string Path, PublishedSet? Set, string Split, int Pairs, int Contexts);

/// <summary>What data there are: the embedded set, and what a directory of the user's holds.</summary>
internal static class DataCatalog
{
    /// <summary>
    /// The sets that are embedded, and those that the published experiments use and that are read from where the user has them.
    /// </summary>
    public static IReadOnlyList<PublishedSet> Published { get; } =
    [
        new(
            "e2e", "E2E NLG Challenge (Novikova, Dušek and Rieser 2017)", "CC BY-SA 4.0",
            "https://github.com/tuetschek/e2e-dataset", [("train", 42061), ("dev", 4672), ("test", 4693)]),
        new(
            EmbeddedData.LaptopsName, "laptops of RNNLG (Wen et al. 2016), new splits", "Apache-2.0", "https://github.com/shawnwun/RNNLG",
            [("train", 4265), ("dev", 408), ("test", 513)]),
        new(
            "webnlg", "WebNLG challenge 2017 (Gardent et al. 2017)",
            "CC BY-NC-SA 4.0 (not for commercial use)", "https://gitlab.com/shimorina/webnlg-dataset",
            [("train", 18025), ("dev", 2258), ("test", 4928), ("test, seen", 2495), ("test, unseen", 2433)]),
        new(
            "dart", "DART v1.1.1 (Nan et al. 2021)", "MIT", "https://github.com/Yale-LILY/dart",
            [("train", 62659), ("dev", 6980), ("test", 12552)]),
    ];

    /// <summary>The splits of the embedded sets.</summary>
    public static IEnumerable<FoundData> Embedded() => EmbeddedData.Names
        .SelectMany(set => EmbeddedData.Splits.Select(split => $"{set}:{split}"))
        .Select(name => Describe(name, EmbeddedData.Open(name)));

    /// <summary>Reads every file and every WebNLG directory below a directory that can be read as pairs.</summary>
    /// <param name="directory">Where to look.</param>
    /// <param name="skipped">Told of each file with a known extension that cannot be read, and why.</param>
    /// <exception cref="NolaException">There is no such directory.</exception>
    public static IEnumerable<FoundData> Find(string directory, Action<string> skipped)
    {
        if (!Directory.Exists(directory)) throw new NolaException($"{directory}: there is no such directory.");
        foreach (string path in Candidates(directory))
        {
            FoundData? found = null;
            try
            {
                found = Describe(path, TextPairs.Read(path));
            }
            catch (NolaException error)
            {
                skipped(error.Message);
            }
            if (found is not null) yield return found;
        }
    }

    /// <summary>Which set some pairs are of, told from what only its pairs have.</summary>
    public static PublishedSet? Recognize(TextPairs pairs)
    {
        TextPair first = pairs[0];
        string key = first.Category.Length > 0 ? "webnlg"
            : first.Origin.Length > 0 ? "dart"
            : !first.Context.StartsWith("name : ", StringComparison.Ordinal) ? ""
            : first.Context.Contains("| type : laptop", StringComparison.Ordinal) ? EmbeddedData.LaptopsName
            : EmbeddedData.E2EName;
        return Published.FirstOrDefault(set => set.Key == key);
    }

    private static FoundData Describe(string path, TextPairs pairs)
    {
        PublishedSet? set = Recognize(pairs);
        string split = set?.Splits.FirstOrDefault(s => s.Pairs == pairs.Count).Name ?? "";
        return new(path, set, split, pairs.Count, pairs.Select(pair => pair.Context).Distinct().Count());
    }

    // Files with an extension that can be pairs; WebNLG's XML files are one set for each split's directory.
    private static IEnumerable<string> Candidates(string directory) => Directory
        .EnumerateFiles(directory, "*", new EnumerationOptions { RecurseSubdirectories = true, IgnoreInaccessible = true })
        .Where(TextPairs.HasKnownExtension)
        .Select(file => SplitDirectory(directory, file) ?? file)
        .Distinct()
        .Order(StringComparer.Ordinal);

    private static string? SplitDirectory(string root, string file)
    {
        if (!file.EndsWith(".xml", StringComparison.OrdinalIgnoreCase)) return null;
        for (string? d = Path.GetDirectoryName(file); d is not null && d.Length >= root.Length; d = Path.GetDirectoryName(d))
            if (Path.GetFileName(d) is "train" or "dev" or "test") return d;
        return null;
    }
}
