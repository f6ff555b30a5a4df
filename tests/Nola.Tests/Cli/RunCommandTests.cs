using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json;
using Nola.Autograd;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

/// <summary>Runs as processes: signals, two of them in one directory, resuming, and results that are no numbers.</summary>
public sealed class RunCommandTests : IDisposable
{
    // The tool waits a second; a machine that is busy with other tests takes longer for the rest.
    private static readonly TimeSpan atOnce = TimeSpan.FromSeconds(10), atAll = TimeSpan.FromMinutes(2);

    // Long runs must not outlive a test that failed.
    private readonly List<Process> started = [];

    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    private string Out => Path.Combine(directory, "run");

    // A script's background jobs ignore SIGINT, and so do their children. Those of tests that ran there would go on and on.
    static RunCommandTests()
    {
        const int interrupt = 2;
        if (!OperatingSystem.IsLinux()) return;
        string ignored = File.ReadLines("/proc/self/status").First(line => line.StartsWith("SigIgn:", StringComparison.Ordinal))[7..];
        if ((Convert.ToUInt64(ignored.Trim(), 16) >> (interrupt - 1) & 1) != 0) Handle(interrupt, 0);
    }

    public void Dispose()
    {
        foreach (Process process in started)
        {
            if (!process.HasExited) process.Kill();
            process.WaitForExit();
            process.Dispose();
        }
        Directory.Delete(directory, recursive: true);
    }

    [Theory]
    [InlineData("INT", 130, "train", "--data")]
    [InlineData("TERM", 143, "train", "--data")]
    [InlineData("INT", 130, "loss", "--pairs")]
    [InlineData("TERM", 143, "pretrain", "--text")]
    public void A_command_that_reads_its_data_ends_at_once(string signal, int code, string command, string option)
    {
        if (OperatingSystem.IsWindows()) return;
        string pipe = Path.Combine(directory, command == "pretrain" ? "pipe.txt" : "pipe.jsonl");
        Process.Start("mkfifo", pipe).WaitForExit();
        string[] more = command switch
        {
            "train" => ["--model", TinyModels.TinyRandom, "--out", Out],
            "loss" => ["--model", TinyModels.TinyRandom],
            _ => ["--out", Out, "--layers", "1", "--channels", "8"],
        };
        Process process = Start([command, option, pipe, .. more]);
        // Opens when the tool does.
        using FileStream slow = new(pipe, FileMode.Open, FileAccess.Write, FileShare.ReadWrite, 0);
        slow.Write("{\"context\":[1,2],\"completion\":[3]}\n"u8);
        Kill(process, signal);
        Stopwatch clock = Stopwatch.StartNew();
        Assert.True(process.WaitForExit(atOnce), $"still there after {clock.Elapsed}");
        Assert.Equal(code, process.ExitCode);
        Assert.Equal("nola: interrupted.", process.StandardError.ReadToEnd().Trim().Split('\n')[^1]);
        Assert.False(Directory.Exists(Out));
    }

    [Theory]
    [InlineData("INT", 130)]
    [InlineData("TERM", 143)]
    public void A_run_ends_after_its_step_with_a_checkpoint_to_go_on_from(string signal, int code)
    {
        if (OperatingSystem.IsWindows()) return;
        string[] settings =
        [
            "--model", TinyModels.TinyRandom, "--data", Ids(40), "--bases", "50",
            "--batch-tokens", "300", "--checkpoint-every", "1000000", "--threads", "1",
        ];
        Process process = Start(["train", "--out", Out, "--epochs", "100000", .. settings]);
        WaitFor(() => File.Exists(Path.Combine(Out, "log.jsonl")));
        Kill(process, signal);
        string said = process.StandardError.ReadToEnd();
        Assert.True(process.WaitForExit(atAll));
        Assert.Equal(code, process.ExitCode);
        Assert.Contains("Stopping after this step, with a checkpoint.", said);
        Assert.Contains($"continue with: nola train --resume --out {Out}", said);
        int step;
        using (Safetensors state = Safetensors.Open(Path.Combine(Out, "last.safetensors")))
            step = int.Parse(state.Metadata["step"], CultureInfo.InvariantCulture);
        Assert.Equal(step, File.ReadLines(Path.Combine(Out, "log.jsonl")).Count());
        (_, string output, string error) = Run("train", "--resume", "--out", Out, "--max-steps", $"{step + 2}", "--threads", "1", "--json");
        Assert.Equal(step + 2, JsonDocument.Parse(output).RootElement.GetProperty("steps").GetInt32());
        Assert.Contains($"Continuing from step {step} to step {step + 2} (was ", error);
        // The new end is the run's from now on, and its epochs are no limit any more.
        Settings kept = new(TrainConfig.Keys);
        kept.ReadJson(Path.Combine(Out, "config.json"));
        Assert.Equal(($"{step + 2}", false), (kept.Text("max-steps", ""), kept.Has("epochs")));
    }

    [Fact]
    public void A_directory_is_one_processs_until_it_is_killed_and_a_second_signal_ends_it_without_a_checkpoint()
    {
        if (OperatingSystem.IsWindows()) return;
        // A step of some minutes.
        string[] settings =
        [
            "--model", TinyModels.TinyRandom, "--data", Ids(40), "--bases", "50",
            "--accumulation", "100000", "--batch-size", "1", "--max-steps", "1", "--threads", "1",
        ];
        foreach (bool killed in (bool[])[true, false])
        {
            Process process = Start(["train", "--out", Out, .. settings]);
            WaitFor(() =>
                File.Exists(Path.Combine(Out, ".running.pid"))
                && File.ReadAllText(Path.Combine(Out, ".running.pid")).StartsWith($"{process.Id} ", StringComparison.Ordinal));
            (int code, _, string error) = Run(["train", "--out", Out, .. settings]);
            Assert.Equal(1, code);
            Assert.Equal(
                $"nola: {Out}: another process ({process.Id}) is training in this directory; wait for it, or choose another directory.",
                error.Trim().Split('\n')[^1]);
            if (killed)
            {
                process.Kill();
            }
            else
            {
                Kill(process, "INT");
                Assert.False(process.WaitForExit(TimeSpan.FromSeconds(3)));
                Kill(process, "INT");
            }
            Assert.True(process.WaitForExit(atOnce));
            if (!killed) Assert.Equal(130, process.ExitCode);
        }
        Assert.False(File.Exists(Path.Combine(Out, "last.safetensors")));
        new RunDirectory(Out).Dispose();
    }

    [Fact]
    public void A_resumed_run_of_other_settings_is_refused_and_left_as_it_was()
    {
        string data = Ids(30), other = Path.Combine(directory, "other.jsonl");
        File.WriteAllLines(other, File.ReadLines(data).Take(20));
        Assert.Equal(0, Run(
            "train", "--model", TinyModels.TinyRandom, "--data", data, "--bases", "50",
            "--batch-tokens", "300", "--max-steps", "3", "--out", Out, "--threads", "1").Code);
        Dictionary<string, byte[]> before = Directory.GetFiles(Out).ToDictionary(file => file, File.ReadAllBytes);
        Refused("basis-seed was 42, is 777", "--basis-seed", "777");
        Refused($"is {Path.GetFileName(other)} (digest", "--data", Path.GetRelativePath(Environment.CurrentDirectory, other));
        Refused("storage was float32, is bfloat16", "--storage", "bfloat16");
        // The steps are no fourth difference.
        Refused("entries was uniform, is sign", "--entries", "sign", "--max-steps", "9");
        Assert.Equal(before, Directory.GetFiles(Out).ToDictionary(file => file, File.ReadAllBytes));

        void Refused(string complaint, params string[] more)
        {
            (int code, _, string error) = Run(["train", "--resume", "--out", Out, "--threads", "1", .. more]);
            Assert.Equal(1, code);
            Assert.Contains(complaint.Replace(Path.GetFileName(other), Path.GetRelativePath(Environment.CurrentDirectory, other)), error);
        }
    }

    [Theory]
    [InlineData("3", null, 3)]
    [InlineData("3", "1", 1)]
    [InlineData("2", "50", 2)]
    public void Steps_that_are_asked_for_are_taken_though_the_data_are_one_batch(string steps, string? epochs, int taken)
    {
        (int code, string output, string error) = Run(
            [
                "train", "--model", TinyModels.TinyRandom, "--data", Ids(3), "--bases", "50", "--out", Out,
                "--max-steps", steps, "--threads", "1", "--json", .. (string[])(epochs is null ? [] : ["--epochs", epochs]),
            ]);
        Assert.True(code == 0, error);
        Assert.Equal(taken, JsonDocument.Parse(output).RootElement.GetProperty("steps").GetInt32());
    }

    [Fact]
    public void Help_lists_the_values_of_every_choice()
    {
        string help = string.Join(' ', Run("train", "--help").Output.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
        string[] choices =
        [
            "nola, lora, vera, lora-xs, uni-lora, beft, fourierft, ia3, vblora, randlora, lokr, bitfit, head or full",
            "uniform, normal or sign", "shared or per-layer",
            "offset or paper", "constant, linear or cosine", "float32, bfloat16, int8, nf4 or nf4-double",
        ];
        Assert.All(choices, values => Assert.Contains(values, help));
    }

    [Fact]
    public void A_result_that_is_no_number_is_no_success()
    {
        string wild = Path.Combine(directory, "wild"), pairs = Path.Combine(directory, "pairs.jsonl");
        string logits = Path.Combine(directory, "logits.safetensors");
        File.WriteAllText(pairs, """{"context":[1,2],"completion":[3,4]}""");
        using (CpuDevice device = new(1))
        using (LanguageModel model = LanguageModel.Load(TinyModels.Golden, device, trainable: true))
        {
            // Finite, and beyond every float32 when it is multiplied.
            Parameter norm = model.Parameters.First(p => p.Name == "ln_f.weight");
            device.Upload([.. norm.Value.ToArray().Select(_ => 3e38f)], norm.Value);
            model.Save(wild);
        }
        Fails("The loss is not a finite number", "loss", "--model", wild, "--pairs", pairs, "--json");
        Fails("not all finite numbers", "forward", "--model", wild, "--ids", "1,2", "--out", logits);
        Assert.False(File.Exists(logits));
        Fails("is not a finite number", "train", "--model", wild, "--data", pairs, "--valid", pairs, "--out", Out, "--json");

        void Fails(string complaint, params string[] arguments)
        {
            (int code, string output, string error) = Run(arguments);
            Assert.Equal((1, ""), (code, output));
            Assert.Contains(complaint, error);
        }
    }

    [Theory]
    [InlineData("--layers is 0; expected 1 to 1000", "--layers", "0")]
    [InlineData("--channels is -4; expected 1 to 65536", "--channels", "-4")]
    [InlineData("--positions is 0; expected 2 to", "--positions", "0")]
    [InlineData("--eval-tokens is -1; expected 0 to", "--eval-tokens", "-1")]
    [InlineData("The vocabulary is 100; GPT-2's encoding can be cut to 257 to 50257 tokens", "--vocabulary", "100")]
    public void Sizes_of_a_new_model_that_cannot_be_are_named(string complaint, params string[] arguments)
    {
        string text = Path.Combine(directory, "text.txt");
        File.WriteAllText(text, "The cat sat on the mat.");
        (int code, _, string error) = Run(["pretrain", "--text", text, "--out", Out, .. arguments]);
        Assert.Equal(1, code);
        Assert.Contains(complaint, error);
    }

    [Theory]
    [InlineData("10", "last.safetensors", "3")]
    [InlineData("40", "log.jsonl", "1000000")]
    public void A_file_that_may_not_grow_gives_one_sentence_and_leaves_nothing_torn(string blocks, string file, string checkpointEvery)
    {
        if (!OperatingSystem.IsLinux()) return;
        string[] command =
        [
            "dotnet", Path.Combine(AppContext.BaseDirectory, "nola.dll"), "train", "--model",
            TinyModels.TinyRandom, "--data", Ids(40), "--bases", "50", "--batch-tokens", "60",
            "--epochs", "100000", "--out", Out, "--threads", "1", "--checkpoint-every", checkpointEvery,
        ];
        ProcessStartInfo start = new("bash", ["-c", $"ulimit -f {blocks}; exec \"$@\"", "bash", .. command])
        {
            RedirectStandardError = true,
            RedirectStandardOutput = true,
        };
        // Twice mapped code is a file that would be too large.
        start.Environment["DOTNET_EnableWriteXorExecute"] = "0";
        using Process process = Process.Start(start)!;
        string error = process.StandardError.ReadToEnd();
        Assert.True(process.WaitForExit(atAll));
        Assert.Equal(
            (1, $"nola: {Path.Combine(Out, file)}: would be larger than this process may write a file (ulimit -f); "
                + "raise the limit and run the command again."),
            (process.ExitCode, error.Trim().Split('\n')[^1]));
        Assert.DoesNotContain(Directory.GetFiles(Out), name => name.EndsWith(".tmp", StringComparison.Ordinal));
    }

    private static void WaitFor(Func<bool> condition)
    {
        Stopwatch clock = Stopwatch.StartNew();
        while (!condition())
        {
            Assert.True(clock.Elapsed < atAll, "the tool did not get there");
            Thread.Sleep(5);
        }
    }

    private static void Kill(Process process, string signal)
    {
        using Process kill = Process.Start("kill", [$"-{signal}", $"{process.Id}"]);
        kill.WaitForExit();
    }

    [DllImport("libc", EntryPoint = "signal")]
    private static extern nint Handle(int signal, nint handler);

    private string Ids(int count)
    {
        string path = Path.Combine(directory, "ids.jsonl");
        File.WriteAllLines(path, TinyModels.Pairs(new Random(4), count, 1000)
            .Select(p => JsonSerializer.Serialize(new { context = p.Context, completion = p.Completion })));
        return path;
    }

    private (int Code, string Output, string Error) Run(params string[] arguments)
    {
        Process process = Start(arguments);
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output, error.Result);
    }

    private Process Start(string[] arguments)
    {
        ProcessStartInfo start = new("dotnet", [Path.Combine(AppContext.BaseDirectory, "nola.dll"), .. arguments])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
        };
        Process process = Process.Start(start)!;
        started.Add(process);
        return process;
    }
}
