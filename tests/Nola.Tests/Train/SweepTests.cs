using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

/// <summary>Manifests of many runs: each is done once, whoever does it, and what fails is told and left.</summary>
public sealed class SweepTests : IDisposable
{
    private readonly CpuDevice device = new(1);
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;
    private readonly Settings common = new(TrainConfig.Keys);

    public SweepTests()
    {
        string data = Path.Combine(directory, "train.jsonl"), valid = Path.Combine(directory, "valid.jsonl");
        string[] lines =
            [.. Enumerable.Range(0, 16).Select(i => $"{{\"context\":\"name : Place {i % 5}\",\"completion\":\"It is {i}.\"}}")];
        File.WriteAllLines(data, lines[..12]);
        File.WriteAllLines(valid, lines[12..]);
        foreach ((string key, string value) in ((string, string)[])
            [
                ("data", data), ("valid", valid), ("targets", "q,v"), ("rank", "2"), ("bases", "8"), ("batch-tokens", "80"),
                ("max-steps", "4"), ("epochs", "9"), ("checkpoint-every", "2"),
            ])
            common.Set(key, value, "test");
    }

    private string Manifest => Path.Combine(directory, "runs.jsonl");

    private string Root => Path.Combine(directory, "out");

    public void Dispose()
    {
        device.Dispose();
        Directory.Delete(directory, recursive: true);
    }

    [Fact]
    public void Each_run_is_done_once_and_what_fails_is_told_and_left()
    {
        IReadOnlyList<SweepRun> runs = Read(
            """{"name":"low","lr":0.001}""", """{"name":"bad","data":"/no/such.jsonl"}""", """{"name":"high","lr":0.01}""");
        Assert.Equal(new SweepSummary(3, 3, 0, 1, 0, false), Run(runs, out Order first));
        Assert.Equal(["low", "bad", "high"], first.Runs);
        string[] table = File.ReadAllLines(Path.Combine(Root, "results.csv"));
        Assert.Equal(4, table.Length);
        Assert.Equal("name,status,lr,data,steps,first_loss,last_loss,best_loss,best_step,tokens,seconds,error", table[0]);
        Assert.StartsWith("low,success,0.001,,4,", table[1]);
        Assert.StartsWith("bad,failed,,/no/such.jsonl,0,,,,0,0,0.0,", table[2]);
        Assert.Contains("/no/such.jsonl", table[2][40..]);
        Assert.True(File.Exists(Path.Combine(Root, "high", "adapter.safetensors")));

        Assert.Equal(new SweepSummary(3, 0, 3, 1, 0, false), Run(runs, out Order second));
        Assert.Empty(second.Runs);
        Assert.Equal(table, File.ReadAllLines(Path.Combine(Root, "results.csv")));
        Assert.Equal(new SweepSummary(3, 1, 2, 1, 0, false), Run(runs, out Order third, again: true));
        Assert.Equal(["bad"], third.Runs);
    }

    [Fact]
    public void Parts_do_every_run_between_them()
    {
        IReadOnlyList<SweepRun> runs = Read([.. Enumerable.Range(0, 5).Select(i => $$"""{"name":"r{{i}}","seed":{{i}}}""")]);
        Run(runs, out Order one, part: 1, parts: 2);
        Run(runs, out Order zero, part: 0, parts: 2);
        Assert.Equal(["r1", "r3"], one.Runs);
        Assert.Equal(["r0", "r2", "r4"], zero.Runs);
        Assert.Equal(6, File.ReadAllLines(Path.Combine(Root, "results.csv")).Length);
    }

    [Fact]
    public void An_interrupted_run_goes_on_and_gives_what_it_gives_alone()
    {
        IReadOnlyList<SweepRun> runs = Read("""{"name":"one"}""", """{"name":"two","seed":2}""");
        Assert.Equal(new SweepSummary(2, 0, 0, 0, 1, true), Run(runs, out _, stopAt: 3));
        Assert.False(File.Exists(runs[0].ResultFile));
        Assert.Equal(new SweepSummary(2, 2, 0, 0, 0, false), Run(runs, out _));
        byte[] parts = File.ReadAllBytes(Path.Combine(Root, "one", "adapter.safetensors"));
        Directory.Delete(Root, recursive: true);
        Run(runs, out _);
        Assert.Equal(parts, File.ReadAllBytes(Path.Combine(Root, "one", "adapter.safetensors")));
    }

    [Fact]
    public void A_run_that_another_process_is_at_is_left_to_it()
    {
        IReadOnlyList<SweepRun> runs = Read("""{"name":"mine"}""", """{"name":"theirs"}""");
        using (RunDirectory theirs = new(runs[1].Config.Out))
        {
            Assert.Equal(new SweepSummary(2, 1, 0, 0, 1, false), Run(runs, out Order told));
            Assert.Contains("is training in this directory", Assert.Single(told.Notices));
        }
        Assert.False(File.Exists(runs[1].ResultFile));
        Assert.Equal(new SweepSummary(2, 1, 1, 0, 0, false), Run(runs, out _));
    }

    [Fact]
    public void A_result_of_other_settings_is_refused()
    {
        Run(Read("""{"name":"one"}"""), out _);
        byte[] before = File.ReadAllBytes(Path.Combine(Root, "one", "result.json"));
        string error = Assert.Throws<NolaException>(() => Run(Read("""{"name":"one","lr":0.5}"""), out _)).Message;
        Assert.StartsWith($"{Manifest}:1: 'one' was run with other settings than the manifest now gives; name it anew, or remove ", error);
        Assert.Equal(before, File.ReadAllBytes(Path.Combine(Root, "one", "result.json")));
        File.WriteAllText(Path.Combine(Root, "one", "result.json"), "{}");
        error = Assert.Throws<NolaException>(() => Run(Read("""{"name":"one"}"""), out _)).Message;
        Assert.Contains("result.json: not a result of a sweep", error);
    }

    [Theory]
    [InlineData("[1]", ":1: expected one JSON object such as")]
    [InlineData("{\"lr\":1}", ":1: no \"name\" is there")]
    [InlineData("{\"name\":\"../up\"}", ":1: its name is '../up'; expected 1 to 100 letters")]
    [InlineData("{\"name\":\"a\"}\n\n{\"name\":\"A\"}", ":3: the name 'A' is that of ")]
    [InlineData("{\"name\":\"a\",\"out\":\"b\"}", ":1: the key 'out' is that of the whole sweep")]
    [InlineData("{\"name\":\"a\",\"learning\":1}", ":1: the key 'learning' is not known")]
    [InlineData("{\"name\":\"a\",\"lr\":-1}", ":1: lr is -1; expected above 0")]
    [InlineData("{\"name\":\"a\"", ":1: ")]
    [InlineData("", ": there is no run in it")]
    public void A_manifest_is_read_whole_before_anything_runs(string manifest, string complaint)
    {
        File.WriteAllText(Manifest, manifest);
        string error = Assert.Throws<NolaException>(() => SweepFile.Read(Manifest, common, Root, "cpu", 1)).Message;
        Assert.StartsWith(Manifest + complaint, error);
        Assert.False(Directory.Exists(Root));
    }

    [Theory]
    [InlineData("8/8")]
    [InlineData("1")]
    [InlineData("-1/4")]
    [InlineData("1/0")]
    [InlineData("1/2/3")]
    public void A_part_is_one_of_them(string part) => Assert.Equal(
        $"nola: --shard is '{part}'; expected i/n with i from 0 to n - 1, for example 0/8.",
        Tool.Fails(1, "sweep", Manifest, "--shard", part));

    private IReadOnlyList<SweepRun> Read(params string[] lines)
    {
        File.WriteAllLines(Manifest, lines);
        return SweepFile.Read(Manifest, common, Root, "cpu", 1);
    }

    private SweepSummary Run(
        IReadOnlyList<SweepRun> runs, out Order told, int part = 0, int parts = 1, bool again = false, int stopAt = 0)
    {
        using CancellationTokenSource stop = new();
        told = new(stopAt, stop);
        using SweepRunner runner = new(runs, Root, part, parts, device, told);
        SweepSummary summary = runner.Run(again, stop.Token);
        runner.WriteTable();
        return summary;
    }

    private sealed class Order(int stopAt, CancellationTokenSource stop) : ISweepObserver
    {
        public List<string> Runs { get; } = [];

        public List<string> Notices { get; } = [];

        public void OnRun(SweepRun run, int number, int count) => Runs.Add(run.Name);

        public void OnNotice(string sentence) => Notices.Add(sentence);

        public void OnStep(StepReport report)
        {
            if (report.Step == stopAt) stop.Cancel();
        }
    }
}
