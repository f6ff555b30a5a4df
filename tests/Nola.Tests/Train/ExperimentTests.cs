using System.Text.Json;
using FsCheck.Xunit;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Nola.Train.Metrics;
using Xunit;

namespace Nola.Tests;

public sealed partial class ExperimentTests : IDisposable
{
    private const string Methods = """
        { "name": "base", "method": "base" },
        { "name": "full", "method": "full" },
        { "name": "lora", "series": "LoRA", "method": "lora", "rank": 1 },
        { "name": "k8", "series": "NOLA", "method": "nola", "bases": 8 },
        { "name": "k20", "series": "NOLA", "method": "nola", "bases": 20 },
        { "name": "k20-after-3bit", "of": "k20", "bits": 3 },
        { "name": "k20-trained-2bit", "method": "nola", "bases": 20, "quantize-bits": 2 }
        """;

    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    public ExperimentTests() =>
        File.WriteAllLines(Pairs, TinyModels.Pairs(new Random(4), 40, 97)
            .Select(p => JsonSerializer.Serialize(new { context = p.Context, completion = p.Completion })));

    private string Pairs => Path.Combine(directory, "pairs.jsonl");

    public void Dispose() => Directory.Delete(directory, recursive: true);

    [Fact]
    public void Every_method_runs_once_with_every_seed_and_what_is_complete_is_skipped()
    {
        CountingScore score = new("first");
        string root = Path.Combine(directory, "a");
        Assert.Equal(new ExperimentSummary(13, 13, 0, 0, false), Run(root, Methods, [score]));
        Assert.Equal(13, score.Calls);
        Dictionary<string, DateTime> before = Directory.GetFiles(root, "*", SearchOption.AllDirectories)
            .Where(f => f.Contains("--"))
            .ToDictionary(f => f, File.GetLastWriteTimeUtc);
        Assert.Equal(new ExperimentSummary(13, 0, 13, 0, false), Run(root, Methods, [score]));
        Assert.Equal(13, score.Calls);
        Assert.All(before, file => Assert.Equal(file.Value, File.GetLastWriteTimeUtc(file.Key)));

        // A method more costs only its own runs, and a run whose result is gone only itself.
        Assert.Equal((15, 2), Counts(Run(root, Methods + """, { "name": "more", "method": "lora", "rank": 2 }""", [score])));
        File.Delete(Path.Combine(Directory.GetDirectories(root, "k8--s2--*").Single(), "result.json"));
        Assert.Equal((13, 1), Counts(Run(root, Methods, [score])));
        // Another way of measuring measures again and trains nothing.
        CountingScore second = new("second");
        Assert.Equal((13, 13), Counts(Run(root, Methods, [second])));
        Assert.Equal(13, second.Calls);
        Assert.All(
            before.Keys.Where(f => f.EndsWith("adapter.safetensors") && !f.Contains("k8--s2")),
            file => Assert.Equal(before[file], File.GetLastWriteTimeUtc(file)));

        string table = File.ReadAllText(Path.Combine(root, "table.md"));
        Assert.Contains("| base | 0 | 0.0 |", table);
        Assert.Contains("| k20 | 160 |", table);      // two layers, q and v, two factors, k = 20
        Assert.Equal(7, table.Split('\n').Count(line => line.Contains(" ± ") && line.StartsWith('|')) + 1);
        string plot = File.ReadAllText(Path.Combine(root, "plot.svg"));
        Assert.Contains(">LoRA</text>", plot);
        Assert.Contains("<title>k8: ", plot);
        Assert.Contains("full (62,448 trained)", plot);

        static (int, int) Counts(ExperimentSummary s) => (s.Runs, s.Done);
    }

    [Fact]
    public void A_result_says_what_was_run_and_what_came_out()
    {
        string root = Path.Combine(directory, "a");
        Run(root, Methods, [new LossScore()], seeds: "[7]");
        JsonElement result = Result("k20-after-3bit--s7--*"), source = Result("k20--s7--*");
        Assert.Equal(("test/k20-after-3bit", 7, 3), (
            result.GetProperty("run_info").GetProperty("experiment_name").GetString(),
            result.GetProperty("run_info").GetProperty("seed").GetInt32(),
            result.GetProperty("run_info").GetProperty("bits").GetInt32()));
        Assert.Equal(20, source.GetProperty("run_info").GetProperty("train_config").GetProperty("bases-a").GetInt32());
        Assert.Equal(7, source.GetProperty("run_info").GetProperty("train_config").GetProperty("basis-seed").GetInt32());
        JsonElement train = source.GetProperty("train_info");
        Assert.Equal(
            ("success", 160, 62448 + 160),
            (
                train.GetProperty("status").GetString(),
                train.GetProperty("num_trainable_params").GetInt32(),
                train.GetProperty("num_total_params").GetInt32()));
        Assert.Equal(
            new FileInfo(Path.Combine(Folder("k20--s7--*"), "adapter.safetensors")).Length, train.GetProperty("file_size").GetInt64());
        Assert.Equal([0, 5, 6], train.GetProperty("metrics").EnumerateArray().Select(m => m.GetProperty("step").GetInt32()));
        Assert.True(train.GetProperty("memory_max").GetInt64() > 62448 * 4);
        // Trained and validated on the test pairs: what the run scored last is what its file scores.
        Assert.Equal(train.GetProperty("metrics")[2].GetProperty("valid_loss").GetDouble(), Loss(source), 1e-6);
        Assert.NotEqual(Loss(source), Loss(result));
        Assert.True(Loss(source) < Loss(Result("base--*")));
        Assert.True(Loss(Result("full--s7--*")) < Loss(Result("base--*")));
        Assert.False(File.Exists(Path.Combine(Folder("full--s7--*"), "last.safetensors")));

        string Folder(string pattern) => Directory.GetDirectories(root, pattern).Single();

        JsonElement Result(string pattern) =>
            JsonDocument.Parse(File.ReadAllText(Path.Combine(Folder(pattern), "result.json"))).RootElement;

        static double Loss(JsonElement result) =>
            result.GetProperty("scores").GetProperty("loss").GetProperty("values").GetProperty("loss").GetDouble();
    }

    [Theory]
    [InlineData(1)]
    [InlineData(9)]
    [InlineData(16)]
    public void An_interrupted_experiment_goes_on_where_it_was(int steps)
    {
        string whole = Path.Combine(directory, "whole"), parts = Path.Combine(directory, "parts");
        Run(whole, Methods, [new LossScore()]);
        using CancellationTokenSource stop = new();
        StopAfter watch = new(steps, stop);
        ExperimentSummary first = Run(parts, Methods, [new LossScore()], watch, stop.Token);
        Assert.True(first.Interrupted);
        StopAfter rest = new(int.MaxValue, stop);
        ExperimentSummary second = Run(parts, Methods, [new LossScore()], rest);
        Assert.Equal((13, 13 - first.Done, false), (second.Runs, second.Done, second.Interrupted));
        // Six steps for each of five trained methods and two seeds, none of them twice.
        Assert.Equal((steps, 60), (watch.Steps, watch.Steps + rest.Steps));
        foreach (string file in Directory.GetFiles(whole, "*.safetensors", SearchOption.AllDirectories))
            Assert.Equal(File.ReadAllBytes(file), File.ReadAllBytes(Path.Combine(parts, Path.GetRelativePath(whole, file))));
        Assert.Equal(Losses(whole), Losses(parts));

        static string[] Losses(string root) => [.. Directory.GetFiles(root, "result.json", SearchOption.AllDirectories).Order()
            .Select(file => JsonDocument.Parse(File.ReadAllText(file)).RootElement
                .GetProperty("scores")
                .GetProperty("loss")
                .GetProperty("values")
                .GetRawText())];
    }

    [Fact]
    public void Generated_texts_are_decoded_once_and_scored_as_nola_score_does()
    {
        TextPair[] pairs = [.. EmbeddedData.E2E("test").GroupBy(p => p.Context).Take(4).SelectMany(g => g)];
        File.WriteAllLines(Pairs, pairs.Select(p => JsonSerializer.Serialize(new { context = p.Context, completion = p.Completion })));
        string root = Path.Combine(directory, "a");
        RunRecord record = Scored("\"BLEU\", \"METEOR\"", """{ "beams": 2, "max-new": 9 }""", 4);

        // Outputs are the base model's, references all completions of a context.
        string[] lines = File.ReadAllLines(Path.Combine(root, Path.GetFileName(Directory.GetDirectories(root).Single()), "outputs.txt"));
        using (LanguageModel model = LanguageModel.Load(LanguageModel.EmbeddedName, new CpuDevice(1)))
        {
            ITokenizer tokenizer = model.Tokenizer;
            int[][] contexts = [.. pairs.Select(p => p.Context).Distinct().Select(tokenizer.EncodeContext)];
            int[][] ids = model.GenerateAll(contexts, null, GenerateOptions.Published with { Beams = 2, MaxNewTokens = 9 });
            Assert.Equal(
                ids.Select(i => GeneratedText.OneLine(GeneratedText.Of(i, tokenizer, new() { StopTokens = [tokenizer.EndOfText, 628] }))),
                lines);
        }
        Corpus corpus = new(lines, [.. pairs.GroupBy(p => p.Context).Select(g => g.Select(p => p.Completion).ToArray())], allowEmpty: true);
        foreach (Score score in Scorer.Score(corpus, new() { Metrics = ["BLEU", "METEOR"] }))
            Assert.Equal(score.Value, record.Scores[score.Metric].Values[score.Metric], 1e-12);
        Assert.Contains("2 beams (published), length penalty 0.8", record.Scores["BLEU"].Settings);
        Assert.Contains("stages exact, stem", record.Scores["METEOR"].Settings);
        Assert.Contains("| BLEU | METEOR |", File.ReadAllText(Path.Combine(root, "table.md")));

        // A metric more scores what was decoded before; unless that was changed, or is to be decoded in another way.
        Scored("\"BLEU\", \"METEOR\", \"NIST\"", """{ "beams": 2, "max-new": 9 }""", 0);
        File.AppendAllText(Directory.GetFiles(root, "outputs.txt", SearchOption.AllDirectories).Single(), "more\n");
        Scored("\"BLEU\", \"METEOR\", \"TER\"", """{ "beams": 2, "max-new": 9 }""", 4);
        // A run that is made anew, because its result was removed, has new outputs too.
        File.Delete(Directory.GetFiles(root, "result.json", SearchOption.AllDirectories).Single());
        Scored("\"BLEU\", \"METEOR\", \"TER\"", """{ "beams": 2, "max-new": 9 }""", 4);
        RunRecord hugging = Scored(
            "\"multi-bleu\", \"METEOR\"", """{ "beams": 2, "max-new": 9, "beam-rules": "huggingface" }""", 4);
        Assert.Contains("huggingface", hugging.Scores["METEOR"].Settings);

        RunRecord Scored(string scores, string decoding, int decoded)
        {
            string path = Path.Combine(directory, "text.json");
            File.WriteAllText(
                path,
                $$"""
                {
                  "name": "test", "test": {{JsonSerializer.Serialize(Pairs)}}, "seeds": [1],
                  "methods": [ { "name": "base", "method": "base" } ], "scores": [ {{scores}} ], "decoding": {{decoding}}
                }
                """);
            ExperimentFile file = ExperimentFile.Read(path);
            StopAfter watch = new(0, new());
            using ExperimentRunner runner = new(file, root, "cpu", 1, TextScore.All(file, new()), watch);
            Assert.Equal(1, runner.Run().Done);
            Assert.Equal(decoded, watch.Decoded);
            return RunRecord.Read(runner.Runs[0].ResultFile)!;
        }
    }

    [Fact]
    public void A_run_that_diverges_is_recorded_and_the_others_go_on()
    {
        const string Bad = """
            { "name": "wild", "series": "LoRA", "method": "lora", "alpha": 3e38, "lr": 1 },
            { "name": "wild-after-4bit", "of": "wild", "bits": 4 },
            { "name": "tame", "series": "LoRA", "method": "lora", "rank": 1 }
            """;
        string root = Path.Combine(directory, "a");
        Assert.Equal(new ExperimentSummary(6, 6, 0, 4, false), Run(root, Bad, [new LossScore()]));
        Assert.Equal(new ExperimentSummary(6, 0, 6, 4, false), Run(root, Bad, [new LossScore()]));
        string table = File.ReadAllText(Path.Combine(root, "table.md"));
        Assert.Contains("0, 2 failed", table);
        Assert.Matches(@"\| tame \|.*±.*\| 2 \|", table);
        RunRecord record = RunRecord.Read(Path.Combine(Directory.GetDirectories(root, "wild--s1--*").Single(), "result.json"))!;
        Assert.Contains("is not a finite number", record.RunInfo.ErrorMsg);
    }

    [Fact]
    public void Ranks_share_the_runs_and_none_waits_for_a_slower_one()
    {
        string root = Path.Combine(directory, "a");
        // Of an experiment that was killed.
        Directory.CreateDirectory(Path.Combine(root, ".claims"));
        foreach (ExperimentRun run in ExperimentRun.Plan(Read(Methods), root, "cpu", 1))
            File.WriteAllText(Path.Combine(root, ".claims", Path.GetFileName(run.Folder)), "");

        CountingScore score = new("first");
        int others = 0;
        ExperimentSummary[] all = ThreadRanks.Run(3, ranks =>
        {
            SlowFirst observer = new(ranks.Rank == 1, () => Volatile.Read(ref others), () => Interlocked.Increment(ref others));
            using ExperimentRunner runner = new(Read(Methods), root, "cpu", 1, [score], observer, ranks);
            return runner.Run();
        });
        Assert.All(all, summary => Assert.Equal(new ExperimentSummary(13, 13, 0, 0, false), summary));
        Assert.Equal(13, score.Calls);
        Assert.False(Directory.Exists(Path.Combine(root, ".claims")));
        Assert.Equal(new ExperimentSummary(13, 0, 13, 0, false), Run(root, Methods, [score]));
    }

    // A rank that is at its first run until the others have ended all but that and the one that rounds its adapter.
    private sealed class SlowFirst(bool isSlow, Func<int> others, Action ended) : IExperimentObserver
    {
        private bool isFirst = true;

        public void OnRun(ExperimentRun run, int number, int count)
        {
            if (isSlow && isFirst)
                Assert.True(SpinWait.SpinUntil(() => others() >= count - 2, TimeSpan.FromMinutes(2)), $"{run.Title}: {others()} ended");
            isFirst = false;
        }

        public void OnResult(ExperimentRun run, RunRecord record)
        {
            if (!isSlow) ended();
        }

        public void OnStep(StepReport report) { }
    }

    [Fact]
    public void Two_processes_do_not_run_one_experiment_and_a_broken_result_is_named()
    {
        string root = Path.Combine(directory, "a");
        ExperimentFile file = Read(Methods);
        using (new ExperimentRunner(file, root, "cpu", 1, [new LossScore()], new StopAfter(0, new())))
            Assert.Contains(
                "another process",
                Assert.Throws<NolaException>(
                    () => new ExperimentRunner(file, root, "cpu", 1, [new LossScore()], new StopAfter(0, new()))).Message);
        string result = ExperimentRun.Plan(file, root, "cpu", 1)[0].ResultFile;
        Directory.CreateDirectory(Path.GetDirectoryName(result)!);
        foreach (string broken in (string[])["{", "{}", "null"])
        {
            File.WriteAllText(result, broken);
            Assert.Contains("remove it to run again", Assert.Throws<NolaException>(() => Run(root, Methods, [new LossScore()])).Message);
        }
    }

    [Theory]
    [InlineData(
        """{"method":"qlora","name":"a"}""",
        "method 1 ('a'): the method 'qlora' is not known; expected nola, lora, vera, lora-xs, uni-lora, beft, fourierft, ia3, "
        + "vblora, randlora, lokr, bitfit, head, full or base")]
    [InlineData("""{"name":"a"},{"name":"A"}""", "two methods are called 'A'")]
    [InlineData("""{"name":"a/b"}""", "the name 'a/b' becomes a directory's")]
    [InlineData("""{"method":"nola"}""", "the name '' becomes a directory's")]
    [InlineData("""{"name":"a","rnak":3}""", "the key 'rnak' is not known; did you mean 'rank'?")]
    [InlineData("""{"name":"a","rank":0}""", "Method 'a': rank is 0")]
    [InlineData("""{"name":"a","bases":0}""", "Method 'a': bases is 0")]
    [InlineData("""{"name":"a","alpha":1e39}""", "Method 'a': alpha is '1e39'; expected a positive number")]
    [InlineData("""{"name":"a","method":"lora","quantize-bits":4}""", "Method 'a': quantize-bits is '4' with method lora")]
    [InlineData("""{"name":"a","lr":-1}""", "Method 'a': lr is -1; expected above 0")]
    [InlineData("""{"name":"a","seed":3}""", "'seed' is chosen by the experiment")]
    [InlineData("""{"name":"a","out":"x"}""", "'out' is chosen by the experiment")]
    [InlineData("""{"name":"a","of":"b","bits":4}""", "there is no method 'b' before it")]
    [InlineData("""{"name":"b"},{"name":"a","of":"b","bits":5}""", "bits is 5; expected 8, 4, 3 or 2")]
    [InlineData("""{"name":"b"},{"name":"a","of":"b"}""", "\"bits\" is missing; expected a whole number")]
    [InlineData("""{"name":"b"},{"name":"a","of":"b","bits":4,"lr":1}""", "'lr' cannot be combined with \"of\"")]
    [InlineData("""{"name":"b","method":"full"},{"name":"a","of":"b","bits":4}""", "'b' trains no float32 adapter")]
    [InlineData("""{"name":"b","quantize-bits":4},{"name":"a","of":"b","bits":4}""", "'b' trains no float32 adapter")]
    [InlineData("", "\"methods\" must be a list of at least one method")]
    [InlineData("3", "expected an object with a name")]
    public void A_method_that_cannot_be_gives_one_sentence_before_anything_runs(string methods, string complaint)
    {
        string root = Path.Combine(directory, "a");
        NolaException error = Assert.Throws<NolaException>(() => Run(root, methods, [new LossScore()]));
        Assert.Contains(complaint, error.Message);
        Assert.DoesNotContain('\n', error.Message);
        Assert.False(Directory.Exists(root));
    }

    [Theory]
    [InlineData("{", "not valid JSON")]
    [InlineData("[]", "expected one JSON object")]
    [InlineData("""{"method":[]}""", "the key 'method' is not known; did you mean 'methods'?")]
    [InlineData("""{"methods":[{"name":"a"}],"methods":[],"seeds":[1]}""", "not valid JSON")]
    [InlineData("""{"methods":[{"name":"a"}]}""", "\"seeds\" is missing")]
    [InlineData("""{"methods":[{"name":"a"}],"seeds":[]}""", "\"seeds\" is []; expected a list of whole numbers")]
    [InlineData("""{"methods":[{"name":"a"}],"seeds":[1,-1]}""", "expected a list of whole numbers from 0")]
    [InlineData("""{"methods":[{"name":"a"}],"seeds":[1,1]}""", "the seed 1 appears twice")]
    [InlineData("""{"methods":[{"name":"a"}],"seeds":[1],"settings":{"data":"x.csv"}}""", "there is no \"test\"")]
    [InlineData("""{"methods":[{"name":"a"}],"seeds":[1],"settings":[]}""", "expected an object of settings")]
    [InlineData("""{"methods":[{"name":"a"}],"seeds":[1],"test-subset":"odd"}""", "test-subset is 'odd'")]
    [InlineData("""{"methods":[{"name":"a"}],"seeds":[1],"name":"a b"}""", "the name 'a b' becomes a directory's")]
    [InlineData("""{"methods":[{"name":"a"}],"seeds":[1],"scores":["blue"]}""", "The score 'blue' is not known; known are loss")]
    [InlineData("""{"methods":[{"name":"a"}],"seeds":[1],"decoding":[]}""", "decoding: expected an object of beams")]
    [InlineData("""{"methods":[{"name":"a"}],"seeds":[1],"decoding":{"beam":3}}""", "the key 'beam' is not known; did you mean 'beams'?")]
    [InlineData("""{"methods":[{"name":"a"}],"seeds":[1],"decoding":{"beams":0}}""", "decoding: beams is 0; expected 1")]
    [InlineData("""{"methods":[{"name":"a"}],"seeds":[1],"decoding":{"stop":[-1]}}""", "\"stop\" is [-1]; expected a list of token ids")]
    [InlineData(
        """{"methods":[{"name":"a"}],"seeds":[1],"decoding":{"beam-rules":"both"}}""",
        "\"beam-rules\" is \"both\"; expected published or huggingface")]
    [InlineData(
        """{"methods":[{"name":"a"}],"seeds":[1],"plot":"blue"}""",
        "plot is 'blue', which no score of this experiment gives; expected loss, perplexity")]
    public void A_file_that_cannot_be_gives_one_sentence(string content, string complaint)
    {
        string path = Path.Combine(directory, "e.json");
        File.WriteAllText(path, content);
        NolaException error = Assert.Throws<NolaException>(
            () => new ExperimentRunner(
                ExperimentFile.Read(path), Path.Combine(directory, "a"), "cpu", 1, [new LossScore()], new StopAfter(0, new())));
        Assert.Contains(complaint, error.Message);
        Assert.DoesNotContain('\n', error.Message);
        Assert.Contains("there is no such file", Assert.Throws<NolaException>(() => ExperimentFile.Read(path + "none")).Message);
    }

    [Fact]
    public void What_scoring_cannot_read_is_named_before_anything_is_trained()
    {
        string root = Path.Combine(directory, "a"), path = Path.Combine(directory, "e.json");
        File.WriteAllText(
            path,
            $$"""
            {
              "settings": { "model": {{JsonSerializer.Serialize(TinyModels.Golden)}}, "data": {{JsonSerializer.Serialize(Pairs)}} },
              "test": "nowhere.jsonl", "scores": ["METEOR"], "methods": [ { "name": "a" } ], "seeds": [1]
            }
            """);
        ExperimentFile file = ExperimentFile.Read(path);
        StopAfter watch = new(0, new());
        Assert.StartsWith("nowhere.jsonl: there is no such file", Refused(new()));
        string pairs = Path.Combine(directory, "long.jsonl");
        File.WriteAllText(pairs, $$"""{"context":{{JsonSerializer.Serialize(Enumerable.Repeat(1, 5000))}},"completion":[1]}""");
        File.WriteAllText(path, File.ReadAllText(path).Replace("\"nowhere.jsonl\"", JsonSerializer.Serialize(pairs)));
        file = ExperimentFile.Read(path);
        Assert.StartsWith("nothing: there is no such WordNet directory", Refused(new() { WordNet = "nothing" }));
        Assert.Contains("long.jsonl, line 1: the pair has 5001 tokens", Refused(new()));
        Assert.Equal(0, watch.Steps);
        Assert.Empty(Directory.GetDirectories(root));

        string Refused(ScoreOptions options)
        {
            using ExperimentRunner runner = new(file, root, "cpu", 1, TextScore.All(file, options), watch);
            return Assert.Throws<NolaException>(() => runner.Run()).Message;
        }
    }

    [Theory]
    [InlineData("published", BeamRules.Published)]
    [InlineData("huggingface", BeamRules.HuggingFace)]
    [InlineData("HuggingFace", BeamRules.HuggingFace)]
    public void Beam_rules_are_spelled_as_on_the_command_line(string name, BeamRules rules)
    {
        string path = Path.Combine(directory, "e.json");
        File.WriteAllText(path, $$"""{"methods":[{"name":"a"}],"seeds":[1],"decoding":{"beam-rules":"{{name}}"} }""");
        Assert.Equal((rules, rules), (ExperimentFile.Read(path).Decoding.BeamRules, BeamRulesNames.Find(name)));
        Assert.Equal(name.ToLowerInvariant(), BeamRulesNames.Of(rules));
        Assert.Null(BeamRulesNames.Find(((int)rules).ToString()));
    }

    [Fact]
    public void The_experiments_of_the_repository_can_be_planned_and_are_in_the_table_of_the_docs()
    {
        string[] files = Directory.GetFiles(Path.Combine(AppContext.BaseDirectory, "experiments"), "*.json");
        IEnumerable<string> documented = File.ReadLines(Path.Combine(AppContext.BaseDirectory, "docs", "experiments.md"))
            .SkipWhile(line => line != "## The experiments here").Where(line => line.StartsWith("| `", StringComparison.Ordinal))
            .SelectMany(row => row.Split('|')[1].Split(',', '`').Where(part => part.EndsWith(".json", StringComparison.Ordinal)));
        Assert.Equal(documented.Order(StringComparer.Ordinal), files.Select(Path.GetFileName).Order(StringComparer.Ordinal));
        foreach (string path in files)
        {
            ExperimentFile file = ExperimentFile.Read(path);
            IReadOnlyList<ExperimentRun> runs = ExperimentRun.Plan(file, "runs", "cpu", 0);
            Assert.Equal(Path.GetFileNameWithoutExtension(path), file.Name);
            // Of images there are three seeds and four samples; of text a base, once, and each seed of the others.
            int trained = file.Methods.Count(method => method.Kind != ExperimentKind.Base);
            Assert.Equal(
                file.Samples.Count > 0 ? 12 * file.Methods.Count : file.Methods.Count - trained + file.Seeds.Count * trained, runs.Count);
            Assert.Equal(runs.Count, runs.Select(run => run.Folder).Distinct().Count());
            Assert.Equal(runs.Count, runs.Select(run => run.Id).Distinct().Count());
        }
    }

    [Fact]
    public void The_papers_LLaMA_rows_run_on_a_small_model()
    {
        string path = Path.Combine(directory, "small.json"), data = Path.Combine(directory, "alpaca.json");
        File.WriteAllText(data, """
            [{"instruction": "Sing.", "input": "", "output": "La."}, {"instruction": "Say.", "input": "Hi", "output": "Hi."}]
            """);
        File.WriteAllText(
            Path.Combine(directory, "five_shot_mmlu_val.json"), """[{"input": "One? Answer:", "output": "A", "subject": "x"}]""");
        string text = File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "experiments", "alpaca-llama2-7b.json"))
            .Replace("meta-llama/Llama-2-7b-hf", Path.Combine(AppContext.BaseDirectory, "data", "golden", "stories260K"))
            .Replace("alpaca/train.json", data).Replace("alpaca/valid.json", data)
            .Replace("\"mmlu\": \"mmlu\"", $"\"mmlu\": \"{directory}\"")
            .Replace("\"max-steps\": 200", "\"max-steps\": 2").Replace("\"seeds\": [1, 2, 3]", "\"seeds\": [1]");
        File.WriteAllText(path, text);
        ExperimentFile file = ExperimentFile.Read(path);
        StopAfter never = new(int.MaxValue, new());
        using ExperimentRunner runner = new(file, Path.Combine(directory, "runs"), "cpu", 2, TextScore.All(file, new()), never);
        Assert.Equal(new ExperimentSummary(3, 3, 0, 0, false), runner.Run());
        foreach (MethodSummary method in runner.Summarize())
        {
            Assert.Contains(method.Scores["MMLU"].Mean, (double[])[0, 100]);
            Assert.InRange(method.Scores["loss"].Mean, 0, 20);
        }
    }

    [Property(MaxTest = 100)]
    public void A_run_s_id_depends_on_its_settings_alone(int seed)
    {
        Random r = new(seed);
        string rank = $"\"rank\": {1 + r.Next(8)}", rate = $"\"lr\": 0.0{1 + r.Next(8)}";
        string[] ids = [.. ((string[])[$"{rank}, {rate}", $"{rate}, {rank}", $"{rank}, {rate}, \"entries\": \"sign\""]).Select(keys =>
            ExperimentRun.Plan(Read($$"""{ "name": "a{{r.Next(99)}}", {{keys}} }"""), $"root{r.Next(99)}", "cpu", r.Next(4))[0].Id)];
        Assert.Equal(ids[0], ids[1]);
        Assert.NotEqual(ids[0], ids[2]);
    }

    [Theory]
    [InlineData("68.20 ± 0.57", new[] { 67.8, 68.6 }, 0.565685)]
    [InlineData("4.760", new[] { 4.76 }, 0)]
    [InlineData("3.000 ± 1.000", new[] { 2.0, 3, 4 }, 1)]
    [InlineData("1234 ± 6", new[] { 1230.0, 1238 }, 5.656854)]
    [InlineData("0.000 ± 0.000", new[] { 0.0, 0 }, 0)]
    public void Spread_is_the_mean_and_the_sample_deviation(string text, double[] values, double deviation)
    {
        Spread spread = Spread.Of(values);
        Assert.Equal(values.Average(), spread.Mean, 1e-12);
        Assert.Equal(deviation, spread.Deviation, 1e-6);
        Assert.Equal(text, spread.ToString());
    }

    private ExperimentFile Read(string methods, string seeds = "[1, 2]")
    {
        string path = Path.Combine(directory, $"{Guid.NewGuid()}.json");
        string settings = JsonSerializer.Serialize(new Dictionary<string, object>
        {
            ["model"] = TinyModels.Golden,
            ["data"] = Pairs,
            ["valid"] = Pairs,
            ["eval-pairs"] = 0,
            ["batch-tokens"] = 100,
            ["epochs"] = 5,
            ["max-steps"] = 6,
            ["warmup"] = 1,
            ["checkpoint-every"] = 2,
            ["lr"] = 0.01,
        });
        File.WriteAllText(
            path,
            $$"""
            {
              "name": "test", "settings": {{settings}}, "test": {{JsonSerializer.Serialize(Pairs)}},
              "seeds": {{seeds}}, "methods": [ {{methods}} ]
            }
            """);
        return ExperimentFile.Read(path);
    }

    private ExperimentSummary Run(
        string root, string methods, IExperimentScore[] scores, IExperimentObserver? observer = null,
        CancellationToken cancel = default, string seeds = "[1, 2]")
    {
        using ExperimentRunner runner = new(Read(methods, seeds), root, "cpu", 1, scores, observer ?? new StopAfter(int.MaxValue, new()));
        return runner.Run(cancel);
    }
}
