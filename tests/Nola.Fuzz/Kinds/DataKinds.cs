using System.Text;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Nola.Train.Metrics;

namespace Nola.Fuzz;

/// <summary>Files of pairs: read, written as JSONL, read again, and equal; also as prompts, and now and then encoded.</summary>
/// <param name="name">What it is called.</param>
/// <param name="file">Name of the file, whose extension says what it is.</param>
/// <param name="mutation">What damages it.</param>
/// <param name="examples">Whole ones.</param>
internal sealed class PairsKind(string name, string file, Mutation mutation, params string[] examples) : FilesKind(name)
{
    private readonly string file = file;

    /// <summary>All kinds of pairs.</summary>
    public static IEnumerable<FuzzKind> All() =>
    [
        new PairsKind("csv", "d.csv", TextMutator.Table(","), DataExamples.E2E),
        new PairsKind("csv-pairs", "d.csv", TextMutator.Table(","), DataExamples.CsvPairs, DataExamples.Semicolons),
        new PairsKind("tsv", "d.tsv", TextMutator.Table("\t"), DataExamples.Tabs),
        new PairsKind("jsonl", "d.jsonl", JsonMutator.MutateLines, DataExamples.Rows),
        new PairsKind("documents", "d.jsonl", JsonMutator.MutateLines, DataExamples.TextLines) { ArePrompts = false },
        new PairsKind("jsonl-ids", "d.jsonl", JsonMutator.MutateLines, DataExamples.IdLines),
        new PairsKind("json-array", "d.json", JsonMutator.Mutate, [.. DataExamples.Rows.Select(DataExamples.Array)]),
        new PairsKind("webnlg-json", "d.json", JsonMutator.Mutate, DataExamples.WebNlgJson),
        new PairsKind("webnlg-xml", "d.xml", XmlMutator.Mutate, DataExamples.WebNlgXml),
        new PairsKind("dart-json", "d.json", JsonMutator.Mutate, DataExamples.DartJson),
        new PairsKind("dart-xml", "d.xml", XmlMutator.Mutate, DataExamples.DartXml),
        new PairsKind("lora-text", "d.txt", TextMutator.Table("||"), DataExamples.LoraText),
        new PairsKind("no-extension", "d", ByteMutator.Mutate, DataExamples.Forms),
    ];

    public override void Prepare(Bench bench)
    {
        foreach (string example in examples) AddText(file, mutation, example);
    }

    /// <summary>Whether whole examples have contexts, which can be asked.</summary>
    public bool ArePrompts { get; init; } = true;

    public override void Run(Bench bench, string directory, Dice dice) => Check(bench, Path.Combine(directory, file), dice, ArePrompts);

    /// <summary>What is done with any file of pairs: it is read once, as prompts now and then.</summary>
    public static void Check(Bench bench, string path, Dice dice, bool arePrompts = true)
    {
        if (arePrompts && dice.Once(4))
        {
            _ = Prompts.Read(path);
            bench.Accepted = true;
            return;
        }
        TextPairs pairs = TextPairs.Read(path);
        bench.Accepted = true;
        string again = bench.Saved("pairs.jsonl");
        pairs.SaveLines(again);
        TextPairs copy = TextPairs.Read(again);
        if (copy.Count != pairs.Count) throw new FuzzException($"{pairs.Count} pairs became {copy.Count} when they were written again");
        for (int i = 0; i < pairs.Count; i++)
            if (!Same(pairs[i], copy[i]))
                throw new FuzzException($"pair {i + 1} changed when it was written again: {pairs[i]} became {copy[i]}");
        if (dice.Once(8)) _ = new PairEncoder(Gpt2Tokenizer.Default, 40, Gpt2Tokenizer.GptVocabulary, truncate: dice.Once(2)).Encode(pairs);
    }

    private static bool Same(TextPair a, TextPair b) =>
        (a.Context, a.Completion, a.Category, a.Origin, a.IsDocument) == (b.Context, b.Completion, b.Category, b.Origin, b.IsDocument)
        && Same(a.ContextIds, b.ContextIds) && Same(a.CompletionIds, b.CompletionIds);

    private static bool Same(int[]? a, int[]? b) => (a is null) == (b is null) && a.AsSpan().SequenceEqual(b);
}

/// <summary>Plain text: cut into windows of tokens, and into spans.</summary>
internal sealed class TextKind() : FilesKind("text")
{
    private const string Name0 = "t.txt";

    public override void Prepare(Bench bench)
    {
        AddText(Name0, TextMutator.Mutate, """
            The first document has one sentence of some words.

            And a second one, which is longer; it even has two halves.
            <|endoftext|>
            Elan is spelled élan. 日本語 too.

            """);
        AddText(Name0, TextMutator.Mutate, "word");
    }

    public override void Run(Bench bench, string directory, Dice dice)
    {
        string path = Path.Combine(directory, Name0);
        EncodedPair[] windows = PlainText.Read([path], Gpt2Tokenizer.Default, 32);
        bench.Accepted = true;
        if (windows.Any(w => w.Length > 33)) throw new FuzzException("a window has more than 33 tokens");
    }
}

/// <summary>Hypotheses and references: read and scored.</summary>
internal sealed class ScoreKind() : FilesKind("score", 2)
{
    private const string Hypotheses = "hyp.txt", References = "refs.txt", Second = "refs2.txt";

    public override void Prepare(Bench bench)
    {
        const string Systems = "The Punter is a cheap pub.\nBlue Spice serves food by the river (it's not a family place).\nA third one.\n";
        Add(
            (Hypotheses, TextMutator.Mutate, Encoding.UTF8.GetBytes(Systems)),
            (References, TextMutator.Mutate, Encoding.UTF8.GetBytes(
                "The Punter is a pub.\nA cheap pub is The Punter.\n\nBlue Spice is near the river.\n\nThe third.\n")));
        Add(
            (Hypotheses, TextMutator.Mutate, Encoding.UTF8.GetBytes(Systems)),
            (References, TextMutator.Mutate, Encoding.UTF8.GetBytes("The Punter is a pub.\nBlue Spice is near the river.\nThe third.\n")),
            (Second, TextMutator.Mutate, Encoding.UTF8.GetBytes("A cheap pub is The Punter.\n\nThird.\n")));
    }

    public override void Run(Bench bench, string directory, Dice dice)
    {
        string[] references = [.. ((string[])[References, Second]).Select(name => Path.Combine(directory, name)).Where(File.Exists)];
        if (references.Length == 0) return;
        TextForm form = new(dice.Once(3), dice.Once(3));
        Corpus corpus = Corpus.Read(references, Path.Combine(directory, Hypotheses), allowEmpty: dice.Once(2), form);
        bench.Accepted = true;
        IReadOnlyList<Score> scores = Scorer.Score(corpus, new() { Metrics = [dice.Pick(Scorer.Names)], V13a = dice.Once(2) });
        if (scores.Any(s => double.IsNaN(s.Value))) throw new FuzzException($"{scores[0].Metric} is {scores[0].Value}");
    }
}

/// <summary>What METEOR reads: WordNet's files and tables of paraphrases.</summary>
internal sealed class MeteorKind() : FilesKind("meteor")
{
    private const string Table = "p.txt", PackedTable = "p.gz";

    public override void Prepare(Bench bench)
    {
        const string Paraphrases = "0.5\nby the river\nriverside\n0.25\na pub\nan inn\n";
        AddText(Table, TextMutator.Mutate, Paraphrases);
        Add((PackedTable, GzipMutator.Mutate, GzipMutator.Pack(Encoding.UTF8.GetBytes(Paraphrases))));
        Add(
            ("english.synsets", TextMutator.Mutate, "pub\n1 2\ninn\n2\n"u8.ToArray()),
            ("english.exceptions", TextMutator.Mutate, "mice\nmouse\n"u8.ToArray()));
        List<(string, Mutation?, byte[])> database = [];
        foreach (string part in (string[])["noun", "verb", "adj", "adv"])
        {
            const string Index = "  1 a line of the license\npub n 1 2 @ ~ 1 0 04018399  \ninn n 2 1 @ 2 1 04018399 03541091  \n";
            database.Add(($"index.{part}", TextMutator.Mutate, Encoding.UTF8.GetBytes(Index)));
            database.Add(($"{part}.exc", TextMutator.Mutate, Encoding.UTF8.GetBytes("mice mouse\nmen man\n")));
        }
        Add([.. database]);
    }

    public override void Run(Bench bench, string directory, Dice dice)
    {
        string table = Path.Combine(directory, Table), packed = Path.Combine(directory, PackedTable);
        if (File.Exists(table)) _ = ParaphraseTable.Read(table);
        else if (File.Exists(packed)) _ = ParaphraseTable.Read(packed);
        else _ = WordNet.Read(directory).Sets("mice");
        bench.Accepted = true;
    }
}

/// <summary>Compressed files of pairs and of text.</summary>
internal sealed class GzipKind() : FilesKind("gzip")
{
    public override void Prepare(Bench bench)
    {
        Add(("d.csv.gz", GzipMutator.Mutate, Pack(DataExamples.E2E)));
        Add(("d.jsonl.gz", GzipMutator.Mutate, Pack(DataExamples.Lines)));
        Add(("d.json.gz", GzipMutator.Mutate, Pack(DataExamples.DartJson)));
        Add(("d.xml.gz", GzipMutator.Mutate, Pack(DataExamples.WebNlgXml)));
        Add(("d.txt.gz", GzipMutator.Mutate, Pack(DataExamples.LoraText)));
    }

    public override void Run(Bench bench, string directory, Dice dice)
    {
        if (Directory.GetFiles(directory) is not [string path]) return;
        if (path.EndsWith(".txt.gz", StringComparison.Ordinal) && dice.Once(2)) _ = PlainText.Read([path], Gpt2Tokenizer.Default, 32);
        else PairsKind.Check(bench, path, dice);
    }

    private static byte[] Pack(string text) => GzipMutator.Pack(Encoding.UTF8.GetBytes(text));
}
