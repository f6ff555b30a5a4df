using System.IO.Compression;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

public sealed class PromptsTests : IDisposable
{
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    public void Dispose() => Directory.Delete(directory, recursive: true);

    [Fact]
    public void The_test_set_of_E2E_has_630_inputs()
    {
        IReadOnlyList<TextPair> inputs = Prompts.Distinct(EmbeddedData.E2E("test"));
        Assert.Equal(630, inputs.Count);
        Assert.Equal("name : Blue Spice | Type : coffee shop | area : city centre", inputs[0].Context);
    }

    [Fact]
    public void Every_form_gives_its_distinct_contexts_in_order()
    {
        Assert.Equal(["b", "a"], Contexts("x.txt", "b||one\na\n\n  b  \n"));
        Assert.Equal(["b", "a"], Contexts("x.csv", "prompt\nb\na\nb\n"));
        Assert.Equal(["b", "a"], Contexts("y.csv", "context,completion\nb,1\na,2\nb,3\n"));
        Assert.Equal(["name : A | price : low"], Contexts("z.csv", "MR\n\"name[A], priceRange[low]\"\n"));
        Assert.Equal(["b", "", "a"], Contexts("x.jsonl", """
            {"context": "b"}
            {"prompt": [1, 2], "completion": "c"}
            {"prompt": "a", "completion": "c"}
            {"context": [1, 2]}
            """));
        Assert.Equal(
            ["A : b : C"],
            Contexts(
                "x.json",
                """[{"tripleset": [["A", "B", "C"]], "annotations": [{"text": "t", "source": "s"}, {"text": "u", "source": "s"}]}]"""));
        string packed = Path.Combine(directory, "x.txt.gz");
        using (GZipStream stream = new(File.Create(packed), CompressionMode.Compress)) stream.Write("b\na\nb\n"u8);
        Assert.Equal(["b", "a"], Prompts.Read(packed).Select(p => p.Context));
        Assert.Equal([1, 2], Prompts.Read(Path.Combine(directory, "x.jsonl"))[1].ContextIds!);
    }

    [Theory]
    [InlineData("x.txt", "\n \n", "the data set is empty")]
    [InlineData("x.csv", "a,b\n1,2\n", "the header is 'a,b'")]
    [InlineData("x.jsonl", "{\"completion\":\"c\"}", "line 1: neither \"context\" nor \"prompt\"")]
    [InlineData("x.md", "a", "the extension '.md' is not known")]
    [InlineData("x.txt.gz", "plain text, not packed", "not a gzip file")]
    public void What_cannot_be_read_is_named(string name, string text, string complaint) =>
        Assert.Contains(complaint, Assert.Throws<NolaException>(() => Contexts(name, text)).Message);

    [Fact]
    public void Training_data_still_need_completions()
    {
        Assert.Contains(
            "the header is 'prompt'", Assert.Throws<NolaException>(() => TextPairs.Read(Write("x.csv", "prompt\nb\n"))).Message);
        Assert.Contains(
            "no \"completion\"", Assert.Throws<NolaException>(() => TextPairs.Read(Write("x.jsonl", """{"context": "b"}"""))).Message);
    }

    private string[] Contexts(string name, string text) => [.. Prompts.Read(Write(name, text)).Select(p => p.Context)];

    private string Write(string name, string text)
    {
        string path = Path.Combine(directory, name);
        File.WriteAllText(path, text);
        return path;
    }
}
