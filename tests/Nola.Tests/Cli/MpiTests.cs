using System.Diagnostics;
using Xunit;

namespace Nola.Tests;

/// <summary>
/// The tool on ranks of real MPIs, of which two are installed: the same bits as one process, and an end when a rank is gone.
/// </summary>
public sealed class MpiTests(MpiRuns runs) : IClassFixture<MpiRuns>
{
    public static TheoryData<string, string, int> Cases
    {
        get
        {
            TheoryData<string, string, int> cases = [];
            foreach (string method in (string[])["nola", "lora", "full"])
                foreach (string launcher in Mpi.Launchers.Keys)
                    for (int ranks = 2; ranks <= 4; ranks++) cases.Add(method, launcher, ranks);
            foreach (string launcher in Mpi.Launchers.Keys) cases.Add("nola", launcher, 1);
            return cases;
        }
    }

    [MpiTheory]
    [MemberData(nameof(Cases))]
    public void Ranks_train_the_bits_of_one_process(string method, string launcher, int ranks)
    {
        string path = runs.Directory($"{method}-{launcher}-{ranks}");
        (int code, _, string error) = Mpi.Run(launcher, ranks, [.. runs.Train(method), "--out", path]);
        Assert.True(code == 0, error);
        if (ranks > 1) Assert.Contains($"{ranks} ranks by {launcher}", error);
        // Rank 0 alone speaks.
        Assert.Single(error.Split('\n'), line => line.StartsWith("Done: ", StringComparison.Ordinal));
        Assert.Equal(runs.Reference(method), MpiRuns.Trained(path));
        Assert.Equal(MpiRuns.Losses(runs.ReferencePath(method)), MpiRuns.Losses(path));
    }

    // Slurm's launcher leaves the others alone, as Open MPI's does when it is told so; that of MPICH kills them with a sentence of its own.
    [MpiTheory]
    [InlineData("Open MPI", 2, "--enable-recovery")]
    [InlineData("Open MPI", 0, "--enable-recovery")]
    [InlineData("MPICH", 1, "-prepend-rank")]
    public void The_others_end_when_a_rank_is_killed_and_the_run_goes_on_with_another_number(string launcher, int victim, string option)
    {
        const int Steps = 120;
        string path = runs.Directory($"killed-{launcher}-{victim}"), state = Path.Combine(path, "last.safetensors");
        using Process process = Mpi.Start(launcher, 3, [.. runs.Train("nola", Steps), "--out", path], [option]);
        process.StandardInput.Close();
        Task<(int Code, string Output, string Error)> end = Task.Run(() => Mpi.End(process));
        Assert.True(SpinWait.SpinUntil(() => File.Exists(state) || end.IsCompleted, TimeSpan.FromSeconds(200)));
        Process.GetProcessById(MpiRuns.ProcessOf(path, victim)!.Value).Kill();
        Assert.True(end.Wait(TimeSpan.FromSeconds(30)), "the others did not end");
        string said = end.Result.Error + end.Result.Output;
        if (launcher == "MPICH") Assert.Contains("Killed (signal 9)", said);
        else Assert.Contains($"nola: Rank {victim} on {Environment.MachineName} is gone: it was killed, ", said);
        Assert.DoesNotContain("   at ", said);
        Assert.All(Enumerable.Range(0, 3), rank => Assert.Null(MpiRuns.ProcessOf(path, rank)));

        (int code, _, string error) = Mpi.Run(launcher, 2, ["train", "--resume", "--out", path, "--device", "cpu"]);
        Assert.True(code == 0, error);
        Assert.Equal(runs.Reference("nola", Steps), MpiRuns.Trained(path));
    }

    [MpiTheory]
    [InlineData("Open MPI", "libmpich.so.12")]
    [InlineData("MPICH", "libmpi.so.40")]
    public void A_library_of_another_MPI_than_the_launcher_is_refused_in_words(string launcher, string library)
    {
        (int code, string output, string error) = Mpi.Run(
            launcher, 2, [.. runs.Train("nola"), "--out", runs.Directory("mismatch" + launcher)], ("NOLA_MPI", library));
        Assert.NotEqual(0, code);
        Assert.Matches("nola: (OMPI_COMM_WORLD|PMI)_SIZE promises 2 ranks and .* has 1: each process would train", error + output);
    }

    [MpiTheory]
    [InlineData("Open MPI")]
    [InlineData("MPICH")]
    public void A_rank_that_fails_early_ends_all_with_its_sentence(string launcher)
    {
        string used = runs.ReferencePath("nola");
        (int code, _, string error) = Mpi.Run(launcher, 2, [.. runs.Train("nola"), "--out", used]);
        Assert.NotEqual(0, code);
        Assert.Contains("holds a run already", error);
        Assert.Equal(runs.Reference("nola"), MpiRuns.Trained(used));
    }

    [MpiTheory]
    [InlineData("Open MPI")]
    [InlineData("MPICH")]
    public void Texts_losses_and_sweeps_are_those_of_one_process(string launcher)
    {
        string[] texts = ["generate", "--prompts", runs.Prompts, "--max-new", "4", "--temperature", "1", "--seed", "7", "--json"];
        Assert.Equal(Tool.Run(texts).Output, Mpi.Run(launcher, 2, texts).Output);
        string[] loss = ["loss", "--pairs", runs.Valid, "--json"];
        Assert.Equal(Tool.Run(loss).Output, Mpi.Run(launcher, 3, loss).Output);
        (int code, string output, string error) = Mpi.Run(
            launcher, 2, ["sweep", runs.Manifest, "--config", runs.Common, "--out", runs.Directory("sweep-" + launcher), "--json"]);
        Assert.Contains("\"runs\":3,\"done\":3,\"skipped\":0,\"failed\":1,\"ended\":3", output);
        Assert.True(code != 0, error);
    }
}

/// <summary>Small data, and what one process trains on them.</summary>
public sealed class MpiRuns : IDisposable
{
    private readonly string root = System.IO.Directory.CreateTempSubdirectory("nola-mpi").FullName;
    private readonly Dictionary<string, byte[]> references = [];

    public MpiRuns()
    {
        string[] lines = [.. Enumerable.Range(0, 40).Select(i =>
            $"{{\"context\":\"name : The Place {i % 7} | food : {(i % 3 == 0 ? "Thai" : "Indian")}\","
            + $"\"completion\":\"Place {i % 7} has food number {i}.\"}}")];
        File.WriteAllLines(Path.Combine(root, "train.jsonl"), lines[..32]);
        File.WriteAllLines(Valid, lines[32..]);
        File.WriteAllLines(Prompts, [.. Enumerable.Range(0, 5).Select(i => $"{{\"context\":\"name : The Place {i}\"}}")]);
        string data = Path.Combine(root, "train.jsonl");
        File.WriteAllText(Common, $"{{\"data\":\"{data}\",\"valid\":\"{Valid}\",\"max-steps\":3,\"epochs\":9,"
            + "\"rank\":2,\"bases\":8,\"targets\":\"q,v\",\"batch-tokens\":200,\"eval-pairs\":4}");
        File.WriteAllLines(Manifest,
        [
            """{"name":"low","lr":0.001}""", """{"name":"none","data":"/no/such/file.jsonl"}""", """{"name":"high","lr":0.01}""",
        ]);
    }

    internal string Valid => Path.Combine(root, "valid.jsonl");

    internal string Prompts => Path.Combine(root, "prompts.jsonl");

    internal string Common => Path.Combine(root, "common.json");

    internal string Manifest => Path.Combine(root, "manifest.jsonl");

    public void Dispose() => System.IO.Directory.Delete(root, recursive: true);

    internal string Directory(string name) => Path.Combine(root, name.Replace(' ', '-'));

    internal string[] Train(string method, int steps = 8) =>
    [
        "train", "--data", Path.Combine(root, "train.jsonl"), "--valid", Valid, "--batch-tokens", "200", "--shards", "4",
        "--epochs", "99999", "--max-steps", method == "full" ? "2" : $"{steps}", "--eval-every", "4", "--eval-pairs", "4",
        "--checkpoint-every", "4", "--device", "cpu",
        "--method", method, .. method == "full" ? (string[])[] : ["--targets", "q,v", "--rank", "2"],
        .. method == "nola" ? (string[])["--bases", "8"] : [],
    ];

    internal string ReferencePath(string method)
    {
        Reference(method);
        return Directory("reference-" + method);
    }

    internal byte[] Reference(string method, int steps = 8)
    {
        string name = steps == 8 ? method : $"{method}-{steps}";
        if (references.TryGetValue(name, out byte[]? known)) return known;
        string path = Directory("reference-" + name);
        (int code, _, string error) = Tool.Run([.. Train(method, steps), "--out", path]);
        Assert.True(code == 0, error);
        return references[name] = Trained(path);
    }

    internal static byte[] Trained(string path) => File.ReadAllBytes(
        Path.Combine(path, System.IO.Directory.Exists(Path.Combine(path, "model")) ? "model/model.safetensors" : "adapter.safetensors"));

    internal static string[] Losses(string path) => [.. File.ReadLines(Path.Combine(path, "log.jsonl")).Select(line =>
    {
        System.Text.Json.JsonElement root = System.Text.Json.JsonDocument.Parse(line).RootElement;
        return $"{root.GetProperty("event")} {root.GetProperty("step")} {root.GetProperty("loss")}";
    })];

    // The process of a rank of a run, as the system lists it; null when it is gone.
    internal static int? ProcessOf(string path, int rank)
    {
        foreach (string process in System.IO.Directory.EnumerateDirectories("/proc"))
            try
            {
                string[] words = File.ReadAllText(Path.Combine(process, "cmdline")).Split('\0');
                string[] variables = File.ReadAllText(Path.Combine(process, "environ")).Split('\0');
                if (words[0].EndsWith("dotnet", StringComparison.Ordinal) && words.Contains(path)
                    && (variables.Contains($"OMPI_COMM_WORLD_RANK={rank}") || variables.Contains($"PMI_RANK={rank}")))
                    return int.Parse(Path.GetFileName(process), System.Globalization.CultureInfo.InvariantCulture);
            }
            catch (Exception error) when (error is IOException or UnauthorizedAccessException)
            {
                // It ended meanwhile, or it is none of ours.
            }
        return null;
    }
}
