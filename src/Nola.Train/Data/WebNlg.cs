using Nola.Tensors;

namespace Nola.Train;

/// <summary>Which part of a data set with categories (WebNLG) is read.</summary>
public enum DataSubset
{
    /// <summary>Everything.</summary>
    All,

    /// <summary>The ten categories that WebNLG's training set has.</summary>
    Seen,

    /// <summary>The categories that only WebNLG's test set has.</summary>
    Unseen,
}

/// <summary>What is particular to WebNLG 2017 (Gardent et al. 2017): its categories and the layout of its directories.</summary>
internal static class WebNlg
{
    private static readonly HashSet<string> seen =
        ["Airport", "Astronaut", "Building", "City", "ComicsCharacter", "Food", "Monument", "SportsTeam", "University", "WrittenWork"];

    /// <summary>Whether a pair belongs to a subset.</summary>
    /// <exception cref="NolaException">It has no category, and not everything is asked for.</exception>
    public static bool Has(TextPair pair, DataSubset subset)
    {
        if (subset == DataSubset.All) return true;
        if (pair.Category.Length == 0)
            throw new NolaException(
                $"{pair.Place}: there is no category here, so no seen and unseen part; only WebNLG has them. Leave the subset out.");
        return seen.Contains(pair.Category) == (subset == DataSubset.Seen);
    }

    /// <summary>The XML files of one split's directory, in a fixed order.</summary>
    /// <exception cref="NolaException">There are none, or of several splits.</exception>
    public static string[] Files(string directory)
    {
        string[] files = [.. Directory.EnumerateFiles(directory, "*.xml", SearchOption.AllDirectories).Order(StringComparer.Ordinal)];
        if (files.Length == 0)
            throw new NolaException($"{directory}: this directory has no .xml file; give a file, or WebNLG's directory.");
        string[] splits = [.. files.Select(file => Path.GetRelativePath(directory, file).Split(Path.DirectorySeparatorChar)[0])
            .Where(part => part is "train" or "dev" or "test").Distinct()];
        if (splits.Length > 1)
            throw new NolaException($"{directory}: holds several splits ({string.Join(", ", splits)}); "
                + $"give the directory of one, for example {Path.Combine(directory, splits[0])}.");
        // The test set's unseen part stands in a file of its own too.
        return
        [
            .. files.Where(file => Path.GetFileName(file) != "testdata_unseen_with_lex.xml"
                || !files.Contains(Path.Combine(Path.GetDirectoryName(file)!, "testdata_with_lex.xml"))),
        ];
    }
}
