using System.Text.Json;
using Nola.Models;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary><c>nola train --tasks</c>.</summary>
public sealed class TrainTasksTests : IDisposable
{
    private static readonly string[] settings =
        ["--model", TinyModels.TinyRandom, "--bases", "20", "--epochs", "2", "--batch-size", "2", "--lr", "0.05", "--threads", "1"];

    private readonly string directory = Directory.CreateTempSubdirectory("nola-tasks").FullName;

    public void Dispose() => Directory.Delete(directory, recursive: true);

    [Fact]
    public void Each_task_s_file_is_what_a_run_alone_writes_and_one_that_cannot_be_read_is_said()
    {
        string data = Path.Combine(directory, "data"), together = Path.Combine(directory, "together");
        Directory.CreateDirectory(data);
        WritePairs("first", 7, 1);
        WritePairs("first.valid", 2, 2);
        WritePairs("second", 4, 3);
        File.WriteAllText(Path.Combine(data, "third.jsonl"), "{\"context\": 1}");
        (int code, string output, string error) = Tool.Run(["train", "--tasks", data, "--out", together, "--json", .. settings]);
        Assert.Equal(1, code);
        Assert.Contains("third", error);
        JsonElement[] lines = [.. output.TrimEnd('\n').Split('\n').Select(line => JsonDocument.Parse(line).RootElement)];
        Assert.Equal(["first", "second", "third"], lines[..^1].Select(line => line.GetProperty("task").GetString()).Order());
        Assert.Equal((3, 2, 1), (Number("tasks"), Number("finished"), Number("failed")));
        foreach (string name in (string[])["first", "second"])
        {
            string alone = Path.Combine(directory, name), held = Path.Combine(data, name + ".valid.jsonl");
            string[] valid = File.Exists(held) ? ["--valid", held] : [];
            Tool.Lines(["train", "--data", Path.Combine(data, name + ".jsonl"), "--out", alone, .. settings, .. valid]);
            Assert.Equal(Adapter(alone), Adapter(Path.Combine(together, name)));
            Assert.Equal(Config(alone), Config(Path.Combine(together, name)));
        }
        // Those that are done stay so, and the one that can be read now is trained.
        WritePairs("third", 3, 4);
        Assert.Equal(0, Tool.Run(["train", "--tasks", data, "--out", together, "--resume", .. settings]).Code);
        Assert.True(File.Exists(Path.Combine(together, "third", "adapter.safetensors")));
        string[] elsewhere = ["train", "--tasks", data, "--out", together, "--resume", "--device", "cpu,bfloat16", .. settings];
        Assert.Contains($"{Path.Combine(together, "third")}: was begun on cpu and goes on on cpu,bfloat16", Tool.Run(elsewhere).Error);

        byte[] Adapter(string run) => File.ReadAllBytes(Path.Combine(run, "adapter.safetensors"));

        // All but where it is.
        IEnumerable<(string, string)> Config(string run) =>
            JsonDocument.Parse(File.ReadAllText(Path.Combine(run, "config.json"))).RootElement.EnumerateObject()
                .Where(setting => setting.Name != "out")
                .Select(setting => (setting.Name, setting.Value.GetRawText()));

        int Number(string key) => lines[^1].GetProperty(key).GetInt32();

        void WritePairs(string name, int count, int seed) => File.WriteAllLines(
            Path.Combine(data, name + ".jsonl"),
            TinyModels.Pairs(new Random(seed), count, 61).Select(pair =>
                JsonSerializer.Serialize(new { context = pair.Context, completion = pair.Completion })));
    }

    [Fact]
    public void Settings_that_contradict_a_list_of_tasks_are_refused()
    {
        string file = Path.Combine(directory, "a.jsonl");
        File.WriteAllText(file, "");
        Assert.Contains("--data is given beside --tasks", Tool.Fails(1, "train", "--tasks", directory, "--data", file));
        Assert.Contains("--method full", Tool.Fails(1, "train", "--tasks", directory, "--method", "full"));
        string none = Directory.CreateDirectory(Path.Combine(directory, "none")).FullName;
        Assert.Contains("no task in it", Tool.Fails(1, "train", "--tasks", none));
    }
}
