using Nola.Tensors;
using Nola.Train.Metrics;
using Xunit;

namespace Nola.Tests;

/// <summary>Files of hypotheses and references, WordNet and paraphrases: what is read, and what is refused how.</summary>
public sealed class CorpusTests : IDisposable
{
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    public void Dispose() => Directory.Delete(directory, recursive: true);

    [Fact]
    public void References_come_in_groups_or_in_columns()
    {
        string hypotheses = Write("hyp", "a\r\nb\r\nc\n");
        string groups = Write("groups", "\nx\ny\n\n\nz\n \nu\nv\nw\n\n"), single = Write("single", "x\ny\nz");
        Corpus grouped = Corpus.Read([groups], hypotheses);
        Assert.Equal(["a", "b", "c"], grouped.Hypotheses);
        Assert.Equal([["x", "y"], ["z"], ["u", "v", "w"]], grouped.References);
        Assert.Equal((ReferenceForm.Groups, 6, "1-3"), (grouped.Form, grouped.ReferenceCount, grouped.ReferenceRange));
        Assert.Equal([["x"], ["y"], ["z"]], Corpus.Read([single], hypotheses).References);
        // The second file ends with blank lines, the last of them not ended.
        Corpus columns = Corpus.Read([single, Write("second", "p\n\n")], hypotheses);
        Assert.Equal([["x", "p"], ["y"], ["z"]], columns.References);
        Assert.Equal([["x", "p"], ["y", ""], ["z", ""]], columns.AllReferences);
        Assert.Equal(ReferenceForm.Columns, columns.Form);
        Assert.Equal([["x", "y", "z"]], Corpus.Read([single], Write("one", "a")).References);
    }

    // Expected values are Python 3.11's, of gpt2_decode.py's post_process.
    [Theory]
    [InlineData(
        "The Eagle, a 3-star caf\u00e9 (near \"Burger King\") costs \u00a320\u201325.",
        "the eagle , a 3 - star caf\u00e9 ( near \" burger king \" ) costs \u00a3 20 \u2013 25 .")]
    [InlineData("under_score isn't split", "under_score isn ' t split")]
    [InlineData("\u00bd of x\u00b2 is 5.5m\u00b2\u00a0tall", "\u00bd of x\u00b2 is 5 . 5m\u00b2 tall")]
    [InlineData(
        "\u039f\u0394\u03a5\u03a3\u03a3\u0395\u03a5\u03a3 and \u0130stanbul, \ud835\udcb3 \ud801\udc00",
        "\u03bf\u03b4\u03c5\u03c3\u03c3\u03b5\u03c5\u03c2 and i \u0307 stanbul , \ud835\udcb3 \ud801\udc28")]
    [InlineData("e\u0301cole\ttab\u3000wide 12:30", "e \u0301 cole tab wide 12 : 30")]
    [InlineData("\u65e5\u672c \u2167 \u0663", "\u65e5\u672c \u2177 \u0663")]
    [InlineData("  ", "")]
    public void Texts_are_put_into_the_published_form_on_both_sides(string text, string expected)
    {
        Assert.Equal(expected, TextForm.Published.Of(text));
        Assert.Equal(text, default(TextForm).Of(text));
        Corpus corpus = new([text], [["X."]], allowEmpty: true, text: TextForm.Published);
        Assert.Equal((expected, "x ."), (corpus.Hypotheses[0], corpus.References[0][0]));
        Assert.Contains("nrefs:1|text:lower+tokenize|", Scorer.Score(corpus, new() { Metrics = ["BLEU"] })[0].Signature.ToString());
        Assert.DoesNotContain("text:", Scorer.Score(new(["a"], [["x"]]), new() { Metrics = ["BLEU"] })[0].Signature.ToString());
    }

    [Fact]
    public void What_cannot_be_scored_is_refused_with_a_sentence()
    {
        string two = Write("two", "a\nb\n"), three = Write("three", "x\ny\nz\n");
        string gap = Write("gap", "a\n\n"), nothing = Write("nothing", "");
        Refuses("three has 3 references but", () => Corpus.Read([three], two));
        Refuses("two has 2 lines but", () => Corpus.Read([two, Write("short", "a")], three));
        Refuses("short has 1 lines but", () => Corpus.Read([three, Path.Combine(directory, "short")], three));
        Refuses("gap: line 2 is empty", () => Corpus.Read([two], gap));
        Refuses("nothing: there is no hypothesis", () => Corpus.Read([two], nothing));
        Refuses("nothing: there is no reference", () => Corpus.Read([nothing], two));
        Refuses("line 2 is blank in all of them", () => Corpus.Read([gap, gap], two));
        Refuses("there is no such file", () => Corpus.Read([Path.Combine(directory, "absent")], two));
        Refuses("not a gzip file", () => Corpus.Read([Write("x.gz", "plain")], two));
        Refuses("Hypothesis 1 is empty", () => new Corpus([" "], [["x"]]));
        Refuses("2 hypotheses but references for 1", () => new Corpus(["a", "b"], [["x"]]));
        Refuses("has no reference", () => new Corpus(["a"], [["", " "]]));
        Refuses("did you mean 'BLEU'", () => Scorer.Score(new(["a"], [["x"]]), new() { Metrics = ["BLUE"] }));
        Assert.Equal(["a", ""], Corpus.Read([two], gap, allowEmpty: true).Hypotheses);
    }

    [Fact]
    public void WordNet_is_read_in_its_own_form_and_in_METEORs()
    {
        string own = Path.Combine(directory, "home", "dict"), meteor = Path.Combine(directory, "synonym");
        Directory.CreateDirectory(own);
        Directory.CreateDirectory(meteor);
        foreach (string part in new[] { "noun", "verb", "adj", "adv" })
        {
            File.WriteAllText(Path.Combine(own, "index." + part), "  1 license\n");
            File.WriteAllText(Path.Combine(own, part + ".exc"), "");
        }
        File.AppendAllText(
            Path.Combine(own, "index.noun"),
            "child n 2 1 @ 2 1 00000010 00000020  \nkid n 1 1 @ 1 0 00000010  \nman n 1 0 1 0 00000030  \n");
        File.AppendAllText(Path.Combine(own, "index.verb"), "child v 1 0 1 0 00000040\nserve v 1 0 1 0 00000050\n");
        File.WriteAllText(Path.Combine(own, "noun.exc"), "children child\n");
        File.WriteAllText(
            Path.Combine(meteor, "english.synsets"), "child\n00000010 00000020 00000040\nkid\n00000010\nman\n00000030\nserve\n50\n");
        File.WriteAllText(Path.Combine(meteor, "english.exceptions"), "child\nchildren\n");
        foreach (WordNet words in new[] { WordNet.Read(own), WordNet.Read(Path.Combine(directory, "home")), WordNet.Read(meteor) })
        {
            Assert.Equal(4, words.Count);
            Assert.Equal([10, 20, 40], words.Sets("children").Order());
            Assert.Equal([10], words.Sets("kids"));
            Assert.Equal([30], words.Sets("men"));
            Assert.Equal([50], words.Sets("serving"));
            Assert.Empty(words.Sets("pub"));
        }
    }

    [Fact]
    public void A_WordNet_or_a_table_that_is_not_one_is_refused_with_a_sentence()
    {
        string absent = Path.Combine(directory, "absent");
        Refuses("there is no such WordNet directory", () => WordNet.Read(absent));
        Refuses("there is no such file, but a WordNet directory has it", () => WordNet.Read(directory));
        Write("english.synsets", "child\nx\n");
        Refuses("line 2: 'x' is not the offset", () => WordNet.Read(directory));
        Write("english.synsets", "child\n10\nkid\n");
        Refuses("'kid' has no line after it", () => WordNet.Read(directory));
        File.Delete(Path.Combine(directory, "english.synsets"));
        Write("index.noun", "child n\n");
        Refuses("not a line of a WordNet index", () => WordNet.Read(directory));
        Refuses("there is no such paraphrase table", () => ParaphraseTable.Read(absent));
        Refuses(
            "line 5: pair 2 of the paraphrase table has no words on one side",
            () => ParaphraseTable.Read(Write("table", "0.1\na\nb\n0.2\n \nc\n")));
        Refuses("ends within pair 2", () => ParaphraseTable.Read(Write("table", "0.1\na\nb\n0.2\nc\n")));
        Refuses(
            "there is no such WordNet directory",
            () => Scorer.Score(new(["a"], [["x"]]), new() { Metrics = ["METEOR"], WordNet = absent }));
    }

    private static void Refuses(string complaint, Func<object> action)
    {
        string message = Assert.Throws<NolaException>(action).Message;
        Assert.Contains(complaint, message);
        Assert.EndsWith(".", message);
    }

    private string Write(string name, string text)
    {
        string path = Path.Combine(directory, name);
        File.WriteAllText(path, text);
        return path;
    }
}
