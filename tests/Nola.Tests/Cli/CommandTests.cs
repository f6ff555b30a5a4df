using System.Diagnostics;
using System.Text.Json;
using Nola.Autograd;
using Nola.Models;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>The tool as its users start it: a process, its output, its exit code.</summary>
public sealed class CommandTests : IDisposable
{
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    public CommandTests()
    {
        using JsonDocument golden = JsonDocument.Parse(File.ReadAllText(Path.Combine(TinyModels.Golden, "case.json")));
        int[][] sequences = [.. golden.RootElement.GetProperty("sequences").EnumerateArray().Select(TinyModels.Ids)];
        int[] prompts = TinyModels.Ids(golden.RootElement.GetProperty("prompt"));
        File.WriteAllLines(
            Pairs, sequences.Zip(prompts, (ids, p) => JsonSerializer.Serialize(new { context = ids[..p], completion = ids[p..] })));
    }

    private string Pairs => Path.Combine(directory, "pairs.jsonl");

    public void Dispose() => Directory.Delete(directory, recursive: true);

    [Fact]
    public void Forward_writes_the_logits()
    {
        string file = Path.Combine(directory, "logits.safetensors");
        Succeeds("forward", "--model", TinyModels.Golden, "--ids", "28,26,47", "--out", file);
        using Safetensors logits = Safetensors.Open(file);
        SafetensorsEntry entry = Assert.Single(logits.Entries);
        Assert.Equal(("logits", "F32"), (entry.Name, entry.Type));
        Assert.Equal([3L, 97L], entry.Shape);
        float[] got = new float[3 * 97];
        logits.ReadFloats(entry, got);
        using CpuDevice device = new();
        using LanguageModel model = LanguageModel.Load(TinyModels.Golden, device);
        Assert.Equal(model.Logits([28, 26, 47]), got);
    }

    [Fact]
    public void Loss_prints_the_golden_figure_of_a_model_without_tokenizer()
    {
        JsonElement result = Succeeds("loss", "--model", TinyModels.Golden, "--pairs", Pairs, "--label-smoothing", "0.1", "--json");
        using Safetensors expected = Safetensors.Open(Path.Combine(TinyModels.Golden, "expected.safetensors"));
        float[] wanted = new float[1];
        expected.ReadFloats(expected.Get("loss_smooth_0.1"), wanted);
        Assert.Equal(wanted[0], result.GetProperty("loss").GetDouble(), 2e-6);
        Assert.Equal(46, result.GetProperty("tokens").GetInt32());
    }

    [Fact]
    public void A_perplexity_beyond_every_number_is_printed_as_JSON_too()
    {
        string wild = Path.Combine(directory, "wild");
        using (CpuDevice device = new(1))
        using (LanguageModel model = LanguageModel.Load(TinyModels.Golden, device, trainable: true))
        {
            Parameter table = model.Parameters.First(p => p.Name == "wte.weight");
            device.Upload([.. table.Value.ToArray().Select(x => 1e6f * x)], table.Value);
            model.Save(wild);
        }
        JsonElement result = Succeeds("loss", "--model", wild, "--pairs", Pairs, "--json");
        Assert.True(result.GetProperty("loss").GetDouble() > 710);
        Assert.Equal("Infinity", result.GetProperty("perplexity").GetString());
    }

    [Theory]
    [InlineData("devices")]
    [InlineData("doctor")]
    public void Devices_are_listed_with_a_reason_for_every_refusal(string command)
    {
        JsonElement[] devices = [.. Succeeds(command, "--json").GetProperty("devices").EnumerateArray()];
        Assert.Equal(("cpu", true), (devices[0].GetProperty("name").GetString(), devices[0].GetProperty("works").GetBoolean()));
        Assert.All(devices, device => Assert.NotEqual("", device.GetProperty("detail").GetString()));
    }

    [Fact]
    public void Train_then_merge_export_and_inspect_agree()
    {
        string run = Path.Combine(directory, "run"), adapter = Path.Combine(run, "adapter.safetensors");
        string merged = Path.Combine(directory, "merged"), peft = Path.Combine(directory, "peft");
        JsonElement trained = Succeeds(
            "train", "--model", TinyModels.Golden, "--data", Pairs, "--valid", Pairs,
            "--out", run, "--bases", "30", "--epochs", "25", "--warmup", "2", "--json");
        Assert.Equal("finished", trained.GetProperty("outcome").GetString());
        Assert.True(trained.GetProperty("last_loss").GetDouble() < trained.GetProperty("first_loss").GetDouble() - 0.1);
        double with = Loss("--model", TinyModels.Golden, "--adapter", adapter);
        Assert.Equal(trained.GetProperty("best_loss").GetDouble(), with, 1e-5);
        Succeeds("merge", "--model", TinyModels.Golden, "--adapter", adapter, "--out", merged);
        Succeeds("export", "--format", "peft-lora", "--model", TinyModels.Golden, "--adapter", adapter, "--out", peft);
        Assert.Equal(with, Loss("--model", merged), 1e-5);
        Assert.Equal(with, Loss("--model", TinyModels.Golden, "--adapter", peft), 1e-5);
        Assert.Equal("nola adapter", Succeeds("inspect", adapter, "--json").GetProperty("kind").GetString());
        Assert.Equal("PEFT adapter", Succeeds("inspect", peft, "--json").GetProperty("kind").GetString());
        Assert.Equal(62448, Succeeds("inspect", merged, "--json").GetProperty("parameters").GetInt32());
        Assert.Contains("another one", Fails("loss", "--model", merged, "--adapter", adapter, "--pairs", Pairs));
        Assert.Contains("already", Fails("merge", "--model", TinyModels.Golden, "--adapter", adapter, "--out", merged));
    }

    [Theory]
    [InlineData("lora", "--rslora", "true", "--dora")]
    [InlineData("lora-xs", "--rank", "5")]
    [InlineData("uni-lora", "--theta-length", "300", "--theta-bound", "0.3")]
    [InlineData("beft", "--targets", "v,c_fc")]
    public void A_method_is_trained_measured_and_merged_by_its_options(string method, params string[] options)
    {
        string run = Path.Combine(directory, "run"), adapter = Path.Combine(run, "adapter.safetensors");
        string merged = Path.Combine(directory, "merged");
        JsonElement trained = Succeeds(
        [
            "train", "--model", TinyModels.Golden, "--data", Pairs, "--valid", Pairs, "--out", run, "--method", method,
            "--epochs", "25", "--warmup", "2", "--lr", "0.02", "--json", .. options,
        ]);
        Assert.True(trained.GetProperty("last_loss").GetDouble() < trained.GetProperty("first_loss").GetDouble() - 0.02);
        double with = Loss("--model", TinyModels.Golden, "--adapter", adapter);
        Assert.Equal(trained.GetProperty("best_loss").GetDouble(), with, 1e-5);
        Succeeds("merge", "--model", TinyModels.Golden, "--adapter", adapter, "--out", merged);
        Assert.Equal(with, Loss("--model", merged), 1e-5);
        string[] export = ["export", "--model", TinyModels.Golden, "--adapter", adapter, "--out", Path.Combine(directory, "near")];
        if (method == "beft")
        {
            Assert.Contains("is a bias, so that no LoRA is near to it", Fails([.. export, "--nearest-rank", "4"]));
            return;
        }
        double missed = Succeeds([.. export, "--nearest-rank", "48", "--json"]).GetProperty("relative_error").GetDouble();
        Assert.InRange(missed, 0, 1e-4);
        Assert.Equal(with, Loss("--model", TinyModels.Golden, "--adapter", Path.Combine(directory, "near")), 1e-5);
        if (options.Contains("--dora"))
            Assert.Contains("--nearest-rank", Fails([.. export[..^1], Path.Combine(directory, "plain"), "--format", "peft-lora"]));
    }

    [Fact]
    public void An_adapter_on_codes_is_trained_and_merged_into_bfloat16()
    {
        string run = Path.Combine(directory, "codes"), adapter = Path.Combine(run, "adapter.safetensors");
        string merged = Path.Combine(directory, "merged-codes");
        Succeeds(
            "train", "--model", TinyModels.Golden, "--data", Pairs, "--valid", Pairs, "--storage", "nf4",
            "--out", run, "--bases", "30", "--epochs", "10", "--warmup", "2", "--json");
        double with = Loss("--model", TinyModels.Golden, "--storage", "nf4", "--adapter", adapter);
        Assert.NotEqual(with, Loss("--model", TinyModels.Golden, "--storage", "nf4"));
        // The adapter is one of the same model, however it is kept.
        Assert.NotEqual(with, Loss("--model", TinyModels.Golden, "--storage", "int8", "--adapter", adapter));
        (int code, _, string error) =
            Tool.Run(["merge", "--model", TinyModels.Golden, "--storage", "nf4", "--adapter", adapter, "--out", merged]);
        Assert.True(code == 0, error);
        Assert.Contains("The base is in nf4: what its codes stand for, with the adapter added, was written in bfloat16.", error);
        using Safetensors written = Safetensors.Open(Path.Combine(merged, "model.safetensors"));
        Assert.All(written.Entries, entry => Assert.Equal("BF16", entry.Type));
        // 8 bits of a weight's mantissa remain.
        Assert.Equal(with, Loss("--model", merged), 0.02);
    }

    [Fact]
    public void Merge_says_that_a_tied_model_has_two_tables_now()
    {
        string run = Path.Combine(directory, "t"), adapter = Path.Combine(run, "adapter.safetensors");
        string merged = Path.Combine(directory, "two-tables");
        Succeeds(
            "train", "--model", TinyModels.Golden, "--data", Pairs, "--valid", Pairs, "--method", "lora", "--rank", "4", "--lr", "0.01",
            "--targets", "v,wte,lm_head", "--out", run, "--max-steps", "12", "--warmup", "2", "--json");
        JsonElement tensors = Succeeds("inspect", adapter, "--json").GetProperty("tensors");
        Assert.Equal(
            ["attn.v.A", "attn.v.B", "lm_head.A", "lm_head.B", "wte.A", "wte.B"],
            tensors.EnumerateArray().Select(tensor => tensor.GetProperty("name").GetString()));
        double with = Loss("--model", TinyModels.Golden, "--adapter", adapter);
        (int code, _, string said) = Tool.Run(["merge", "--model", TinyModels.Golden, "--adapter", adapter, "--out", merged]);
        Assert.Equal(0, code);
        Assert.Contains("the checkpoint has a table for each, and tie_word_embeddings is false.", said);
        Assert.Equal(with, Loss("--model", merged), 1e-5);
        // A second table, of as many values as the first.
        using Safetensors file = Safetensors.Open(Path.Combine(merged, "model.safetensors"));
        Assert.Equal(file.Get("wte.weight").Shape, file.Get("lm_head.weight").Shape);
        Assert.Equal(62448 + file.Get("wte.weight").Length, Succeeds("inspect", merged, "--json").GetProperty("parameters").GetInt64());
    }

    [Fact]
    public void Quantize_packs_an_adapter_that_every_command_takes()
    {
        string run = Path.Combine(directory, "q"), whole = Path.Combine(run, "adapter.safetensors");
        string packed = Path.Combine(directory, "adapter-4.safetensors");
        Succeeds(
            "train", "--model", TinyModels.Golden, "--data", Pairs, "--valid", Pairs,
            "--out", run, "--bases", "200", "--epochs", "5", "--warmup", "2", "--json");
        JsonElement report = Succeeds("quantize", whole, "--bits", "4", "--out", packed, "--json");
        // Two layers, q and v, two factors, k = 200.
        Assert.Equal(1600, report.GetProperty("values").GetInt32());
        Assert.Equal(new FileInfo(packed).Length, report.GetProperty("bytes_after").GetInt64());
        Assert.True(report.GetProperty("bytes_after").GetInt64() < report.GetProperty("bytes_before").GetInt64() - 1600 * 3);
        Assert.InRange(report.GetProperty("relative_error").GetDouble(), 0.01, 0.3);
        JsonElement facts = Succeeds("inspect", packed, "--json");
        Assert.Equal(("4", 1600), (facts.GetProperty("bits").GetString(), facts.GetProperty("values").GetInt32()));
        Assert.Equal("32", Succeeds("inspect", whole, "--json").GetProperty("bits").GetString());
        Assert.NotEqual(Loss("--model", TinyModels.Golden, "--adapter", whole), Loss("--model", TinyModels.Golden, "--adapter", packed));
        Assert.Contains("expected 8, 4, 3 or 2", Fails("quantize", whole, "--bits", "6", "--out", packed + "6"));
        Assert.Contains("exists already", Fails("quantize", whole, "--bits", "4", "--out", packed));
        Assert.Contains(
            "it is for nola",
            Fails("train", "--method", "lora", "--quantize-bits", "4", "--model", TinyModels.Golden, "--data", Pairs, "--out", run + "2"));
    }

    [Fact]
    public void Tasks_are_joined_and_each_is_taken_by_its_name()
    {
        string[] runs = [.. new[] { "one", "two" }.Select(name => Path.Combine(directory, name))];
        string[] files = [.. runs.Select(run => Path.Combine(run, "adapter.safetensors"))];
        string joint = Path.Combine(directory, "tasks.safetensors");
        for (int i = 0; i < runs.Length; i++)
            Succeeds(
                "train", "--model", TinyModels.Golden, "--data", Pairs, "--valid", Pairs,
                "--out", runs[i], "--bases", "20", "--epochs", $"{i + 2}", "--warmup", "2", "--json");
        JsonElement report = Succeeds("join", files[0], $"second={files[1]}", "--out", joint, "--json");
        Assert.Equal(["one", "second"], report.GetProperty("tasks").EnumerateArray().Select(task => task.GetString()));
        Assert.True(report.GetProperty("bytes_after").GetInt64() < report.GetProperty("bytes_before").GetInt64());
        double[] losses = [.. files.Select(file => Loss("--model", TinyModels.Golden, "--adapter", file))];
        Assert.NotEqual(losses[0], losses[1]);
        Assert.Equal(
            Loss("--model", TinyModels.Golden, "--adapter", files[1]),
            Loss("--model", TinyModels.Golden, "--adapter", joint + ":second"));
        Assert.Equal("nola adapters of 2 tasks", Succeeds("inspect", joint, "--json").GetProperty("kind").GetString());
        Assert.Equal("nola adapter", Succeeds("inspect", joint + ":one", "--json").GetProperty("kind").GetString());
        Assert.Contains("name one, as in", Fails("loss", "--model", TinyModels.Golden, "--pairs", Pairs, "--adapter", joint));
    }

    [Fact]
    public void Data_are_listed_and_converted()
    {
        JsonElement list = Succeeds("data", directory, "--json");
        Assert.Equal(
            ["e2e:train", "e2e:dev", "e2e:test", "laptops:train", "laptops:dev", "laptops:test", Pairs],
            list.GetProperty("data").EnumerateArray().Select(d => d.GetProperty("path").GetString()));
        Assert.Equal("CC BY-SA 4.0", list.GetProperty("data")[0].GetProperty("license").GetString());
        string lines = Path.Combine(directory, "dev.jsonl");
        Assert.Equal(4672, Succeeds("data", "convert", "e2e:dev", "--out", lines, "--json").GetProperty("pairs").GetInt32());
        Assert.Equal(4672, File.ReadLines(lines).Count());
        Assert.Contains("ends in .jsonl", Fails("data", "convert", "e2e:dev", "--out", Path.Combine(directory, "dev.csv")));
        Assert.Contains("no category here", Fails("data", "convert", Pairs, "--subset", "seen", "--out", lines));
        Assert.Contains("no category here", Fails("loss", "--model", TinyModels.Golden, "--pairs", Pairs, "--subset", "unseen"));
        Assert.Contains("no such directory", Fails("data", Path.Combine(directory, "none")));
    }

    [Fact]
    public void Generate_prints_ids_for_a_model_without_tokenizer()
    {
        JsonElement result = Succeeds(
            "generate", "--model", TinyModels.Golden, "--ids", "28,26,47", "--max-new", "5", "--stop", "", "--json");
        Assert.Equal([52, 52, 52, 52, 52], result.GetProperty("ids").EnumerateArray().Select(v => v.GetInt32()));
    }

    [Theory]
    [InlineData("")]
    [InlineData(" ")]
    [InlineData(" is")]
    public void Generate_streams_the_text_that_JSON_has_without_its_stop_string(string stop)
    {
        string[] command = ["generate", "--prompt", "name : The Punter | food : Indian", "--max-new", "12", "--device", "cpu"];
        if (stop.Length > 0) command = [.. command, "--stop-string", stop];
        string text = Succeeds([.. command, "--json"]).GetProperty("text").GetString()!;
        (int code, string output, string error) = Run(command);
        Assert.True(code == 0, error);
        Assert.Equal(text + "\n", output);
        if (stop == " ") Assert.DoesNotContain(' ', text);
    }

    [Fact]
    public void Generate_searches_with_beams_under_either_rules()
    {
        string[] common =
        [
            "generate", "--model", TinyModels.Golden, "--beams", "4",
            "--no-repeat-ngram", "3", "--max-new", "14", "--stop", "3,14,15,92", "--json",
        ];
        JsonElement published = Succeeds([.. common, "--ids", "32,94,45,88,94,83", "--length-penalty", "1"]);
        // as data/golden/decoding has it
        Assert.Equal([39, 39, 39, 90, 90, 17, 17, 28, 28, 3], TinyModels.Ids(published.GetProperty("ids")));
        using CpuDevice device = new();
        using LanguageModel model = LanguageModel.Load(TinyModels.Golden, device);
        GenerateOptions options = new()
        {
            Beams = 4,
            BeamRules = BeamRules.HuggingFace,
            NoRepeatNgram = 3,
            MaxNewTokens = 14,
            MinNewTokens = 5,
            RepetitionPenalty = 1.2f,
            StopTokens = [3, 14, 15, 92],
        };
        JsonElement hugging = Succeeds(
            [.. common, "--ids", "48,69,13", "--beam-rules", "huggingface", "--min-new", "5", "--repetition-penalty", "1.2"]);
        Assert.Equal(model.Generate([48, 69, 13], null, options), TinyModels.Ids(hugging.GetProperty("ids")));
    }

    [Fact]
    public void Generate_answers_a_file_of_prompts_with_a_line_for_each_distinct_one()
    {
        string prompts = Path.Combine(directory, "prompts.jsonl"), answers = Path.Combine(directory, "answers.jsonl");
        File.WriteAllLines(
            prompts,
            ["""{"context":[3,59]}""", """{"prompt":[47,60,1],"completion":[2]}""", """{"context":[3,59]}""", """{"context":[5]}"""]);
        string[] common =
        [
            "generate", "--model", TinyModels.Golden, "--prompts", prompts,
            "--beams", "3", "--max-new", "6", "--batch-tokens", "4", "--json",
        ];
        (int code, string output, string error) = Run(common);
        Assert.True(code == 0, error);
        Assert.Contains("3 distinct inputs", error);
        JsonElement[] lines = [.. output.Trim().Split('\n').Select(line => JsonDocument.Parse(line).RootElement)];
        Assert.Equal([[3, 59], [47, 60, 1], [5]], lines.Select(line => TinyModels.Ids(line.GetProperty("context"))));
        foreach (JsonElement line in lines)
        {
            string ids = string.Join(',', TinyModels.Ids(line.GetProperty("context")));
            JsonElement alone = Succeeds(
                "generate", "--model", TinyModels.Golden, "--ids", ids, "--beams", "3", "--max-new", "6", "--json");
            Assert.Equal(TinyModels.Ids(alone.GetProperty("ids")), TinyModels.Ids(line.GetProperty("ids")));
        }
        Assert.Equal(3, Succeeds([.. common, "--out", answers]).GetProperty("inputs").GetInt32());
        Assert.Equal(output, File.ReadAllText(answers));
        File.AppendAllText(prompts, """{"context":[97]}""");
        Assert.Contains("prompts.jsonl, line 5: token id 97", Fails([.. common, "--out", Path.Combine(directory, "none")]));
        Assert.False(File.Exists(Path.Combine(directory, "none")));
    }

    [Fact]
    public void Generate_writes_text_for_contexts_as_text()
    {
        string prompts = Path.Combine(directory, "prompts.txt"), csv = Path.Combine(directory, "test.csv");
        File.WriteAllLines(prompts, ["name : Blue Spice | Type : pub||A pub.", "", "name : The Punter", "name : Blue Spice | Type : pub"]);
        File.WriteAllLines(csv, ["MR", "\"name[Blue Spice], eatType[pub]\"", "name[The Punter]"]);
        string[] answers = [.. ((string[])[prompts, csv]).Select(file =>
        {
            (int code, string output, string error) = Run(["generate", "--prompts", file, "--max-new", "5"]);
            Assert.True(code == 0, error);
            return output;
        })];
        Assert.Equal(answers[0], answers[1]);
        Assert.Equal(2, answers[0].Trim().Split('\n').Length);
    }

    [Fact]
    public void A_killed_run_resumes_to_the_same_bits()
    {
        string[] settings =
        [
            "--model", TinyModels.TinyRandom, "--data", Ids(40), "--bases", "50", "--epochs", "60",
            "--batch-tokens", "300", "--checkpoint-every", "3", "--threads", "1", "--json",
        ];
        string whole = Path.Combine(directory, "whole"), killed = Path.Combine(directory, "killed");
        Succeeds(["train", "--out", whole, .. settings]);
        using (Process process = Start(["train", "--out", killed, .. settings]))
        {
            // Wait for the first checkpoint, then kill it wherever it is.
            Stopwatch clock = Stopwatch.StartNew();
            while (!File.Exists(Path.Combine(killed, "last.safetensors")) && clock.Elapsed < TimeSpan.FromSeconds(60)) Thread.Sleep(5);
            Thread.Sleep(Random.Shared.Next(100));
            process.Kill();
            process.WaitForExit();
        }
        // Whichever device was chosen is the one that it is resumed on.
        using (JsonDocument config = JsonDocument.Parse(File.ReadAllText(Path.Combine(killed, "config.json"))))
            Assert.NotEqual("auto", config.RootElement.GetProperty("device").GetString());
        Succeeds("train", "--resume", "--out", killed, "--threads", "1", "--json");
        Assert.Equal(
            File.ReadAllBytes(Path.Combine(whole, "adapter.safetensors")), File.ReadAllBytes(Path.Combine(killed, "adapter.safetensors")));
    }

    [Fact]
    public void A_killed_experiment_goes_on_to_the_same_results()
    {
        string file = Path.Combine(directory, "e.json"), whole = Path.Combine(directory, "whole");
        string killed = Path.Combine(directory, "killed");
        File.WriteAllText(file, $$"""
            {
              "settings": {
                "model": {{JsonSerializer.Serialize(TinyModels.TinyRandom)}}, "data": {{JsonSerializer.Serialize(Ids(40))}},
                "epochs": 15, "batch-tokens": 300, "checkpoint-every": 3
              },
              "test": {{JsonSerializer.Serialize(Ids(40))}}, "seeds": [1, 2],
              "methods": [
                { "name": "a", "series": "NOLA", "bases": 50 }, { "name": "b", "of": "a", "bits": 4 }, { "name": "c", "method": "lora" }
              ]
            }
            """);
        Assert.Equal(6, Succeeds("experiment", file, "--out", whole, "--threads", "1", "--json").GetProperty("done").GetInt32());
        using (Process process = Start(["experiment", file, "--out", killed, "--threads", "1"]))
        {
            // Until the second method is at work, then wherever it is.
            Stopwatch clock = Stopwatch.StartNew();
            while (!HasCheckpointOfC() && clock.Elapsed < TimeSpan.FromSeconds(60)) Thread.Sleep(5);
            process.Kill();
            process.WaitForExit();
        }
        bool HasCheckpointOfC() => Directory.Exists(killed)
            && Directory.GetFiles(killed, "last.safetensors", SearchOption.AllDirectories).Any(f => f.Contains("c--"));

        JsonElement rest = Succeeds("experiment", file, "--out", killed, "--threads", "1", "--json");
        Assert.Equal(6, rest.GetProperty("done").GetInt32() + rest.GetProperty("skipped").GetInt32());
        Assert.InRange(rest.GetProperty("skipped").GetInt32(), 2, 5);
        string[] adapters = Directory.GetFiles(whole, "adapter.safetensors", SearchOption.AllDirectories);
        Assert.Equal(6, adapters.Length);
        Assert.All(
            adapters, f => Assert.Equal(File.ReadAllBytes(f), File.ReadAllBytes(Path.Combine(killed, Path.GetRelativePath(whole, f)))));
        Assert.Contains(
            "two methods are called 'a'",
            Fails("experiment", Written("""{"seeds":[1],"methods":[{"name":"a"},{"name":"a"}]}"""), "--out", killed));
        Assert.Contains(
            "the method 'prompt' is not known",
            Fails("experiment", Written("""{"seeds":[1],"methods":[{"name":"a","method":"prompt"}]}"""), "--out", killed));

        string Written(string content)
        {
            string path = Path.Combine(directory, "bad.json");
            File.WriteAllText(path, content);
            return path;
        }
    }

    [Theory]
    [InlineData(2, "did you mean '--epochs'?", "train", "--epoch", "3")]
    [InlineData(2, "did you mean 'train'?", "trian")]
    [InlineData(2, "'--pairs' is required", "loss")]
    [InlineData(1, "rank is 0", "train", "--rank", "0", "--model", "GOLDEN", "--data", "PAIRS")]
    [InlineData(1, "neither a directory nor in the Hugging Face cache", "generate", "--model", "nowhere", "--prompt", "x")]
    [InlineData(1, "there is no such file", "loss", "--model", "GOLDEN", "--pairs", "nowhere.jsonl")]
    [InlineData(1, "not GPT-2's 50257", "generate", "--model", "GOLDEN", "--prompt", "x")]
    [InlineData(1, "outside the model's vocabulary of 97", "forward", "--model", "GOLDEN", "--ids", "97", "--out", "x")]
    [InlineData(1, "'a' is not a token id", "forward", "--model", "GOLDEN", "--ids", "1,a", "--out", "x")]
    [InlineData(
        1, "at most 24", "forward", "--model", "GOLDEN", "--ids", "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1", "--out", "x")]
    [InlineData(1, "threads", "forward", "--model", "GOLDEN", "--ids", "1", "--out", "x", "--threads", "-1")]
    [InlineData(1, "beams is 0", "generate", "--model", "GOLDEN", "--ids", "1", "--beams", "0")]
    [InlineData(
        1, "beam-rules is 'hf'; expected published or huggingface", "generate", "--model", "GOLDEN", "--ids", "1", "--beam-rules", "hf")]
    [InlineData(1, "a beam search does not sample", "generate", "--model", "GOLDEN", "--ids", "1", "--beams", "2", "--temperature", "1")]
    [InlineData(1, "--out is given without --prompts", "generate", "--model", "GOLDEN", "--ids", "1", "--out", "x")]
    [InlineData(1, "give one of them", "generate", "--model", "GOLDEN", "--ids", "1", "--prompts", "PAIRS")]
    [InlineData(1, "there is no such file", "generate", "--model", "GOLDEN", "--prompts", "nowhere.jsonl", "--out", "x")]
    [InlineData(1, "not GPT-2's 50257", "generate", "--model", "GOLDEN", "--prompts", "PAIRS", "--out", "x")]
    [InlineData(
        1, "cannot be written as a file, because it is a directory", "generate", "--model",
        "GOLDEN", "--prompts", "PAIRS", "--json", "--max-new", "1", "--out", ".")]
    [InlineData(
        1, "use the device cpu or auto. Options: --device. See 'nola devices'.",
        "forward", "--model", "GOLDEN", "--ids", "1", "--out", "x", "--device", "cuda")]
    public void Bad_input_gives_one_sentence_and_a_nonzero_exit_code(int exit, string complaint, params string[] arguments)
    {
        string[] real = [.. arguments.Select(a => a switch { "GOLDEN" => TinyModels.Golden, "PAIRS" => Pairs, _ => a })];
        (int code, string output, string error) = Run(real);
        Assert.Equal((exit, ""), (code, output));
        Assert.Contains(complaint, error, StringComparison.OrdinalIgnoreCase);
        Assert.Single(error.Trim().Split('\n'));
        Assert.StartsWith("nola: ", error);
        Assert.False(File.Exists("x"));
    }

    [Fact]
    public void Pretrain_makes_a_model_on_the_device_that_it_is_told()
    {
        string text = Path.Combine(directory, "text.txt"), run = Path.Combine(directory, "new");
        File.WriteAllText(text, "The cat sat on the mat, and the dog sat on the cat.");
        string[] small =
        [
            "pretrain", "--text", text, "--out", run, "--layers", "1", "--heads",
            "1", "--channels", "8", "--positions", "16", "--max-steps", "2",
        ];
        Assert.Contains("cuda:99", Fails([.. small, "--device", "cuda:99"]));
        Assert.False(Directory.Exists(run));
        Succeeds([.. small, "--device", "cpu"]);
        Assert.True(File.Exists(Path.Combine(run, "model", "model.safetensors")));
    }

    [Fact]
    public void Pretraining_on_several_sources_is_evaluated_on_each_and_continues_bit_for_bit()
    {
        string sources = Directory.CreateDirectory(Path.Combine(directory, "sources")).FullName;
        File.WriteAllText(
            Path.Combine(sources, "cats.train.txt"), string.Concat(Enumerable.Repeat("The cat sat on the mat.\n<|endoftext|>\n", 40)));
        File.WriteAllText(Path.Combine(sources, "cats.valid.txt"), "The dog sat on the mat.");
        string pairs = Path.Combine(sources, "names.pairs.train.jsonl");
        File.WriteAllLines(
            pairs, Enumerable.Range(0, 60).Select(i => $$"""{"context": "name : N{{i}}", "completion": "This is N{{i}}."}"""));
        string[] command =
        [
            "pretrain", "--text", Path.Combine(sources, "cats.train.txt"), "--pairs", pairs, "--mix", "cats=0.25", "--vocabulary", "300",
            "--layers", "1", "--heads", "1", "--channels", "8", "--positions", "32", "--batch-tokens", "64", "--epochs", "3",
            "--warmup", "1", "--eval-every", "5", "--device", "cpu", "--threads", "1", "--out",
        ];
        string whole = Path.Combine(directory, "whole"), parts = Path.Combine(directory, "parts");
        Succeeds([.. command, whole]);
        Succeeds([.. command, parts, "--max-steps", "7"]);
        Succeeds([.. command, parts, "--resume"]);
        JsonElement[] last = [.. Last(whole).GetProperty("sources").EnumerateArray()];
        Assert.Equal(["cats", "names.pairs"], last.Select(source => source.GetProperty("name").GetString()));
        Assert.InRange(last[0].GetProperty("share").GetDouble(), 0.2, 0.3);
        Assert.True(last[0].GetProperty("bits_per_byte").GetDouble() > 0);
        Assert.False(last[1].TryGetProperty("loss", out _));
        // The schedule of a shorter run is another one, so that losses differ; what was read does not.
        Assert.Equal(Tokens(whole), Tokens(parts));
        (int code, _, string error) = Run([.. command.Select(a => a == "cats=0.25" ? "cats=0.5" : a), parts, "--resume"]);
        Assert.Equal(1, code);
        Assert.Contains("mix was cats=0.25", error);

        Assert.Equal(300, File.ReadAllText(Path.Combine(whole, "model", "vocab.json")).Count(c => c == ':') - 1);
        Succeeds("generate", "--model", Path.Combine(whole, "model"), "--prompt", "The cat", "--max-new", "3", "--device", "cpu", "--json");

        static JsonElement Last(string run) => JsonDocument.Parse(
            File.ReadLines(Path.Combine(run, "log.jsonl")).Last(line => line.Contains("\"eval\"", StringComparison.Ordinal))).RootElement;
        static long[] Tokens(string run) =>
            [.. Last(run).GetProperty("sources").EnumerateArray().Select(source => source.GetProperty("tokens").GetInt64())];
    }

    [Fact]
    public void Help_lists_every_setting()
    {
        (int code, string output, _) = Run(["train", "--help"]);
        Assert.Equal(0, code);
        Assert.All(Train.TrainConfig.Keys, key => Assert.Contains("--" + key.Name, output));
    }

    private double Loss(params string[] arguments) =>
        Succeeds(["loss", "--pairs", Pairs, "--json", .. arguments]).GetProperty("loss").GetDouble();

    private string Ids(int count)
    {
        string path = Path.Combine(directory, "ids.jsonl");
        File.WriteAllLines(path, TinyModels.Pairs(new Random(4), count, 1000)
            .Select(p => JsonSerializer.Serialize(new { context = p.Context, completion = p.Completion })));
        return path;
    }

    private static JsonElement Succeeds(params string[] arguments)
    {
        (int code, string output, string error) = Run(arguments);
        Assert.True(code == 0, error);
        return output.Trim().Length == 0 ? default : JsonDocument.Parse(output).RootElement;
    }

    private static string Fails(params string[] arguments)
    {
        (int code, _, string error) = Run(arguments);
        Assert.NotEqual(0, code);
        return error;
    }

    private static (int Code, string Output, string Error) Run(string[] arguments)
    {
        using Process process = Start(arguments);
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output, error.Result);
    }

    private static Process Start(string[] arguments) =>
        Process.Start(new ProcessStartInfo("dotnet", [Path.Combine(AppContext.BaseDirectory, "nola.dll"), .. arguments])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
        })!;
}
