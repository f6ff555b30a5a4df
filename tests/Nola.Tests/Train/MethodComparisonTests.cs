using System.Text.Json;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

/// <summary>Results in the shape of PEFT's method_comparison, and the scores that they have.</summary>
public sealed class MethodComparisonTests : IDisposable
{
    // What processing.py of PEFT's method_comparison reads of a file for MetaMathQA, and what pandas is told that it is.
    private static readonly (string Path, JsonValueKind Kind)[] read =
    [
        ("run_info.experiment_name", JsonValueKind.String), ("run_info.train_config.model_id", JsonValueKind.String),
        ("run_info.peft_config.peft_type", JsonValueKind.String), ("run_info.total_time", JsonValueKind.Number),
        ("run_info.peft_branch", JsonValueKind.String), ("run_info.created_at", JsonValueKind.String),
        ("train_info.accelerator_memory_reserved_avg", JsonValueKind.Number), ("train_info.accelerator_memory_max", JsonValueKind.Number),
        ("train_info.accelerator_memory_reserved_99th", JsonValueKind.Number), ("train_info.train_time", JsonValueKind.Number),
        ("train_info.file_size", JsonValueKind.Number), ("train_info.num_trainable_params", JsonValueKind.Number),
        ("train_info.status", JsonValueKind.String), ("meta_info.package_info.peft-version", JsonValueKind.Null),
        ("meta_info.package_info.transformers-version", JsonValueKind.Null),
        ("meta_info.package_info.datasets-version", JsonValueKind.Null),
        ("meta_info.package_info.torch-version", JsonValueKind.Null), ("meta_info.package_info.bitsandbytes-version", JsonValueKind.Null),
        ("meta_info.system_info", JsonValueKind.Object),
    ];

    private static readonly string[] readOfLastMetric =
        ["train loss", "train samples", "test accuracy", "train total tokens", "forgetting"];

    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    private string Pairs => Path.Combine(directory, "pairs.jsonl");

    public void Dispose() => Directory.Delete(directory, recursive: true);

    [Theory]
    // What parse_answer gives for them.
    [InlineData("so it is 16.The answer is: 16", "16")]
    [InlineData("... #### 18", "18")]
    [InlineData("The answer is: 3.", "3")]
    [InlineData("The answer is: 4!\nNext question. The answer is: 5", "5")]
    [InlineData("The answer is 7", "7")]
    [InlineData("x #### 9\nThe final answer is: $12.50$.", "12.50")]
    [InlineData("The answer is: 10 apples.\nMore", "10 apples")]
    [InlineData("The answer is: 50%", "50")]
    [InlineData("no answer", null)]
    [InlineData("The answer is:12", null)]
    [InlineData("#### 1,000", "1,000")]
    [InlineData("The answer is: \\boxed{3}", "\\boxed{3}")]
    [InlineData("The answer is: 3\n\n  tail", "3")]
    [InlineData("The answer is: ", null)]
    public void An_answer_is_read_as_PEFT_reads_it(string text, string? answer) => Assert.Equal(answer, FinalAnswer.Of(text));

    [Theory]
    // What get_accuracy says of them.
    [InlineData("20/35", "0.5714285714285714", true)]
    [InlineData("16", "16.0", true)]
    [InlineData("1e3", "1000", true)]
    [InlineData("1,000", "1000", false)]
    [InlineData("1_000", "1000", true)]
    [InlineData("abc", "abc", true)]
    [InlineData("abc", "abd", false)]
    [InlineData("1/0", "1/0", true)]
    [InlineData("1/2/3", "1/2/3", true)]
    [InlineData("+5", "5", true)]
    [InlineData("5", "five", false)]
    [InlineData(" 3", "3", true)]
    [InlineData(null, "3", false)]
    public void Answers_are_compared_as_PEFT_compares_them(string? answer, string expected, bool equal) =>
        Assert.Equal(equal, FinalAnswer.AreEqual(answer, expected));

    [Fact]
    public void A_result_has_what_PEFT_s_reader_reads()
    {
        ExperimentFile file = Write("""{ "name": "r2", "method": "lora", "rank": 2, "lr": 0.01 }, { "name": "base", "method": "base" }""");
        string results = Path.Combine(directory, "results");
        using ExperimentRunner runner = new(
            file, Path.Combine(directory, "runs"), "cpu", 1, TextScore.All(file, new()), new StopAfter(0, new()));
        MethodComparison.Check(file, runner.Runs);
        Assert.Empty(MethodComparison.Write(file, runner.Runs, runner.ScoreSettings, results));
        Assert.Equal(2, runner.Run().Done);
        string path = Assert.Single(MethodComparison.Write(file, runner.Runs, runner.ScoreSettings, results));
        Assert.Equal("lora--r2.json", Path.GetFileName(path));
        // What was measured in another way than now is not written with how it is measured now.
        Dictionary<string, string> other = new(runner.ScoreSettings) { ["answers"] = "by another rule" };
        Assert.Empty(MethodComparison.Write(file, runner.Runs, other, results));

        using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(path));
        foreach ((string name, JsonValueKind kind) in read)
        {
            JsonElement value = document.RootElement;
            foreach (string part in name.Split('.')) value = value.GetProperty(part);
            Assert.True(value.ValueKind == kind, $"{name} is {value.ValueKind}");
        }
        JsonElement info = document.RootElement.GetProperty("train_info"), last = info.GetProperty("metrics").EnumerateArray().Last();
        Assert.All(readOfLastMetric, name => Assert.Equal(JsonValueKind.Number, last.GetProperty(name).ValueKind));
        Assert.Equal("success", info.GetProperty("status").GetString());
        // 40 steps of four pairs: it has learned the one answer there is, and forgotten something for it.
        Assert.Equal((40, 160, 1.0), (last.GetProperty("step").GetInt32(), last.GetProperty("train samples").GetInt32(),
            last.GetProperty("test accuracy").GetDouble()));
        Assert.InRange(last.GetProperty("forgetting").GetDouble(), 0.001, 10);
        JsonElement config = document.RootElement.GetProperty("run_info").GetProperty("peft_config");
        Assert.Equal(("LORA", 2), (config.GetProperty("peft_type").GetString(), config.GetProperty("rank").GetInt32()));

        // The base model answers something else, and has forgotten nothing.
        RunRecord untrained = RunRecord.Read(runner.Runs[1].ResultFile)!;
        Assert.Equal(0, untrained.Scores["answers"].Values["answers"]);
        Assert.Equal(0, untrained.Scores["forgetting"].Values["forgetting"]);
    }

    [Fact]
    public void An_experiment_that_lacks_something_of_a_result_is_refused_before_it_runs()
    {
        ExperimentFile loss = Write("""{ "name": "a", "bases": 4 }""", scores: "\"loss\"");
        Assert.Contains("add \"answers\" to \"scores\"", Refused(loss));
        Assert.Contains(
            "a, seed 1: a result of PEFT's method_comparison says how many examples",
            Refused(Write("""{ "name": "a", "bases": 4, "batch-tokens": 100, "batch-size": 0 }""")));
        ExperimentFile bare = Write("""{ "name": "a", "bases": 4 }""");
        File.WriteAllText(Pairs, """{"context": "2 + 2", "completion": "4"}""");
        using ExperimentRunner runner = new(
            bare, Path.Combine(directory, "bare"), "cpu", 1, TextScore.All(bare, new()), new StopAfter(0, new()));
        Assert.Contains(
            "pairs.jsonl, line 1: the completion announces no final answer", Assert.Throws<NolaException>(() => runner.Run()).Message);

        string Refused(ExperimentFile file) => Assert.Throws<NolaException>(
            () => MethodComparison.Check(file, ExperimentRun.Plan(file, directory, "cpu", 1))).Message;
    }

    [Fact]
    public void The_task_of_PEFT_runs_on_a_small_LLaMA()
    {
        TextPairs tasks = new([new("Tom has 2 cats and 1 dog. How many?", "2 + 1 = 3.\nThe answer is: 3")], "tasks");
        const string Template = "Question: {context} Think step by step.\nAnswer:";
        Directory.CreateDirectory(Path.Combine(directory, "metamathqa"));
        foreach (string name in (string[])["train", "valid", "test"])
            new PairRewriting(Template, AsText: name != "test", null, null).Rewrite(tasks).SaveLines(In(name));
        File.WriteAllText(In("wikipedia"), """{"text": "One day a little girl went to the park."}""");
        string path = Path.Combine(directory, "experiment.json");
        File.WriteAllText(
            path, File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "experiments", "metamathqa-llama-3.2-3b.json"))
                .Replace("meta-llama/Llama-3.2-3B\"", Path.Combine(AppContext.BaseDirectory, "data", "golden", "stories260K") + "\"")
                .Replace("metamathqa/", Path.Combine(directory, "metamathqa") + "/")
                .Replace("\"max-steps\": 5000", "\"max-steps\": 2, \"epochs\": 2").Replace("\"warmup\": 500", "\"warmup\": 0")
                .Replace("\"max-new\": 300", "\"max-new\": 5"));
        ExperimentFile file = ExperimentFile.Read(path);
        using ExperimentRunner runner = new(
            file, Path.Combine(directory, "runs"), "cpu", 1, TextScore.All(file, new()), new StopAfter(0, new()));
        MethodComparison.Check(file, runner.Runs);
        Assert.Equal(3, runner.Run().Done);
        Assert.Equal(
            ["lora--llama-3.2-3B-rank32.json", "nola--llama-3.2-3B-k256.json", "nola--llama-3.2-3B-k1024.json"],
            MethodComparison.Write(file, runner.Runs, runner.ScoreSettings, Path.Combine(directory, "results")).Select(Path.GetFileName));

        string In(string name) => Path.Combine(directory, "metamathqa", name + ".jsonl");
    }

    [Fact]
    public void Pairs_are_written_into_a_template_and_as_one_text()
    {
        TextPairs pairs = new([new("1 + 1?", "2", "x, line 1"), new("How much is 2 + 2?", "4"), new("3?", "5")], "x");
        TextPairs rewritten = new PairRewriting("Q: {context}\nA:", AsText: false, Longest: 8, First: null).Rewrite(pairs);
        Assert.Equal([("Q: 1 + 1?\nA:", "2"), ("Q: 3?\nA:", "5")], rewritten.Select(pair => (pair.Context, pair.Completion)));
        TextPair text = Assert.Single(new PairRewriting("Q: {context}\nA:", AsText: true, Longest: null, First: 1).Rewrite(pairs));
        Assert.Equal(("", "Q: 1 + 1?\nA:2", true), (text.Context, text.Completion, text.IsDocument));
        Assert.Equal(pairs, new PairRewriting(null, false, null, null).Rewrite(pairs));
        Assert.Contains("has to contain {context}", Refused(new("Q: {query}", false, null, null), pairs));
        Assert.Contains("every pair has more than 3 characters", Refused(new(null, false, 3, null), pairs));
        Assert.Contains("longest is 0", Refused(new(null, false, 0, null), pairs));
        Assert.Contains("first is -1", Refused(new(null, false, null, -1), pairs));
        TextPairs document = new([new TextPair("", "a text", "y, line 1") { IsDocument = true }], "y");
        Assert.Contains("y, line 1: a template and one text are for", Refused(new("{context}", false, null, null), document));

        static string Refused(PairRewriting how, TextPairs pairs) => Assert.Throws<NolaException>(() => how.Rewrite(pairs)).Message;
    }

    private ExperimentFile Write(string methods, string scores = "\"answers\", \"forgetting\"")
    {
        File.WriteAllLines(Pairs, Enumerable.Range(2, 8).Select(i =>
            JsonSerializer.Serialize(new { question = $"{i} - {i}", answer = $"It is {i} less {i}.\nThe answer is: 0" })));
        string texts = Path.Combine(directory, "texts.jsonl"), path = Path.Combine(directory, "experiment.json");
        File.WriteAllLines(texts, ["""{"text": "The house was at the end of the street."}""", """{"text": "He went home."}"""]);
        Dictionary<string, object> settings = new()
        {
            ["data"] = Pairs,
            ["valid"] = Pairs,
            ["eval-every"] = 10,
            ["batch-tokens"] = 0,
            ["batch-size"] = 4,
            ["max-steps"] = 40,
            ["epochs"] = 20,
        };
        File.WriteAllText(
            path,
            $$"""
            {
              "name": "test", "settings": {{JsonSerializer.Serialize(settings)}}, "test": {{JsonSerializer.Serialize(Pairs)}},
              "seeds": [1], "scores": [ {{scores}} ], "forgetting": {{JsonSerializer.Serialize(texts)}},
              "decoding": { "beams": 1, "no-repeat-ngram": 0 }, "methods": [ {{methods}} ]
            }
            """);
        return ExperimentFile.Read(path);
    }
}
