using System.Diagnostics;
using System.Globalization;
using System.Text;
using FsCheck;
using FsCheck.Xunit;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

/// <summary>The forms that data come in, what each gives, and how one is told from another.</summary>
public sealed class DataFormTests : IDisposable
{
    private const string WithInput = "Below is an instruction that describes a task, paired with an input that provides further context. "
        + "Write a response that appropriately completes the request.\n\n### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:";

    private const string WithoutInput =
        "Below is an instruction that describes a task. Write a response that appropriately completes the request."
            + "\n\n### Instruction:\nSing.\n\n### Response:";

    private const string Short = """{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}""";
    private const string Long = """{"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}, """
        + """{"role": "assistant", "content": "Hello"}, {"role": "user", "content": "Who?"}, """
        + """{"role": "assistant", "content": "Me"}]}""";

    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    public void Dispose() => Directory.Delete(directory, recursive: true);

    [Fact]
    public void An_array_of_objects_is_a_data_set()
    {
        Assert.Equal(
            [("a", "b"), ("c", "d")], Read("a.json", """[{"context": "a", "completion": "b"}, {"prompt": "c", "completion": "d"}]"""));
        TextPair ids = TextPairs.Read(Write("b.json", """[{"context": [1, 2], "completion": [3], "category": "Food"}]"""))[0];
        Assert.Equal([1, 2], ids.ContextIds!);
        Assert.Equal([3], ids.CompletionIds!);
        Assert.Equal(("Food", "entry 1"), (ids.Category, ids.Place.Split(", ")[1]));
    }

    [Fact]
    public void Alpacas_rows_become_its_published_prompt()
    {
        string[] rows =
        [
            """{"instruction": "Add.", "input": "1 2", "output": "3"}""",
            """{"instruction": "Sing.", "input": "", "output": "La.", "text": "ignored"}""",
        ];
        (string, string)[] expected = [(WithInput, "3"), (WithoutInput, "La.")];
        Assert.Equal(expected, Read("a.jsonl", string.Join('\n', rows)));
        Assert.Equal(expected, Read("a.json", $"[{string.Join(',', rows)}]"));
        Assert.Equal(expected, Read("a.csv", "instruction,input,output\nAdd.,1 2,3\nSing.,,La.\n"));
        Assert.Equal([(WithoutInput, "La.")], Read("b.jsonl", """{"instruction": "Sing.", "response": "La."}"""));
        Assert.Equal([(WithoutInput, "La.")], Read("b.jsonl", """{"instruction": "Sing.", "input": null, "output": "La."}"""));
        Assert.Equal([WithInput, WithoutInput], Prompts.Read(Path.Combine(directory, "a.jsonl")).Select(p => p.Context));
    }

    [Fact]
    public void A_conversation_is_learned_from_in_its_last_answer()
    {
        const string Context = "system: Be kind.\nuser: Hi\nassistant: Hello\nuser: Who?\nassistant:";
        Assert.Equal([("user: a\nassistant:", "b"), (Context, "Me")], Read("a.jsonl", Short + "\n" + Long));
        Assert.Equal([("user: a\nassistant:", "b")], Read("a.json", $"[{Short}]"));
        // Of a conversation that waits for its answer all is asked.
        string open = Long.Replace(""", {"role": "assistant", "content": "Me"}""", "");
        Assert.Equal([Context], Prompts.Read(Write("b.jsonl", $"{Long}\n{open}")).Select(p => p.Context));
        Assert.Equal([("user: a\nassistant:", "b")], Read("c.jsonl", Short.Replace("{\"messages\"", "{\"prompt\": \"a\", \"messages\"")));
    }

    [Fact]
    public void A_conversation_that_is_saved_is_read_as_the_same()
    {
        TextPairs pairs = TextPairs.Read(Write("a.jsonl", $"{Long}\n{Short}"));
        string saved = Path.Combine(directory, "b.jsonl");
        pairs.SaveLines(saved);
        TextPairs again = TextPairs.Read(saved);
        Assert.Equal(pairs.Select(p => (p.Context, p.Completion)), again.Select(p => (p.Context, p.Completion)));
        Assert.Equal(pairs.SelectMany(p => p.Messages!), again.SelectMany(p => p.Messages!));
    }

    [Fact]
    public void A_text_alone_is_learned_from_its_first_token()
    {
        TextPairs pairs = TextPairs.Read(Write("a.jsonl", """{"text": "Hello world"}"""));
        Assert.Equal(("", "Hello world", true), (pairs[0].Context, pairs[0].Completion, pairs[0].IsDocument));
        EncodedPair encoded = new PairEncoder(Gpt2Tokenizer.Default, 512, 50257).Encode(pairs[0]);
        Assert.Equal([50256], encoded.Context);
        Assert.Equal([15496, 995, 50256], encoded.Completion);
        string saved = Path.Combine(directory, "b.jsonl");
        pairs.SaveLines(saved);
        Assert.Equal("{\"text\":\"Hello world\"}\n", File.ReadAllText(saved));
        Assert.True(TextPairs.Read(saved)[0].IsDocument);
        new TextPairs([pairs[0] with { Category = "Food", Origin = "e2e" }], "test").SaveLines(saved);
        Assert.Equal(pairs[0] with { Category = "Food", Origin = "e2e", Place = "" }, TextPairs.Read(saved)[0] with { Place = "" });
        Assert.Equal([("", "x, y")], Read("a.csv", "id,Text\n1,\"x, y\"\n"));
        Assert.Contains("neither \"context\" nor \"prompt\"", Message(() => Prompts.Read(saved)));
        Assert.Contains("the header is 'text'", Message(() => Prompts.Read(Write("b.csv", "text\nx\n"))));
    }

    [Fact]
    public void Lines_of_text_in_JSON_are_documents_of_plain_text()
    {
        string json = Write("a.jsonl", "{\"text\": \"One two.\\n\\nThree.\"}\n\n{\"text\": \"Four.\"}\n");
        string plain = Write("a.txt", "One two.\n\nThree.\n<|endoftext|>\nFour.\n<|endoftext|>\n");
        Assert.Equal(Ids(plain), Ids(json));
        Assert.Equal("One two.\n\nThree.\n<|endoftext|>Four.\n<|endoftext|>", Gpt2Tokenizer.Default.Decode(Ids(json)));
        Assert.Contains("line 2: there is no \"text\"", Message(() => Ids(Write("b.jsonl", "{\"text\": \"a\"}\n{\"prompt\": \"b\"}\n"))));

        static int[] Ids(string path) => PlainText.Read([path], Gpt2Tokenizer.Default, 1000)[0].Completion;
    }

    [Fact]
    public void Tables_are_read_between_commas_semicolons_and_tabs()
    {
        (string, string)[] expected = [("a, b", "c; d"), ("e", "f\tg")];
        Assert.Equal(expected, Read("a.csv", "context,completion\n\"a, b\",c; d\ne,\"f\tg\"\n"));
        Assert.Equal(expected, Read("a.csv", "context;completion\na, b;\"c; d\"\ne;f\tg\n"));
        Assert.Equal(expected, Read("a.tsv", "context\tcompletion\na, b\tc; d\ne\t\"f\tg\"\n"));
        Assert.Equal(expected, Read("b.csv", "Context ; id;\"Completion\"\na, b;1;\"c; d\"\ne;2;f\tg\n"));
        Assert.Equal([("say", "He said \"hi\", twice")], Read("b.tsv", "prompt\tresponse\r\nsay\tHe said \"hi\", twice\r\n"));
        Assert.Equal([("name : A, B", "c")], Read("c.csv", "mr;ref\nname[A, B];c\n"));
        Assert.Equal([("a", "b")], Read("d.csv", "context,completion,,\na,b,,\n"));
    }

    [Fact]
    public void A_table_from_a_spreadsheet_is_read_as_it_stands()
    {
        string path = Path.Combine(directory, "a.csv");
        File.WriteAllText(
            path, "context,completion\r\na : b,\"line one\r\nline two\"\r\n\r\nc : d,\"say \"\"hi\"\", ok\"\r\n", new UTF8Encoding(true));
        TextPairs pairs = TextPairs.Read(path);
        Assert.Equal([("a : b", "line one\r\nline two"), ("c : d", "say \"hi\", ok")], pairs.Select(p => (p.Context, p.Completion)));
        Assert.Equal([$"{path}, line 2", $"{path}, line 5"], pairs.Select(p => p.Place));
        File.WriteAllText(path, "context;completion\r\nñ;😀\r\n", new UnicodeEncoding(false, true));
        Assert.Equal([("ñ", "😀")], TextPairs.Read(path).Select(p => (p.Context, p.Completion)));
        string lines = Path.Combine(directory, "a.jsonl");
        File.WriteAllText(
            lines, "{\"prompt\":\"a\",\"completion\":\"b\"}\r\n\r\n{\"prompt\":\"c 🙂\",\"completion\":\"d\"}\r\n", new UTF8Encoding(true));
        Assert.Equal([("a", "b"), ("c 🙂", "d")], TextPairs.Read(lines).Select(p => (p.Context, p.Completion)));
    }

    [Property(MaxTest = 200)]
    public bool Fields_that_are_quoted_come_back(NonEmptyArray<NonNull<string>> texts, char kind)
    {
        string[] fields = [.. texts.Get.Select(t => new string([.. t.Get.Where(c => !char.IsSurrogate(c) && c != '\uFEFF')]))];
        char delimiter = ",;\t"[kind % 3];
        string end = kind % 2 == 0 ? "\n" : "\r\n";
        string record = string.Join(delimiter, fields.Select(f => $"\"{f.Replace("\"", "\"\"")}\"")) + end;
        DelimitedText text = new(new StringReader(record + end + record), "x") { Delimiter = delimiter };
        List<string> read = [];
        bool first = text.Read(read) && read.SequenceEqual(fields) && text.Line == 1;
        return first && text.Read(read) && read.SequenceEqual(fields) && !text.Read(read);
    }

    [Fact]
    public void A_long_table_keeps_its_lines_over_the_borders_of_buffers()
    {
        StringBuilder csv = new("context,completion\n");
        for (int i = 0; i < 20_000; i++) csv.Append(CultureInfo.InvariantCulture, $"{i},\"é {i} \"\"q\"\"\r\nmore\"\r\n");
        TextPairs pairs = TextPairs.Read(Write("a.csv", csv.ToString()));
        Assert.Equal(20_000, pairs.Count);
        for (int i = 0; i < pairs.Count; i++)
            Assert.Equal(
                ($"{i}", $"é {i} \"q\"\r\nmore", $"line {2 + 2 * i}"),
                (pairs[i].Context, pairs[i].Completion, pairs[i].Place.Split(", ")[^1]));
    }

    [Theory]
    [InlineData("context,completion\na,b\n")]
    [InlineData("\n\ncontext\tcompletion\na\tb\n")]
    [InlineData("{\"prompt\": \"a\", \"completion\": \"b\"}\n")]
    [InlineData("\n[\n{\"prompt\": \"a\", \"completion\": \"b\"}\n]\n")]
    [InlineData("a||b\n\n")]
    public void A_file_without_a_known_extension_is_told_by_its_first_line(string text)
    {
        Assert.Equal([("a", "b")], Read("data", text));
        Assert.Equal([("a", "b")], Read("data.part1", text));
    }

    [Fact]
    public void Published_files_are_told_by_their_first_line_too()
    {
        const string Xml = "<?xml version=\"1.0\"?>\n<benchmark><entries><entry>"
            + "<modifiedtripleset><mtriple>A | b | C</mtriple></modifiedtripleset><lex>t</lex></entry></entries></benchmark>";
        const string Entries = "\"entries\": " + """[{"1": {"modifiedtripleset": [{"subject": "A", "property": "b", "object": "C"}], """
            + "\"lexicalisations\": " + """[{"comment": "good", "lex": "t"}]}}]""";
        const string Dart = """[{"tripleset": [["A", "B", "C"]], "annotations": [{"source": "x", "text": "t"}]}]""";
        Assert.Equal([("A : b : C", "t")], Read("data", Xml));
        Assert.Equal([("A : b : C", "t")], Read("data", "{" + Entries + "}"));
        Assert.Equal([("A : b : C", "t")], Read("data", "{\n" + Entries + "}"));
        Assert.Equal([("A : b : C", "t")], Read("data", Dart));
        Assert.Contains(
            "the extension '' is not known, and its first line matches no form either; known are .csv, .tsv, .jsonl",
            Message(() => Read("data", "Once upon a time, there was a file.\n")));
        File.WriteAllBytes(Path.Combine(directory, "a.parquet"), [.. "PAR1"u8, 0x15, 0x04, 0xE9, 0x80, 0xFF]);
        Assert.Contains(
            "the extension '.parquet' is not known, and it is no text",
            Message(() => TextPairs.Read(Path.Combine(directory, "a.parquet"))));
    }

    [Fact]
    public void Standard_input_is_read_in_any_form()
    {
        string saved = Path.Combine(directory, "out.jsonl");
        const string Pair = "{\"context\":\"a\",\"completion\":\"b\"}\n";
        const string Object = "{\"prompt\":\"a\",\"completion\":\"b\"}";
        foreach (string text in (string[])["context;completion\na;b\n", Object, $"[{Object}]", "a||b"])
        {
            Assert.Equal((0, ""), Run(text, "data", "convert", "-", "--out", saved) with { Error = "" });
            Assert.Equal(Pair, File.ReadAllText(saved));
        }
        Assert.Contains(
            "standard input, line 2: no \"completion\" is there",
            Run("{\"prompt\":\"a\",\"completion\":\"b\"}\n{\"prompt\":\"a\"}", "data", "convert", "-", "--out", saved).Error);
        Assert.Contains(
            "standard input: its first line matches no form of pairs", Run("Hello there", "data", "convert", "-", "--out", saved).Error);
        Assert.Contains("standard input: the data set is empty", Run("", "data", "convert", "-", "--out", saved).Error);
        File.WriteAllText(Path.Combine(directory, "refs"), "a b c d\n");
        Assert.Equal(0, Run("a b c d\n", "score", "--refs", Path.Combine(directory, "refs"), "--hyp", "-", "--metrics", "BLEU").Code);
        Assert.Contains("Standard input (-) is asked for twice", Run("a\n", "score", "--refs", "-", "--hyp", "-").Error);
    }

    [Fact]
    public void Empty_sides_are_read_and_said()
    {
        string path = Write("a.csv", "context,completion\na,\n,b\n"), saved = Path.Combine(directory, "b.jsonl");
        TextPairs pairs = TextPairs.Read(path);
        Assert.Equal([("a", ""), ("", "b")], pairs.Select(p => (p.Context, p.Completion)));
        PairEncoder encoder = new(Gpt2Tokenizer.Default, 512, 50257);
        Assert.Equal([220, 50256], encoder.Encode(pairs[0]).Completion);
        Assert.Equal([50256], encoder.Encode(pairs[1]).Context);
        Assert.Contains(
            "Of these 1 has an empty completion, which teaches to say nothing.", Run("", "data", "convert", path, "--out", saved).Error);
    }

    private static (int Code, string Error) Run(string input, params string[] arguments)
    {
        ProcessStartInfo start = new("dotnet", [Path.Combine(AppContext.BaseDirectory, "nola.dll"), .. arguments])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
        };
        using Process process = Process.Start(start)!;
        process.StandardInput.Write(input);
        process.StandardInput.Close();
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        string error = process.StandardError.ReadToEnd();
        output.Wait();
        process.WaitForExit();
        return (process.ExitCode, error);
    }

    private static string Message(Action action) => Assert.Throws<NolaException>(action).Message;

    private (string, string)[] Read(string name, string text) =>
        [.. TextPairs.Read(Write(name, text)).Select(p => (p.Context, p.Completion))];

    private string Write(string name, string text)
    {
        string path = Path.Combine(directory, name);
        File.WriteAllText(path, text);
        return path;
    }
}
