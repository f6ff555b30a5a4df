using System.Diagnostics;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

/// <summary>A run's directory: one process at a time, whatever is found in it, and whatever happens to it.</summary>
public sealed class RunDirectoryTests : IDisposable
{
    private static readonly TrainOptions options = new() { BatchTokens = 60, LearningRate = 0.02f, WarmupSteps = 2, CheckpointEvery = 2 };

    private readonly CpuDevice device = new(1);
    private readonly string root = Directory.CreateTempSubdirectory("nola-test").FullName;
    private readonly EncodedPair[] pairs = TinyModels.Pairs(new Random(1), 40, 61);

    private string Folder => Path.Combine(root, "run");

    public void Dispose()
    {
        device.Dispose();
        Directory.Delete(root, recursive: true);
    }

    [Fact]
    public void Two_runs_never_have_one_directory()
    {
        using (RunDirectory first = new(Folder))
        {
            string error = Assert.Throws<NolaException>(() => new RunDirectory(Folder)).Message;
            Assert.Equal($"{Folder}: another process ({Environment.ProcessId}) is training in this directory; "
                + "wait for it, or choose another directory.", error);
            Train(first);
            // The run that is there by now is not looked at either.
            Assert.Contains(
                "is training in this directory", Assert.Throws<NolaException>(() => new RunDirectory(Folder, resume: true)).Message);
        }
        using RunDirectory again = new(Folder, resume: true);
        again.Dispose();
        again.Dispose();
        Assert.Contains("holds a run already", Assert.Throws<NolaException>(() => new RunDirectory(Folder)).Message);
        // A refusal gives the directory back.
        new RunDirectory(Folder, resume: true).Dispose();
    }

    [Fact]
    public void A_folder_that_is_no_run_is_not_resumed_and_stays_as_it_is()
    {
        Assert.Equal(
            $"{Folder}: there is no such directory; name the directory of the run to resume.",
            Assert.Throws<NolaException>(() => new RunDirectory(Folder, resume: true)).Message);
        Directory.CreateDirectory(Folder);
        Assert.Equal(
            $"{Folder}: there is no config.json and no last.safetensors; is it a run's directory?",
            Assert.Throws<NolaException>(() => new RunDirectory(Folder, resume: true)).Message);
        Assert.Empty(Directory.GetFileSystemEntries(Folder));
        File.WriteAllText(Path.Combine(Folder, "config.json"), "{}");
        Assert.Contains(
            "there is no last.safetensors to resume from",
            Assert.Throws<NolaException>(() => new RunDirectory(Folder, resume: true)).Message);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_directory_that_is_removed_is_made_again_in_words(bool moved)
    {
        using RunDirectory run = new(Folder);
        run.WriteConfig("{ \"lr\": 1 }");
        Remover remover = new(Folder, moved ? Path.Combine(root, "elsewhere") : null, at: 5);
        TrainResult result = Train(run, remover);
        run.DrawLossCurve();
        Assert.Equal(9, result.Steps);
        Assert.Equal(
            $"{Folder} was removed while the run was in it and is made again; its log up to step 6 is lost.", Assert.Single(remover.Said));
        Assert.Equal("{ \"lr\": 1 }", File.ReadAllText(Path.Combine(Folder, "config.json")));
        Assert.Equal([7, 8, 9], File.ReadLines(Path.Combine(Folder, "log.jsonl")).Select(Step));
        Assert.Contains("is training in this directory", Assert.Throws<NolaException>(() => new RunDirectory(Folder)).Message);
        run.Dispose();
        using RunDirectory again = new(Folder, resume: true);
        using Safetensors state = Safetensors.Open(again.LastState);
        Assert.Equal("9", state.Metadata["step"]);

        static int Step(string line) => System.Text.Json.JsonDocument.Parse(line).RootElement.GetProperty("step").GetInt32();
    }

    [Fact]
    public void A_directory_that_another_run_has_taken_is_left_to_it()
    {
        using RunDirectory run = new(Folder);
        Usurper usurper = new(Folder, at: 5);
        Assert.Contains("is training in this directory", Assert.Throws<NolaException>(() => Train(run, usurper)).Message);
        run.Dispose();
        Assert.DoesNotContain(Directory.GetFiles(Folder), file => file.EndsWith(".safetensors", StringComparison.Ordinal));
        // It still knows whose it is.
        Assert.Contains("is training in this directory", Assert.Throws<NolaException>(() => new RunDirectory(Folder)).Message);
        Assert.True(File.Exists(Path.Combine(Folder, ".running.pid")));
        usurper.Run!.Dispose();
    }

    [Fact]
    public void Odd_lines_of_a_log_are_passed_over()
    {
        using (RunDirectory run = new(Folder)) Train(run);
        string log = Path.Combine(Folder, "log.jsonl");
        string[] good = File.ReadAllLines(log);
        string[] odd =
        [
            "", "null", "[]", "3", "\"step\"", "{}", "{\"step\":1}",
            "{\"event\":\"step\",\"step\":\"1\",\"loss\":1}", "{\"event\":\"step\",\"step\":1,\"loss\":\"1\"}",
            "{\"event\":\"step\",\"step\":1,\"loss\":null}",
            "{\"event\":7,\"step\":1,\"loss\":1}", "{\"event\":\"other\",\"step\":1,\"loss\":1}",
            "{\"event\":\"\\ud83d\",\"step\":1,\"loss\":1}",
            "{\"event\":\"step\",\"step\":1,\"step\":2,\"loss\":1}", "{\"event\":\"step\",\"step\":-1,\"loss\":1}",
            "{\"event\":\"step\",\"step\":99999999999,\"loss\":1}",
            "{\"event\":\"step\",\"step\":1,\"loss\":1e999}", new string('\0', 300), new string('[', 100_000),
            "{\"event\":\"step\",\"step\":10,\"lo",
        ];
        File.WriteAllLines(log, [.. odd, good[0], .. odd, .. good[1..], .. odd]);
        File.AppendAllText(log, "{\"event\":\"step\",\"loss\":");
        using (FileStream raw = new(log, FileMode.Append)) raw.Write([0xFF, 0xC3, 0x28]);
        (_, long peak) = RunLog.Summarize(Folder);
        Assert.True(peak > 0);
        using (RunDirectory again = new(Folder, resume: true))
        {
            Assert.Equal(Enumerable.Range(1, 9), again.Log.Read().Training.Select(point => point.Item1));
            again.DrawLossCurve();
            // Resuming drops them.
            Train(again);
        }
        Assert.Equal(good, File.ReadAllLines(log));
    }

    [Fact]
    public void A_peak_that_is_missing_or_no_number_counts_as_none()
    {
        Directory.CreateDirectory(Folder);
        File.WriteAllLines(
            Path.Combine(Folder, "log.jsonl"),
            [
                """{"event":"step","step":1,"loss":2}""",
                """{"event":"step","step":2,"loss":1.5,"peak_bytes":"x"}""",
                """{"event":"eval","step":2,"loss":1}""",
            ]);
        (IReadOnlyList<EvalMetric> evaluations, long peak) = RunLog.Summarize(Folder);
        Assert.Equal(0, peak);
        Assert.Equal([new EvalMetric(2, 1, 1.5)], evaluations);
        Directory.Delete(Folder, recursive: true);
        Assert.Empty(RunLog.Summarize(Folder).Evaluations);
    }

    [Fact]
    public void A_disk_that_fills_while_the_log_is_written_gives_a_sentence()
    {
        // A device that is always full; other systems have none.
        if (!File.Exists("/dev/full")) return;
        string log = Path.Combine(Folder, "log.jsonl"), error;
        using (RunDirectory run = new(Folder)) Train(run, steps: 5);
        string[] before = File.ReadAllLines(log);
        using (RunDirectory run = new(Folder, resume: true))
            error = Assert.Throws<NolaException>(() => Train(run, new Filler(log))).Message;
        Assert.Equal($"{log}: the disk is full; free some space and run the command again. What was there before is unchanged.", error);
        // The checkpoint before it is there to go on from.
        File.Delete(log);
        File.WriteAllLines(log, before);
        using (RunDirectory run = new(Folder, resume: true)) Assert.Equal(9, Train(run).Steps);
        Assert.Equal(9, File.ReadAllLines(log).Length);
    }

    [Fact]
    public void A_place_that_cannot_be_written_gives_a_sentence_from_TensorBoards_file_too()
    {
        using TensorBoardWriter board = new(Path.Combine(root, "none"));
        Assert.Contains("cannot be written", Assert.Throws<NolaException>(() => board.Scalar("loss", 1, 1)).Message);
    }

    [Fact]
    public void What_killed_processes_left_is_removed_when_the_directory_is_opened()
    {
        using (RunDirectory run = new(Folder)) Train(run);
        string[] stale = [.. ((string[])["config.json", "last.safetensors", "adapter.safetensors", "loss.svg", "log.jsonl"])
            .Select(name => Path.Combine(Folder, $"{name}.{GonePid()}.tmp"))];
        foreach (string file in stale) File.WriteAllText(file, "half of a fi");
        string other = Path.Combine(Folder, "notes.tmp");
        File.WriteAllText(other, "mine");
        new RunDirectory(Folder, resume: true).Dispose();
        Assert.DoesNotContain(stale, File.Exists);
        Assert.True(File.Exists(other));
    }

    // The number of a process that has ended.
    internal static int GonePid()
    {
        using Process process = Process.Start(new ProcessStartInfo("dotnet", "--version") { RedirectStandardOutput = true })!;
        process.WaitForExit();
        return process.Id;
    }

    private TrainResult Train(RunDirectory run, ITrainObserver? observer = null, int steps = 9)
    {
        using LanguageModel model = TinyModels.Create(device);
        using TrainableAdapter adapter = model.NewAdapter(new NolaOptions { Rank = 4, Bases = 20 });
        return new Trainer(
            model, adapter, options with { MaxSteps = steps }, run, observer is null ? [] : [observer]).Run(pairs, [], run.Resumes);
    }

    // Removes the directory of a run and begins another one in its place.
    private sealed class Usurper(string folder, int at) : ITrainObserver
    {
        public RunDirectory? Run { get; private set; }

        public void OnStep(StepReport report)
        {
            if (report.Step != at) return;
            Directory.Delete(folder, recursive: true);
            Run = new RunDirectory(folder);
        }
    }

    private sealed class Remover(string folder, string? elsewhere, int at) : ITrainObserver
    {
        public List<string> Said { get; } = [];

        public void OnStep(StepReport report)
        {
            if (report.Step != at) return;
            if (elsewhere is null) Directory.Delete(folder, recursive: true);
            else Directory.Move(folder, elsewhere);
        }

        public void OnNotice(string sentence) => Said.Add(sentence);
    }

    // Puts a device that is full in the place of the log, after the resumed run has read it and before it writes to it.
    private sealed class Filler(string log) : ITrainObserver
    {
        public void OnNotice(string sentence)
        {
            File.Delete(log);
            File.CreateSymbolicLink(log, "/dev/full");
        }
    }
}
