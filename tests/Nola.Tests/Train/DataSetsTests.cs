using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using FsCheck.Xunit;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

/// <summary>
/// The published data sets in their original forms. The expected counts and digests come from another program. Invented
/// excerpts stand in the repository; with NOLA_TEST_DATA naming a directory, the published files in it are read too.
/// </summary>
public sealed class DataSetsTests : IDisposable
{
    private static readonly string excerpts = Path.Combine(AppContext.BaseDirectory, "data", "sets");

    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    public static TheoryData<string, Expected> Sets()
    {
        TheoryData<string, Expected> rows = [];
        Add(excerpts, "excerpts.json");
        if (Environment.GetEnvironmentVariable("NOLA_TEST_DATA") is { Length: > 0 } published) Add(published, "published.json");
        return rows;

        void Add(string root, string list)
        {
            foreach (Expected row in JsonSerializer.Deserialize<Expected[]>(
                File.ReadAllText(Path.Combine(excerpts, list)), JsonSerializerOptions.Web)!)
                rows.Add(root, row);
        }
    }

    public void Dispose() => Directory.Delete(directory, recursive: true);

    [Theory]
    [MemberData(nameof(Sets))]
    public void A_set_has_the_counts_and_the_text_that_another_program_reads(string root, Expected expected)
    {
        TextPairs pairs = TextPairs.Read(Path.Combine(root, expected.Path), Enum.Parse<DataSubset>(expected.Subset, ignoreCase: true));
        Assert.Equal((expected.Pairs, expected.Contexts), (pairs.Count, pairs.Select(p => p.Context).Distinct().Count()));
        string text = string.Concat(pairs.Select(p => $"{p.Context}\n{p.Completion}\n"));
        Assert.Equal(expected.Sha256, Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text))));
        string lines = Path.Combine(directory, "a.jsonl");
        pairs.SaveLines(lines);
        Assert.Equal(pairs.Select(Content), TextPairs.Read(lines).Select(Content));
    }

    [Fact]
    public void The_embedded_sets_have_their_counts_and_no_input_in_two_splits()
    {
        Assert.Equal([42061, 4672, 4693], Counts("e2e"));
        Assert.Equal([4265, 408, 513], Counts("laptops"));
        HashSet<string>[] contexts =
            [.. EmbeddedData.Splits.Select(split => EmbeddedData.Laptops(split).Select(p => p.Context).ToHashSet())];
        Assert.Equal(5024, contexts.SelectMany(split => split).Distinct().Count());
        Assert.Equal(5024, contexts.Sum(split => split.Count));
        Assert.All(
            EmbeddedData.Names, set => Assert.Contains(TextPairs.Open(set + ":test"), pair => pair.Context == EmbeddedData.Prompt(set)));
        Assert.Contains("no split 'valid'", Assert.Throws<NolaException>(() => TextPairs.Open("laptops:valid")).Message);

        static int[] Counts(string set) => [.. EmbeddedData.Splits.Select(split => TextPairs.Open($"{set}:{split}").Count)];
    }

    [Property(MaxTest = 200)]
    public void Pairs_written_as_lines_are_read_back(string? context, string? completion, int[]? ids)
    {
        if (Broken(context) || Broken(completion)) return;
        TextPair pair = ids is { Length: > 0 }
            ? new("", completion!) { ContextIds = [.. ids.Select(i => i & int.MaxValue)], Category = "Food" }
            : new(context!, completion!) { Origin = "e2e" };
        string path = Path.Combine(directory, "b.jsonl");
        new TextPairs([pair, pair], "test").SaveLines(path);
        TextPairs read = TextPairs.Read(path);
        Assert.Equal(2, read.Count);
        Assert.All(read, back => Assert.Equal(Content(pair), Content(back)));
        Assert.All(read, back => Assert.Equal(pair.ContextIds, back.ContextIds));
    }

    [Fact]
    public void The_catalog_knows_sets_by_their_content_and_says_what_it_skipped()
    {
        File.WriteAllText(Path.Combine(directory, "mine.csv"), "prompt,completion\nHow far?,Nine miles.\n");
        File.WriteAllText(Path.Combine(directory, "e2e.csv"), "mr,ref\nname[The Heron],The Heron is here.\n");
        File.WriteAllText(Path.Combine(directory, "notes.txt"), "nothing of the kind\n");
        List<string> skipped = [];
        Assert.Equal(["e2e.csv e2e", "mine.csv "], Found(directory, skipped));
        Assert.Contains("notes.txt, line 1: there is no '||'", Assert.Single(skipped));
        skipped.Clear();
        Assert.Equal(
            ["dart/dart.json dart", "dart/dart.xml dart", "webnlg/test webnlg", "webnlg/test.json webnlg", "webnlg/train webnlg"],
            Found(excerpts, skipped));
        Assert.Equal(["excerpts.json", "published.json"], skipped.Select(s => Path.GetFileName(s.Split(": ")[0])));
        Assert.Equal([("train", 42061), ("dev", 4672), ("test", 4693)], DataCatalog.Embedded().Select(d => (d.Split, d.Pairs)));
        Assert.Contains(
            "no such directory",
            Assert.Throws<NolaException>(() => DataCatalog.Find(Path.Combine(directory, "none"), _ => { }).Count()).Message);

        static string[] Found(string root, List<string> skipped) =>
            [.. DataCatalog.Find(root, skipped.Add).Select(d => $"{Path.GetRelativePath(root, d.Path).Replace('\\', '/')} {d.Set?.Key}")];
    }

    [Fact]
    public void A_subset_that_is_not_there_gives_a_sentence()
    {
        Assert.Contains("no category here", Message(() => TextPairs.Read(Path.Combine(excerpts, "dart", "dart.json"), DataSubset.Seen)));
        Assert.Contains("no category here", Message(() => TextPairs.Open("e2e:dev", DataSubset.Unseen)));
        Assert.Contains(
            "train (unseen categories): the data set is empty",
            Message(() => TextPairs.Read(Path.Combine(excerpts, "webnlg", "train"), DataSubset.Unseen)));
        Assert.Contains("holds several splits (test, train)", Message(() => TextPairs.Read(Path.Combine(excerpts, "webnlg"))));
        Assert.Contains("splits are train, dev and test", Message(() => TextPairs.Open("e2e:valid")));
        File.WriteAllText(Path.Combine(directory, "a.xml"), "<benchmark><entries>\n<entry><lex>b</lex></entry></entries></benchmark>");
        Assert.Contains("line 2: the entry has no <modifiedtripleset>", Message(() => TextPairs.Read(Path.Combine(directory, "a.xml"))));

        static string Message(Action action) => Assert.Throws<NolaException>(action).Message;
    }

    private static (string, string, string, string) Content(TextPair pair) => (pair.Context, pair.Completion, pair.Category, pair.Origin);

    private static bool Broken(string? text) => text is null || text.EnumerateRunes().Any(r => r == Rune.ReplacementChar);

    public sealed record Expected(string Path, string Subset, int Pairs, int Contexts, string Sha256);
}
