using System.IO.Compression;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// The data sets that are embedded in this library: E2E (Novikova et al. 2017, CC BY-SA 4.0) and descriptions of laptops (RNNLG, Wen et
/// al. 2016, Apache-2.0); see the NOTICE.md of each.
/// </summary>
public static class EmbeddedData
{
    /// <summary>The name of E2E; <c>e2e:train</c>, <c>e2e:dev</c> and <c>e2e:test</c> are its splits.</summary>
    public const string E2EName = "e2e";

    /// <summary>The name of the laptops; <c>laptops:train</c>, <c>laptops:dev</c> and <c>laptops:test</c> are their splits.</summary>
    public const string LaptopsName = "laptops";

    /// <summary>The names of all.</summary>
    internal static IReadOnlyList<string> Names { get; } = [E2EName, LaptopsName];

    /// <summary>What each set is split into.</summary>
    internal static IReadOnlyList<string> Splits { get; } = ["train", "dev", "test"];

    /// <summary>
    /// A split of E2E: <c>train</c> (42,061 pairs), <c>dev</c> (4,672) or <c>test</c> (4,693 for 630 inputs).
    /// </summary>
    /// <exception cref="NolaException">There is no such split.</exception>
    public static TextPairs E2E(string split)
    {
        string file = split switch
        {
            "train" => "trainset.csv",
            "dev" => "devset.csv",
            "test" => "testset_w_refs.csv",
            _ => throw NoSplit("E2E", split),
        };
        using ZipArchive archive = new(Archive());
        using Stream stream = archive.GetEntry("e2e-dataset/" + file)!.Open();
        return TextPairs.Read(stream, $"e2e:{file}");
    }

    /// <summary>
    /// A split of the laptops: <c>train</c> (4,265 pairs), <c>dev</c> (408) or <c>test</c> (513 for 500 inputs). The embedded model has not
    /// seen any.
    /// </summary>
    /// <exception cref="NolaException">There is no such split.</exception>
    public static TextPairs Laptops(string split)
    {
        if (!Splits.Contains(split)) throw NoSplit("The data set of laptops", split);
        using GZipStream stream = new(Resource($"laptops/{split}.jsonl.gz"), CompressionMode.Decompress);
        return TextPairs.Read(stream, $"{LaptopsName}:{split}.jsonl");
    }

    /// <summary>An input that is not in a set's training split, to ask a finished adapter; null for the name of another set.</summary>
    internal static string? Prompt(string set) => set switch
    {
        E2EName => "name : The Punter | Type : restaurant | food : Indian | price : cheap | area : riverside | family friendly : yes | "
            + "near : Express by Holiday Inn",
        LaptopsName => "name : Satellite Hermes 63 | type : laptop | platform : windows 8.1 | processor : intel core i3 | business : yes",
        _ => null,
    };

    /// <summary>The split of a name such as <c>e2e:test</c>.</summary>
    /// <exception cref="NolaException">There is no such split.</exception>
    internal static TextPairs Open(string name)
    {
        string split = name[(name.IndexOf(':') + 1)..];
        return name.StartsWith(LaptopsName, StringComparison.Ordinal) ? Laptops(split) : E2E(split);
    }

    /// <summary>Whether a name such as <c>e2e:test</c> is of a split here; it may be one that there is not.</summary>
    internal static bool Has(string name) => Names.Any(set => name.StartsWith(set + ":", StringComparison.Ordinal));

    /// <summary>E2E as it was published, zip-compressed.</summary>
    internal static Stream Archive() => Resource("e2e-dataset.zip");

    private static Stream Resource(string name) => typeof(EmbeddedData).Assembly.GetManifestResourceStream(name)!;

    private static NolaException NoSplit(string set, string split) =>
        new($"{set} has no split '{split}'; its splits are train, dev and test.");
}
