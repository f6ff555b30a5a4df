using System.IO.Compression;
using System.Security.Cryptography;
using FsCheck.Xunit;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

public sealed class DataTests : IDisposable
{
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    public void Dispose() => Directory.Delete(directory, recursive: true);

    [Fact]
    public void The_embedded_E2E_is_the_published_one()
    {
        using (Stream archive = EmbeddedData.Archive())
            Assert.Equal(
                "1261064c01907af27e8cc39e0a29a81541f6ab69208c1cbfc1be95afbb49dfac", Convert.ToHexStringLower(SHA256.HashData(archive)));
        TextPairs train = EmbeddedData.E2E("train"), dev = EmbeddedData.E2E("dev"), test = EmbeddedData.E2E("test");
        Assert.Equal((42061, 4672, 4693), (train.Count, dev.Count, test.Count));
        Assert.Equal(630, test.Select(p => p.Context).Distinct().Count());
        Assert.Equal(
            "name : The Vaults | Type : pub | price : more than £30 | customer rating : 5 out of 5 | near : Café Adriatic",
            train[0].Context);
        Assert.Equal("The Vaults pub near Café Adriatic has a 5 star rating.  Prices start at £30.", train[0].Completion);
        Assert.Contains("train, dev and test", Assert.Throws<NolaException>(() => EmbeddedData.E2E("valid")).Message);
    }

    [Fact]
    public void Each_format_is_read()
    {
        const string Context = "A : b : C | A : d : E";
        string xml = """
            <benchmark><entries><entry>
              <modifiedtripleset><mtriple>A | b | C</mtriple><mtriple>A | d | E</mtriple></modifiedtripleset>
              <lex comment="good">x &amp; y</lex><lex comment="toFix">z</lex>
            </entry></entries></benchmark>
            """;
        Assert.Equal([(Context, "x & y")], Read("a.xml", xml));
        string webnlg = """
            {"entries":[{"1":{
              "modifiedtripleset":[{"subject":"A","property":"b","object":"C"},{"subject":"A","property":"d","object":"E"}],
              "lexicalisations":[{"comment":"good","lex":"x & y"},{"comment":"toFix","lex":"z"}]}}]}
            """;
        Assert.Equal([(Context, "x & y")], Read("a.json", webnlg));
        string dart =
            """[{"tripleset":[["A","B","C"],["A","D","E"]],"annotations":[{"source":"e2e","text":"x"},{"source":"webnlg","text":"y"}]}]""";
        Assert.Equal([(Context, "x"), (Context, "y")], Read("b.json", dart));
        Assert.Equal("e2e", TextPairs.Read(Path.Combine(directory, "b.json"))[0].Origin);
        Assert.Equal(
            [("p", "c"), ("q", "d")],
            Read("a.jsonl", """{"prompt":"p","completion":"c"}""" + "\n\n" + """{"context":"q","completion":"d"}"""));
        Assert.Equal(
            [("name : X, Y | family friendly : no", "He said \"hi\".\nTwice.")],
            Read("a.csv", "mr,ref\n\"name[X, Y], familyFriendly[no]\",\"He said \"\"hi\"\".\nTwice.\"\n"));
        Assert.Equal([("a", "b")], Read("b.csv", "completion,context\nb,a\n"));
        Assert.Equal([("a b ", "c d")], Read("a.txt", "a b ||c d \n"));
        string packed = Path.Combine(directory, "c.jsonl.gz");
        using (GZipStream zip = new(File.Create(packed), CompressionLevel.Fastest)) zip.Write("{\"context\":[1,2],\"completion\":[3]}"u8);
        TextPair ids = TextPairs.Read(packed)[0];
        Assert.Equal([1, 2], ids.ContextIds!);
        Assert.Equal([3], ids.CompletionIds!);
        Directory.CreateDirectory(Path.Combine(directory, "nlg", "1triples"));
        File.Move(Path.Combine(directory, "a.xml"), Path.Combine(directory, "nlg", "1triples", "a.xml"));
        Assert.Single(TextPairs.Read(Path.Combine(directory, "nlg")));
    }

    [Theory]
    [InlineData("a.jsonl", "{\"context\":\"a\",\"completion\":\"b\"}\n{\"context\":", "line 2: not valid JSON")]
    [InlineData("a.jsonl", "{\"context\":\"a\"}", "line 1: no \"completion\"")]
    [InlineData("a.jsonl", "{\"txt\":\"a\"}", "line 1: neither \"context\" nor \"prompt\"")]
    [InlineData("a.jsonl", "{\"context\":\"a\",\"completion\":[1.5]}", "line 1: \"completion\" is array")]
    [InlineData("a.jsonl", "[1]", "line 1: expected one JSON object")]
    [InlineData("a.jsonl", "\n\n", "the data set is empty")]
    [InlineData("a.csv", "mr,ref\n", "the data set is empty")]
    [InlineData("a.csv", "x,y\n1,2\n", "expected the columns")]
    [InlineData("a.csv", "mr,ref\nname[A],b\nname[A],b,c\n", "line 3: 3 fields")]
    [InlineData("a.csv", "mr,ref\nname A,b\n", "line 2: 'name A' is not a meaning representation")]
    [InlineData("a.csv", "mr,ref\nna\"me[A],b\n", "line 2: the quotes")]
    [InlineData("a.txt", "a||b\nc\n", "line 2: there is no '||'")]
    [InlineData("a.xml", "<benchmark>\n<a>", "line 2: not valid XML")]
    [InlineData("a.xml", "<other/>", "root element is <other>")]
    [InlineData(
        "a.xml",
        "<benchmark><entries><entry><modifiedtripleset>\n<mtriple>a</mtriple></modifiedtripleset>"
        + "<lex>b</lex></entry></entries></benchmark>",
        "line 2: 'a' is not a triple")]
    [InlineData("a.json", "{\"x\":1}", "neither DART's")]
    [InlineData("a.json", "{", "not valid JSON")]
    [InlineData("a.parquet", "x", "extension '.parquet' is not known")]
    [InlineData("a.txt.gz", "this is not compressed at all", "not a gzip file")]
    public void A_file_that_cannot_be_read_gives_a_sentence_with_its_line(string name, string content, string complaint)
    {
        NolaException error = Assert.Throws<NolaException>(() => Read(name, content));
        Assert.StartsWith(Path.Combine(directory, name), error.Message);
        Assert.Contains(complaint, error.Message);
    }

    [Fact]
    public void A_missing_file_gives_a_sentence() =>
        Assert.Contains("no such file", Assert.Throws<NolaException>(() => TextPairs.Read(Path.Combine(directory, "none.csv"))).Message);

    [Fact]
    public void Pairs_are_encoded_in_the_published_form()
    {
        PairEncoder encoder = new(Gpt2Tokenizer.Default, 512, 50257);
        EncodedPair pair = encoder.Encode(new TextPair("Hello", "world"));
        Assert.Equal([15496, 50256], pair.Context);
        Assert.Equal([995, 50256], pair.Completion);
        TokenStream stream = TokenStreams.FromPairs([pair, new EncodedPair([], [7, 8, 9])]);
        Assert.Equal([15496, 50256, 995, 7, 8], stream.Ids);
        Assert.Equal([0, 3, 5], stream.Starts);
        Assert.Equal([1, 2, 3, 4], stream.LossPositions);
        Assert.Equal([995, 50256, 8, 9], stream.Targets);
    }

    [Fact]
    public void A_pair_too_long_names_its_line_and_is_cut_only_when_asked()
    {
        TextPair pair = new("", "", "f, line 3") { ContextIds = [1, 2, 3, 4, 5], CompletionIds = [6, 7] };
        NolaException error = Assert.Throws<NolaException>(() => new PairEncoder(null, 4, 10).Encode(pair));
        Assert.StartsWith("f, line 3: the pair has 7 tokens and the model reads 5", error.Message);
        Assert.Contains("let contexts be cut from the left", error.Message);
        Assert.Equal(["Truncate"], error.Options);
        EncodedPair cut = new PairEncoder(null, 4, 10, truncate: true).Encode(pair);
        Assert.Equal([3, 4, 5], cut.Context);
        Assert.Equal([6, 7], cut.Completion);
        Assert.Contains(
            "outside the model's vocabulary of 7", Assert.Throws<NolaException>(() => new PairEncoder(null, 9, 7).Encode(pair)).Message);
        Assert.Contains(
            "empty", Assert.Throws<NolaException>(() => new PairEncoder(null, 9, 10).Encode(pair with { CompletionIds = [] })).Message);
    }

    [Fact]
    public void Plain_text_is_cut_into_windows_that_share_one_token()
    {
        string path = Path.Combine(directory, "t.txt");
        File.WriteAllText(path, "One two three.\n\nFour five.\n<|endoftext|>\nSix.\n");
        EncodedPair[] windows = PlainText.Read([path], Gpt2Tokenizer.Default, 4);
        int[] whole = [.. windows[0].Completion, .. windows.Skip(1).SelectMany(w => w.Completion.Skip(1))];
        Assert.Equal("One two three.\n\nFour five.\n<|endoftext|>Six.\n<|endoftext|>", Gpt2Tokenizer.Default.Decode(whole));
        Assert.Equal(Gpt2Tokenizer.Default.EndOfText, whole[^1]);
        Assert.All(windows, w => Assert.InRange(w.Completion.Length, 2, 5));
    }

    [Property(MaxTest = 40)]
    public void Batches_hold_every_sequence_once_within_the_budget(int seed)
    {
        Random r = new(seed);
        EncodedPair[] pairs = TinyModels.Pairs(r, 1 + r.Next(3000), 50, 40);
        int budget = 20 + r.Next(300), most = r.Next(2) * (1 + r.Next(20));
        Batches batches = new(pairs, budget, most, (ulong)seed);
        List<int[]> epoch = batches.Epoch(3);
        Assert.Equal(Enumerable.Range(0, pairs.Length), epoch.SelectMany(b => b).Order());
        Assert.All(epoch, b => Assert.True(b.Length == 1 || b.Sum(i => pairs[i].Length - 1) <= budget));
        if (most > 0) Assert.All(epoch, b => Assert.InRange(b.Length, 1, most));
        Assert.Equal(epoch, new Batches(pairs, budget, most, (ulong)seed).Epoch(3));
        if (pairs.Length > 50) Assert.NotEqual(epoch.SelectMany(b => b), batches.Epoch(4).SelectMany(b => b));
        Assert.Equal(Enumerable.Range(0, pairs.Length), new Batches(pairs, budget, most, 0, shuffle: false).Epoch(0).SelectMany(b => b));
    }

    [Fact]
    public void On_E2E_the_budget_is_used()
    {
        EncodedPair[] pairs = new PairEncoder(Gpt2Tokenizer.Default, 512, 50257).Encode(EmbeddedData.E2E("dev"));
        List<int[]> epoch = new Batches(pairs, 2048, 0, 1).Epoch(0);
        double used = pairs.Sum(p => p.Length - 1.0) / (2048.0 * epoch.Count);
        Assert.InRange(used, 0.95, 1);
    }

    private (string, string)[] Read(string name, string content)
    {
        string path = Path.Combine(directory, name);
        File.WriteAllText(path, content);
        return [.. TextPairs.Read(path).Select(p => (p.Context, p.Completion))];
    }
}
