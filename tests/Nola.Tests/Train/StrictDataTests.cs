using System.IO.Compression;
using System.Text;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Nola.Train.Metrics;
using Xunit;

namespace Nola.Tests;

/// <summary>What is wrong in a file of data is refused with file and line, never read as something else.</summary>
public sealed class StrictDataTests : IDisposable
{
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    public void Dispose() => Directory.Delete(directory, recursive: true);

    [Theory]
    [InlineData("a.csv", "context,completion\ncaf\u00e9,b\n", "line 2")]
    [InlineData("a.tsv", "context\tcompletion\na\tb\nc\td\u00e9\n", "line 3")]
    [InlineData("a.txt", "a||b\nc\u00e9||d\n", "line 2")]
    [InlineData(
        "a.jsonl", "{\"context\":\"a\",\"completion\":\"b\",\"text\":\"\"}\n{\"context\":\"\u00e9\",\"completion\":\"b\"}", "line 2")]
    [InlineData("a.json", "[\n{\"context\":\"\u00e9\",\"completion\":\"b\"}]", "line 2")]
    [InlineData("a.xml", "<benchmark>\n<entries>\u00e9</entries></benchmark>", "line 2")]
    [InlineData("b.txt.gz", "a||b\nc\u00e9||d\n", "line 2")]
    public void Text_that_is_not_UTF8_is_refused_in_every_form(string name, string latin, string line)
    {
        string path = Path.Combine(directory, name);
        byte[] bytes = Encoding.Latin1.GetBytes(latin);
        if (name.EndsWith(".gz", StringComparison.Ordinal))
        {
            using GZipStream zip = new(File.Create(path), CompressionLevel.Fastest);
            zip.Write(bytes);
        }
        else File.WriteAllBytes(path, bytes);
        string expected = $"{path}, {line}: not valid UTF-8 (byte E9); save the file as UTF-8.";
        Assert.Equal(expected, Assert.Throws<NolaException>(() => TextPairs.Read(path)).Message);
        Assert.Equal(expected, Assert.Throws<NolaException>(() => Prompts.Read(path)).Message);
        Assert.Equal(expected, Assert.Throws<NolaException>(() => PlainText.Read([path], Gpt2Tokenizer.Default, 8)).Message);
        Assert.Equal(expected, Assert.Throws<NolaException>(() => Corpus.Read([path], Write("hyp", "a\nb\n"u8.ToArray()))).Message);
        Assert.Equal(expected, Assert.Throws<NolaException>(() => Corpus.Read([Write("ref", "a\nb\n"u8.ToArray())], path)).Message);
    }

    [Fact]
    public void Blank_lines_without_end_are_no_text()
    {
        string path = Path.Combine(directory, "blank.txt");
        File.WriteAllText(path, "One.\n" + new string('\n', 1_000_001) + "Two.");
        string message = Assert.Throws<NolaException>(() => PlainText.Read([path], Gpt2Tokenizer.Default, 8)).Message;
        Assert.Equal($"{path}: has more than 1000000 blank lines in a row; is it a text?", message);
        File.WriteAllText(path, "One.\n" + new string('\n', 1000) + "Two.");
        EncodedPair[] windows = PlainText.Read([path], Gpt2Tokenizer.Default, 2000);
        string whole = Gpt2Tokenizer.Default.Decode(windows[0].Completion);
        Assert.Equal("One.\n" + new string('\n', 1000) + "Two.\n<|endoftext|>", whole);
    }

    [Fact]
    public void METEORs_tables_that_are_not_UTF8_are_refused()
    {
        Assert.Contains(
            "table, line 3: not valid UTF-8 (byte E9)",
            Message(() => ParaphraseTable.Read(Write("table", Encoding.Latin1.GetBytes("0.1\na\ncaf\u00e9\n")))));
        Write("english.synsets", Encoding.Latin1.GetBytes("child\n10\ncaf\u00e9\n10\n"));
        Assert.Contains("english.synsets, line 3: not valid UTF-8 (byte E9)", Message(() => WordNet.Read(directory)));
    }

    [Theory]
    [InlineData("a.txt", "a||b\nc||d||e\n", "line 2: '||' is there 2 times; expected context||completion")]
    [InlineData("a.txt", "a||b\n||d||\n", "line 2: '||' is there 2 times")]
    [InlineData("a.csv", "context,completion,completion\na,b,c\n", "the column 'completion' is there twice")]
    [InlineData("a.csv", "context,Context\na,b\n", "the column 'context' is there twice")]
    [InlineData("a.csv", "id,mr,id,ref\n1,name[A],2,b\n", "the column 'id' is there twice")]
    [InlineData("a.csv", "context,prompt,completion\na,b,c\n", "both \"context\" and \"prompt\" are there")]
    [InlineData("a.csv", "mr,ref,output\nname[A],b,c\n", "both \"ref\" and \"output\" are there")]
    [InlineData(
        "a.jsonl", "{\"prompt\":\"a\",\"prompt\":\"z\",\"completion\":\"b\"}", "line 1: not valid JSON (the key 'prompt' is there twice)")]
    [InlineData(
        "a.json",
        "[{\"prompt\":\"a\",\"completion\":\"b\"},\n{\"prompt\":\"a\",\"completion\":\"b\",\"completion\":\"c\"}]",
        "the key 'completion' is there twice")]
    [InlineData(
        "a.jsonl", "{\"prompt\":\"a\",\"context\":\"z\",\"completion\":\"b\"}", "line 1: both \"prompt\" and \"context\" are there")]
    [InlineData("a.jsonl", "{\"prompt\":\"a\",\"response\":\"z\",\"output\":\"b\"}", "line 1: both \"response\" and \"output\" are there")]
    [InlineData(
        "a.jsonl",
        "{\"prompt\":\"a\",\"completion\":\"z\",\"messages\":[]}",
        "line 1: both \"messages\" and \"prompt\" with \"completion\" are there")]
    public void What_says_two_things_is_refused(string name, string text, string complaint) => Refuses(name, text, complaint);

    [Theory]
    [InlineData("{\"prompt\":null,\"completion\":\"x\"}", "\"prompt\" is null; expected text or an array of token ids")]
    [InlineData("{\"prompt\":\"a\",\"completion\":5}", "\"completion\" is number; expected text or an array of token ids")]
    [InlineData("{\"prompt\":\"a\",\"completion\":null}", "\"completion\" is null; expected text")]
    [InlineData("{\"prompt\":\"a\",\"completion\":true}", "\"completion\" is true or false; expected text")]
    [InlineData(
        "{\"prompt\":\"a\",\"completion\":[1,-2]}",
        "\"completion\" is array; expected text or an array of token ids, whole numbers from 0")]
    [InlineData("{\"prompt\":\"a\",\"completion\":[1,99999999999]}", "\"completion\" is array")]
    [InlineData("{\"prompt\":\"a\"}", "no \"completion\" is there beside \"prompt\"")]
    [InlineData("{\"completion\":\"a\"}", "neither \"context\" nor \"prompt\"")]
    [InlineData("{\"completion\":\"a\",\"text\":\"b\"}", "neither \"context\" nor \"prompt\"")]
    [InlineData("{\"text\":7}", "\"text\" is number; expected text")]
    [InlineData("{\"mr\":[1],\"ref\":\"b\"}", "\"mr\" is array; expected text")]
    [InlineData("{\"mr\":\"name[\",\"ref\":\"b\"}", "'name[' is not a meaning representation")]
    [InlineData("{\"instruction\":\"a\",\"input\":3,\"output\":\"b\"}", "\"input\" is number; expected text")]
    [InlineData("{\"messages\":\"hi\"}", "\"messages\" is string; expected an array")]
    [InlineData("{\"messages\":[]}", "\"messages\" is empty array; expected an array of {\"role\"")]
    [InlineData(
        "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}",
        "the last message is the user's; a conversation to learn from ends with the assistant's")]
    [InlineData(
        "{\"messages\":[{\"role\":\"tool\",\"content\":\"a\"}]}", "message 1: the role is 'tool'; expected system, user, assistant")]
    [InlineData(
        "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":null}]}",
        "message 2: \"content\" is null; expected text")]
    [InlineData("{\"messages\":[{\"role\":\"user\"}]}", "message 1: there is no \"content\"")]
    [InlineData("{\"messages\":[\"hi\"]}", "message 1: is string; expected an object")]
    [InlineData("{\"prompt\":\"a\",\"completion\":\"broken \\ud83d emoji\"}", "lone surrogate")]
    public void A_row_without_what_it_needs_names_its_field(string row, string complaint)
    {
        const string Good = "{\"prompt\":\"a\",\"completion\":\"b\"}";
        bool half = complaint.StartsWith("lone", StringComparison.Ordinal);
        bool message = complaint.StartsWith("message ", StringComparison.Ordinal);
        string mark = message ? ", " : ": ";
        Refuses(
            "a.jsonl",
            $"{Good}\n\n{row}\n",
            half ? "line 3: not valid JSON (a string has half of a character, a lone surrogate" : $"line 3{mark}{complaint}");
        Refuses("a.json", $"[{Good},{row}]", half ? complaint : $"entry 2{mark}{complaint}");
    }

    [Theory]
    [InlineData(
        """[{"tripleset":[["a","b"]],"annotations":[{"source":"x","text":"t"}]}]""",
        "entry 1: a triple has 2 of three parts; expected an array of subject, relation and object")]
    [InlineData("""[{"tripleset":[["a","b","c","d"]],"annotations":[]}]""", "entry 1: a triple has 4 of three parts")]
    [InlineData("""[{"tripleset":[["a",null,"c"]],"annotations":[]}]""", "entry 1: the relation of a triple is null; expected text")]
    [InlineData("""[{"tripleset":[["a","b",3]],"annotations":[]}]""", "entry 1: the object of a triple is number; expected text")]
    [InlineData("""[{"tripleset":["abc"],"annotations":[]}]""", "entry 1: a triple is string")]
    [InlineData("""[{"tripleset":{},"annotations":[]}]""", "entry 1: \"tripleset\" is object; expected an array")]
    [InlineData("""[{"tripleset":[["a","b","c"]]}]""", "entry 1: there is no \"annotations\"")]
    [InlineData("""[{"tripleset":[["a","b","c"]],"annotations":[null]}]""", "entry 1: is null; expected an object with \"text\"")]
    [InlineData(
        """[{"tripleset":[["a","b","c"]],"annotations":[{"source":"x","text":null}]}]""", "entry 1: \"text\" is null; expected text")]
    [InlineData("""[{"tripleset":[["a","b","c"]],"annotations":[{"text":"t"}]}]""", "entry 1: there is no \"source\"")]
    [InlineData("""[{"tripleset":[],"annotations":[]},4]""", "entry 2: is number; expected an object with \"tripleset\"")]
    [InlineData("""{"entries":{}}""", "\"entries\" is object; expected an array")]
    [InlineData("""{"entries":[5]}""", "an entry is number; expected an object")]
    [InlineData("""{"entries":[{"7":[]}]}""", "entry 7: is empty array; expected an object with \"modifiedtripleset\"")]
    [InlineData("""{"entries":[{"7":{"modifiedtripleset":[{"subject":1}]}}]}""", "entry 7: \"subject\" is number; expected text")]
    [InlineData(
        """{"entries":[{"7":{"modifiedtripleset":[],"category":[],"lexicalisations":[]}}]}""",
        "entry 7: \"category\" is empty array; expected text")]
    [InlineData(
        """{"entries":[{"7":{"modifiedtripleset":[],"lexicalisations":[{"comment":"good","lex":null}]}}]}""",
        "entry 7: \"lex\" is null; expected text")]
    [InlineData("42", "neither DART's JSON")]
    [InlineData("null", "neither DART's JSON")]
    [InlineData("[1]", "neither DART's JSON")]
    [InlineData("""[{"x":1}]""", "nor an array of pairs such as {\"context\": …, \"completion\": …}")]
    [InlineData(
        """[{"prompt":"a","completion":"b"},1]""",
        "entry 2: expected one JSON object such as {\"context\": …, \"completion\": …}, and this is number")]
    public void Published_JSON_of_another_shape_names_what_is_wrong(string json, string complaint) => Refuses("a.json", json, complaint);

    [Fact]
    public void Json_that_is_nested_without_end_is_refused_at_once()
    {
        Refuses("a.jsonl", string.Concat(Enumerable.Repeat("{\"context\":", 100_000)), "line 1: not valid JSON");
        Refuses("a.json", new string('[', 1_000_000), "not valid JSON");
    }

    [Theory]
    [InlineData(
        "<?xml version=\"1.0\"?>\n<!DOCTYPE benchmark [<!ENTITY x SYSTEM "
        + "\"file:///etc/hostname\">]>\n<benchmark><lex>&x;</lex></benchmark>",
        "line 2: has a document type (<!DOCTYPE>)")]
    [InlineData("<?xml version=\"1.0\"?><!DOCTYPE benchmark SYSTEM \"evil.dtd\"><benchmark/>", "line 1: has a document type")]
    [InlineData(
        "<!-- a -->\n\n<!DOCTYPE\nbenchmark [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]>\n<benchmark>&b;</benchmark>",
        "line 3: has a document type")]
    [InlineData("<benchmark>\n<entries>&x;</entries></benchmark>", "line 2: not valid XML")]
    [InlineData(
        "<benchmark><entries><entry>\n<entry/></entry></entries></benchmark>", "line 2: an <entry> begins within the one of line 1")]
    [InlineData("<benchmark><entries><entry><modifiedtripleset>\n<mtriple>a | b &amp c | "
        + "d</mtriple></modifiedtripleset></entry></entries></benchmark>", "line 2: not valid XML")]
    [InlineData(
        "<benchmark><entries><entry>\n<lex>leeks &amp; barley &amq; thyme</lex></entry></entries></benchmark>", "line 2: not valid XML")]
    [InlineData("<benchmark><entries><entry>\n<lex>cut off &am", "line 2: not valid XML")]
    [InlineData("<benchmark><entries><entry><modifiedtripleset>\n<mtriple>cut off", "line 2: not valid XML")]
    [InlineData("", "not valid XML")]
    public void Xml_with_a_document_type_or_entities_of_its_own_is_refused(string xml, string complaint) =>
        Refuses("a.xml", xml, complaint);

    [Fact]
    public void A_document_type_after_a_hundred_lines_is_refused_all_the_same() =>
        Refuses(
            "a.xml",
            $"<!--{new string('\n', 150)}-->\n<!DOCTYPE benchmark [<!ENTITY x \"y\">]><benchmark>&x;</benchmark>",
            "has a document type");

    [Theory]
    [InlineData("<benchmark>")]
    [InlineData("<benchmark><entries><entry><modifiedtripleset><mtriple>a | b | c</mtriple></modifiedtripleset><lex>")]
    [InlineData("<benchmark><entries><entry><modifiedtripleset>")]
    public void Xml_that_is_nested_without_end_is_refused_at_once(string start)
    {
        System.Diagnostics.Stopwatch clock = System.Diagnostics.Stopwatch.StartNew();
        Refuses(
            "a.xml", start + string.Concat(Enumerable.Repeat("<a>", 1_000_000)), "line 1: elements are nested more than 64 deep");
        // Time that grows with the square of the depth would be hours.
        Assert.InRange(clock.Elapsed.TotalSeconds, 0, 60);
    }

    [Fact]
    public void Xml_is_read_as_before_the_limits()
    {
        string xml = """
            <?xml version="1.0" encoding="UTF-8"?>
            <benchmark>
              <entries>
                <entry category="Food" eid="Id1">
                  <lex comment="good" lid="Id1">before
            the <b>triples</b> &amp; <![CDATA[<!DOCTYPE>]]></lex>
                  <originaltripleset><otriple>x | y | z</otriple></originaltripleset>
                  <modifiedtripleset><mtriple>A | b | C | D</mtriple><mtriple> E | f | G </mtriple></modifiedtripleset>
                  <modifiedtripleset><mtriple>not | this | one</mtriple></modifiedtripleset>
                  <lex comment="toFix">no</lex>
                  <lex/>
                </entry>
              </entries>
            </benchmark>
            """.ReplaceLineEndings("\n");
        TextPairs pairs = TextPairs.Read(Write("a.xml", Encoding.UTF8.GetBytes(xml)));
        Assert.Equal(["A : b : C | D | E : f : G", "A : b : C | D | E : f : G"], pairs.Select(p => p.Context));
        Assert.Equal(["before\nthe triples & <!DOCTYPE>", ""], pairs.Select(p => p.Completion));
        Assert.Equal(("Food", "line 4"), (pairs[0].Category, pairs[0].Place.Split(", ")[1]));
    }

    [Theory]
    [InlineData("context,completion\na,b\nc,\"d\ne,f\ng,h\n", "line 3: the quote that opens field 2 is never closed")]
    [InlineData("context,completion\n\"a,b\n", "line 2: the quote that opens field 1 is never closed")]
    [InlineData(
        "context,completion\n\n\r\nx,y\r\na,\"d\ne,\"f\"\n",
        "line 5: the quotes of a field do not fit (the one that opens field 2 here closes on line 6)")]
    [InlineData("context,completion\na,\"b\" c\n", "line 2: the quotes of a field do not fit; write")]
    [InlineData("context,completion\n\"x\ny\",z\na,b\"c\"\n", "line 4: the quotes of a field do not fit; write")]
    [InlineData(
        "context,completion\n\"x\ny\",z\n\"p\nq\",r,s\n", "line 4: 3 fields where the header has 2; quote fields that hold a comma")]
    [InlineData("context;completion\na;b;c\n", "line 2: 3 fields where the header has 2; quote fields that hold a semicolon")]
    public void Quotes_that_do_not_fit_name_the_line_that_they_open_on(string csv, string complaint) => Refuses("a.csv", csv, complaint);

    [Fact]
    public void A_quote_that_never_closes_does_not_take_the_whole_file()
    {
        string path = Path.Combine(directory, "a.csv.gz");
        using (StreamWriter file = new(new GZipStream(File.Create(path), CompressionLevel.Fastest)))
        {
            file.Write("context,completion\na,\"");
            Random random = new(1);
            for (int i = 0; i < 400_000; i++) file.Write($"{random.NextInt64()} {random.NextInt64()} {random.NextInt64()}\n");
        }
        Assert.Contains("line 2: field 2 begins here and has more than 8 Mi characters", Message(() => TextPairs.Read(path)));
    }

    [Fact]
    public void Files_of_references_that_are_too_short_or_long_are_refused()
    {
        string three = Write("hyp", "a\nb\nc\n"u8.ToArray());
        Corpus whole = Corpus.Read([Write("r1", "x\ny\nz\n"u8.ToArray()), Write("r2", "p\n\n\n"u8.ToArray())], three);
        Assert.Equal([["x", "p"], ["y"], ["z"]], whole.References);
        Columns("x\ny\nz\n", "p\nq\n", 2);
        Columns("x\ny\nz\n", "p\n\n", 2);
        Columns("x\ny\nz", "p\nq", 2);
        Columns("x\ny\nz", "p\nq\n", 2);
        Columns("x\ny\nz\n", "p\nq\nr\ns\n", 4);
        Columns("x\ny\nz\n", "p\nq\nr\n\n", 4);
        // Joined lines with a blank last: what GenerationEval's files look like.
        Assert.Equal(
            [["x", "p"], ["y"], ["z"]],
            Corpus.Read([Write("r1", "x\ny\nz"u8.ToArray()), Write("r2", "p\n\n"u8.ToArray())], three).References);
        Assert.Contains("r1 has 2 references but", Message(() => Corpus.Read([Write("r1", "x\ny\n"u8.ToArray())], three)));
        Assert.Contains("r1 has 2 groups of references but", Message(() => Corpus.Read([Write("r1", "x\nw\n\ny\n"u8.ToArray())], three)));

        void Columns(string first, string second, int lines)
        {
            string message = Message(
                () => Corpus.Read([Write("r1", Encoding.UTF8.GetBytes(first)), Write("r2", Encoding.UTF8.GetBytes(second))], three));
            Assert.StartsWith($"{Path.Combine(directory, "r2")} has {lines} lines but {three} has 3 hypotheses", message);
        }
    }

    private void Refuses(string name, string text, string complaint)
    {
        string path = Write(name, Encoding.UTF8.GetBytes(text)), message = Message(() => TextPairs.Read(path));
        Assert.StartsWith(path, message);
        Assert.Contains(complaint, message);
        Assert.Matches("[.?]$", message);
        Assert.InRange(message.Length, 1, 399);
    }

    private static string Message(Action action) => Assert.Throws<NolaException>(action).Message;

    private string Write(string name, byte[] bytes)
    {
        string path = Path.Combine(directory, name);
        File.WriteAllBytes(path, bytes);
        return path;
    }
}
