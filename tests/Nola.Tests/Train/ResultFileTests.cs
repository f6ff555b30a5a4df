using System.Text.Json.Nodes;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

/// <summary>Results, settings and experiment files that somebody else wrote, or half of which is gone.</summary>
public sealed class ResultFileTests : IDisposable
{
    private const string Good = """
        {
          "run_info": { "created_at": "2026-01-02T03:04:05Z", "total_time": 1.5, "experiment_name": "e/a",
            "run_id": "00ff00ff", "seed": 3, "bits": 0, "train_config": { "lr": 1 }, "error_msg": "" },
          "train_info": { "status": "success", "train_time": 1, "memory_max": 2, "file_size": 3, "num_trainable_params": 4,
            "num_total_params": 5, "metrics": [ { "step": 0, "valid_loss": 2, "train_loss": null } ] },
          "scores": { "loss": { "settings": "s", "values": { "loss": 1.25, "perplexity": "Infinity" }, "time": 1 } },
          "meta_info": { "model": "m", "model_identity": "i", "nola_version": "v", "dotnet": "d", "system": "s", "device": "d" }
        }
        """;

    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    private string Result => Path.Combine(directory, "result.json");

    public void Dispose() => Directory.Delete(directory, recursive: true);

    [Fact]
    public void A_result_is_read_as_it_was_written()
    {
        File.WriteAllText(Result, Good);
        RunRecord record = RunRecord.Read(Result)!;
        Assert.Equal((1.25, double.PositiveInfinity), (record.Scores["loss"].Values["loss"], record.Scores["loss"].Values["perplexity"]));
        record.Write(Result + "2");
        Assert.Equal(JsonNode.Parse(Good)!.ToJsonString(), JsonNode.Parse(File.ReadAllText(Result + "2"))!.ToJsonString());
    }

    [Fact]
    public void A_result_with_any_of_its_values_gone_or_of_another_kind_is_named()
    {
        foreach (string path in Paths(JsonNode.Parse(Good)!, ""))
            foreach (string other in (string[])["null", "[]", "{}", "\"x\"", "-1.5", "true", "\"\\ud83d\"", "gone"])
            {
                JsonNode root = JsonNode.Parse(Good)!;
                if (!Replace(root, path, other, out string text)) continue;
                File.WriteAllText(Result, text);
                try
                {
                    // What can be read can be used: written again, and reported.
                    RunRecord record = RunRecord.Read(Result)!;
                    record.Write(Result + "2");
                    _ = record.TrainInfo.Metrics.Count + record.Scores.Values.Sum(s => s.Values.Count)
                        + record.MetaInfo.Model.Length + record.RunInfo.ErrorMsg.Length;
                }
                catch (NolaException error)
                {
                    Assert.StartsWith(Result, error.Message);
                    Assert.Contains("remove it to run again", error.Message);
                }
            }
    }

    [Theory]
    [InlineData("train_info.status", "\"done\"")]
    [InlineData("train_info.metrics", "null")]
    [InlineData("train_info.metrics", "[null]")]
    [InlineData("scores.loss", "null")]
    [InlineData("scores.loss.values", "null")]
    [InlineData("meta_info", "null")]
    [InlineData("meta_info", "gone")]
    [InlineData("run_info.train_config", "gone")]
    [InlineData("run_info.error_msg", "null")]
    public void What_would_fail_later_is_refused_at_once(string path, string other)
    {
        Assert.True(Replace(JsonNode.Parse(Good)!, path, other, out string text));
        File.WriteAllText(Result, text);
        Assert.Contains("not a result of an experiment", Assert.Throws<NolaException>(() => RunRecord.Read(Result)).Message);
    }

    [Theory]
    [InlineData("\"\\ud83d\"", "half of a character")]
    [InlineData("\"a\", \"model\": \"b\"", "the key 'model' is there twice")]
    [InlineData("null", "'model' is null; expected text")]
    public void Odd_settings_give_one_sentence(string value, string complaint)
    {
        string path = Path.Combine(directory, "config.json");
        File.WriteAllText(path, $$"""{ "model": {{value}} }""");
        string error = Assert.Throws<NolaException>(() => new Settings(TrainConfig.Keys).ReadJson(path)).Message;
        Assert.StartsWith(path, error);
        Assert.Contains(complaint, error);
    }

    [Theory]
    [InlineData("rank", "100000000", "rank is 100000000; expected 1 to 65536")]
    [InlineData("alpha", "1,6", "alpha is '1,6'; expected a positive number")]
    [InlineData("alpha", " 1", "alpha is ' 1'; expected a positive number")]
    [InlineData("lr", "Infinity", "lr is 'Infinity'")]
    [InlineData("seed", "-1", "seed is '-1'")]
    [InlineData("max-steps", "1_000", "max-steps is '1_000'")]
    [InlineData("schedule", "constant,linear", "schedule is 'constant,linear'; expected constant, linear or cosine")]
    [InlineData("schedule", " linear", "schedule is ' linear'")]
    [InlineData("schedule", "+1", "schedule is '+1'")]
    [InlineData("variant", "off-set", "variant is 'off-set'; expected offset or paper")]
    [InlineData("sharing", "pre-layer", "sharing is 'pre-layer'; expected shared or per-layer")]
    [InlineData("storage", "float16", "storage is 'float16'; expected float32, bfloat16, int8, nf4 or nf4-double")]
    [InlineData("batch-tokens", "2147483647", "batch-tokens is 2147483647; expected 0 (no limit) to 1000000000")]
    [InlineData("batch-size", "2147483647", "batch-size is 2147483647")]
    public void A_value_that_is_nearly_one_is_refused(string key, string value, string complaint)
    {
        Settings settings = new(TrainConfig.Keys);
        settings.Set(key, value, "test");
        Assert.Contains(complaint, Assert.Throws<NolaException>(() => TrainConfig.From(settings)).Message);
    }

    [Fact]
    public void Steps_alone_are_no_epochs_when_a_configuration_is_read_again()
    {
        (string, string, double?, int)[] cases = [("max-steps", "7", null, 7), ("epochs", "2.5", 2.5, 0), ("lr", "1", null, 300)];
        foreach ((string key, string value, double? epochs, int steps) in cases)
        {
            Settings settings = new(TrainConfig.Keys), again = new(TrainConfig.Keys);
            settings.Set(key, value, "test");
            string path = Path.Combine(directory, "config.json");
            File.WriteAllText(path, TrainConfig.From(settings).ToJson());
            again.ReadJson(path);
            Assert.Equal((epochs, steps), (TrainConfig.From(again).Options.Epochs, TrainConfig.From(again).Options.MaxSteps));
        }
    }

    [Theory]
    [InlineData("""{"name":"a\n","methods":[{"name":"a"}],"seeds":[1]}""", "becomes a directory's")]
    [InlineData("""{"name":"\ud83d"}""", "half of a character")]
    [InlineData("""{"methods":[{"name":"a","name":"b"}],"seeds":[1]}""", "the key 'name' is there twice")]
    [InlineData("""{"methods":[null],"seeds":[1]}""", "method 1: expected an object")]
    [InlineData("""{"methods":[{"name":null}],"seeds":[1]}""", "\"name\" is null; expected text")]
    [InlineData("""{"methods":[{"name":"a"}],"seeds":[1e400]}""", "a list of whole numbers from 0")]
    [InlineData("""{"methods":[{"name":"a"}],"seeds":[1],"scores":[null]}""", "a list of names")]
    public void An_odd_experiment_gives_one_sentence(string content, string complaint)
    {
        string path = Path.Combine(directory, "e.json");
        File.WriteAllText(path, content);
        string error = Assert.Throws<NolaException>(() => ExperimentFile.Read(path)).Message;
        Assert.StartsWith(path, error);
        Assert.Contains(complaint, error);
    }

    [Fact]
    public void A_file_that_is_no_text_is_named()
    {
        string path = Path.Combine(directory, "e.json");
        File.WriteAllBytes(path, [(byte)'{', (byte)'"', 0xC3, (byte)'"', (byte)':', (byte)'1', (byte)'}']);
        Assert.Contains("not valid UTF-8", Assert.Throws<NolaException>(() => ExperimentFile.Read(path)).Message);
        Assert.Contains("not valid UTF-8", Assert.Throws<NolaException>(() => new Settings(TrainConfig.Keys).ReadJson(path)).Message);
        Assert.Contains("not valid UTF-8", Assert.Throws<NolaException>(() => RunRecord.Read(path)).Message);
    }

    // Every value below a node, as keys joined by dots.
    private static IEnumerable<string> Paths(JsonNode node, string path)
    {
        if (path.Length > 0) yield return path;
        IEnumerable<(string, JsonNode?)> children = node switch
        {
            JsonObject o => o.Select(p => (p.Key, p.Value)),
            JsonArray a => a.Select((v, i) => ($"{i}", v)),
            _ => [],
        };
        foreach ((string key, JsonNode? child) in children)
        {
            string below = path.Length == 0 ? key : $"{path}.{key}";
            if (child is null) yield return below;
            else
                foreach (string deeper in Paths(child, below)) yield return deeper;
        }
    }

    private static bool Replace(JsonNode root, string path, string other, out string text)
    {
        const string Mark = "the place of the other value";
        string[] keys = path.Split('.');
        JsonNode parent = keys[..^1].Aggregate(root, (node, key) => node is JsonArray a ? a[int.Parse(key)]! : node[key]!);
        text = "";
        if (parent is JsonArray list)
        {
            if (other == "gone") return false;
            list[int.Parse(keys[^1])] = Mark;
        }
        else if (other == "gone") parent.AsObject().Remove(keys[^1]);
        else parent[keys[^1]] = Mark;
        text = root.ToJsonString().Replace($"\"{Mark}\"", other);
        return true;
    }
}
