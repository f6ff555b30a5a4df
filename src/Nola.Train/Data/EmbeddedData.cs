using System.IO.Compression;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>The data set that is embedded in this library: E2E (Novikova et al. 2017, CC BY-SA 4.0, see its NOTICE.md).</summary>
public static class EmbeddedData
{
    /// <summary>What to give to <c>TextPairs.Read</c>.</summary>
    public const string E2EName = "e2e";

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
            _ => throw new NolaException($"E2E has no split '{split}'; its splits are train, dev and test."),
        };
        using ZipArchive archive = new(Archive());
        using Stream stream = archive.GetEntry("e2e-dataset/" + file)!.Open();
        return TextPairs.Read(stream, $"e2e:{file}");
    }

    internal static Stream Archive() => typeof(EmbeddedData).Assembly.GetManifestResourceStream("e2e-dataset.zip")!;
}
