using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Nola.Models;
using Nola.Tensors;

namespace Nola.GpuBench;

/// <summary>
/// Verifies every kernel of a GPU against the CPU, then times, and sets what it measured beside the bars. <c>bench/gpu.sh</c>
/// runs it, and the peer after it; with <c>--device cpu</c> it runs anywhere and compares the CPU with itself.
/// </summary>
internal static class Program
{
    private const string About = """
        Verifies every kernel of a GPU against the CPU, times kernels, training steps, decoding and the start, and prints a table of
        bars with what was measured. Writes NAME.md, NAME.json, and NAME-e2e.json with the examples that the peer trains on too.
        Ends with 0 when all kernels agree with the CPU, with 1 when one does not or a part could not run, and with 2 when nothing could be
        measured. A bar that is not met changes nothing about that.
        """;

    private static int Main(string[] args)
    {
        CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
        Option<string> device = new("--device")
        {
            Description = "cuda, cuda:1, or cpu, which shows that the program runs and compares the CPU with itself",
            DefaultValueFactory = _ => "cuda",
            Recursive = true,
        };
        Option<string> size = new("--size")
        {
            Description = "gpt2, gpt2-medium, gpt2-large or gpt2-xl, with random weights; the bars are for gpt2-medium",
            DefaultValueFactory = _ => Workload.StandardSize,
            Recursive = true,
        };
        Option<int> tokens = new("--tokens")
        {
            Description = "Rows of products, edge of the product of two squares, most tokens of a step, "
                + "and 64 times the tokens that are decoded (16 to 128); the bars are for 8192",
            DefaultValueFactory = _ => Workload.StandardTokens,
            Recursive = true,
        };
        Option<string> output = new("--out") { Description = "NAME of the files", DefaultValueFactory = _ => "gpu-bench" };
        Option<int> steps = new("--train-steps")
        {
            Description = "Steps of the embedded model's default training job, "
                + "run on the device and on the CPU (minutes there); 0 leaves that bar out",
            DefaultValueFactory = _ => Agreement.Steps,
        };
        Option<bool> tiles = new("--tiles")
        {
            Description = "Measure every tile of the products on tensor cores instead, and write NAME-tiles.json",
        };
        Option<string?> table = new("--table")
        {
            Description = "A table of tiles, as --tiles writes one, to use instead of the built-in one",
        };
        Option<string> precisions = new("--precisions")
        {
            Description = "In which precisions products are verified and timed, of float32, tf32 and bfloat16; all else needs bfloat16",
            DefaultValueFactory = _ => "float32,tf32,bfloat16",
        };
        RootCommand root = new(About) { device, size, tokens, output, steps, tiles, table, precisions };
        root.SetAction(r => Guarded(() => r.GetValue(tiles)
            ? Tiles(r.GetValue(device)!, r.GetValue(output)!)
            : All(
                r.GetValue(device)!, Workload.Of(r.GetValue(size)!, r.GetValue(tokens)), r.GetValue(output)!, r.GetValue(steps),
                r.GetValue(precisions)!.Split(','),
                r.GetValue(table) is { } path ? TableOf(path) : TileTable.Embedded)));
        Command first = new(StartUp.Command, "One training step, for the time from the start of the process") { Hidden = true };
        first.SetAction(r => Guarded(() =>
        {
            StartUp.FirstStep(r.GetValue(device)!, Workload.Of(r.GetValue(size)!, r.GetValue(tokens)));
            return 0;
        }));
        root.Add(first);
        ParseResult parsed = root.Parse(args);
        int code = parsed.Invoke();
        return parsed.Errors.Count > 0 ? 2 : code;
    }

    private static int Guarded(Func<int> run)
    {
        try
        {
            return run();
        }
        catch (NolaException error)
        {
            Console.Error.WriteLine($"nola-gpu-bench: nothing was measured. {error.Message}");
            return 2;
        }
    }

    private static TileTable TableOf(string path)
    {
        try
        {
            return TileTable.FromJson(File.ReadAllText(path));
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or JsonException or InvalidDataException)
        {
            throw new NolaException($"--table {path} cannot be used: {error.Message} Write one with --tiles.", error);
        }
    }

    private static int All(string name, Workload work, string output, int trainSteps, string[] precisions, TileTable tiles)
    {
        if (precisions.FirstOrDefault(p => p is not ("float32" or "tf32" or "bfloat16")) is { } unknown)
            throw new NolaException($"--precisions has '{unknown}'; expected float32, tf32 and bfloat16, separated by commas.");
        if (trainSteps < 0) throw new NolaException($"--train-steps is {trainSteps}; expected 0 or more.");
        // The last is the one that trains.
        (string Suffix, Precision Precision)[] ways = name == "cpu"
            ? [("", Precision.Float32)]
            : [(",float32", Precision.Float32), (",tf32", Precision.Tf32), ("", Precision.BFloat16)];
        Bars bars = new(work, trainSteps);
        Report report = new(output) { Bars = bars };
        foreach (DeviceInfo found in DeviceInfo.List()) report.Line($"{found.Name}: {found.Description}; {found.Detail}");
        using (Device device = Device.Open(name)) report.Setting = Setting(device, ways[^1].Precision, work, output);
        E2EExamples e2e = E2EExamples.Of(work.Tokens);
        File.WriteAllText(output + "-e2e.json", e2e.ToJson());
        bool complete = true;
        foreach ((string suffix, Precision precision) in ways.Where(w => name == "cpu" || precisions.Contains(Bench.Name(w.Precision))))
            complete &= Part(report, $"{name}{suffix}", () => Way(name + suffix, precision, precision == ways[^1].Precision));
        complete &= Part(report, "The first step", () => StartUp.Run(name, work, report, bars));
        if (trainSteps == 0) bars.Skip("training", "left out by --train-steps 0");
        else complete &= Part(report, "Training", () => Agreement.Run(name, trainSteps, report, bars));
        if (work.Size != Workload.StandardSize || work.Tokens != Workload.StandardTokens || name == "cpu")
            report.Line($"The bars are for a card of the H100's class, {Workload.StandardSize} and {Workload.StandardTokens} tokens; "
                + $"this is {name}, {work.Size} and {work.Tokens}.");
        bars.Table(report);
        report.Write();
        string outcome = complete
            ? "all kernels agree with the CPU"
            : "SOME KERNELS DISAGREE WITH THE CPU, OR A PART COULD NOT RUN: see above";
        Console.WriteLine($"Wrote {output}.md, {output}.json and {output}-e2e.json; {outcome}.");
        return complete ? 0 : 1;

        bool Way(string place, Precision precision, bool trains)
        {
            using Device? device = Opened(place, precision, report);
            if (device is null) return true;
            if (device is GpuDevice gpu) gpu.TileTable = tiles;
            Bench bench = new(device, precision, work, report, bars);
            bool agrees = Part(report, $"Verification in {precision}", () => Verification.Run(device, precision, report));
            return (trains ? Times(bench, e2e) : Part(report, $"Products in {precision}", () => ProductSpeed.Table(bench))) & agrees;
        }
    }

    private static bool Times(Bench bench, E2EExamples e2e)
    {
        Report report = bench.Report;
        bool complete = Part(report, "Kernels", () =>
        {
            report.Table($"Kernels at the sizes of {bench.Work.Size}, {bench.Work.Tokens:N0} tokens", "kernel", "time", "rate");
            ProductSpeed.Rows(bench);
            KernelSpeed.Rows(bench);
            KernelSpeed.Attention(bench, e2e.Stream);
            report.Line("");
        });
        complete &= Part(report, "Small kernels", () =>
        {
            LaunchCost.Run(bench.Device, report);
            report.Line("");
        });
        return complete & Part(report, "The model", () =>
        {
            using LanguageModel model = LanguageModel.Create(bench.Work.Config, bench.Device, 1, trainable: false, WeightFormat.BFloat16);
            return Part(report, "Training steps", () => StepSpeed.Run(bench, model, e2e))
                & Part(report, "Decoding", () => DecodeSpeed.Run(bench, model));
        });
    }

    // A part that fails costs its own figures alone, whatever failed, and what is there is on the disk when the next one begins:
    // time on a card is dear.
    private static bool Part(Report report, string name, Func<bool> run)
    {
        try
        {
            return run();
        }
        catch (Exception error)
        {
            report.Line("");
            report.Line($"{name}: could not run to the end. {error.GetType().Name}: {error.Message}");
            return false;
        }
        finally
        {
            report.Write();
        }
    }

    private static bool Part(Report report, string name, Action run) => Part(report, name, () =>
    {
        run();
        return true;
    });

    private static object Setting(Device device, Precision precision, Workload work, string output) => new
    {
        date = DateTime.UtcNow.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture),
        commit = BuildVersion.Commit,
        device = device.Description,
        precision = Bench.Name(precision),
        size = work.Size,
        layers = work.Config.Layers,
        heads = work.Config.Heads,
        channels = work.Config.Channels,
        vocabulary = work.Config.Vocabulary,
        positions = work.Config.Positions,
        tokens = work.Tokens,
        sequences = Workload.Sequences,
        length = work.Length,
        rank = Workload.Rank,
        bases = Workload.Bases,
        examples = Path.GetFileName(output) + "-e2e.json",
    };

    // Cards before compute capability 8.0 have no TF32, and all else.
    private static Device? Opened(string name, Precision precision, Report report)
    {
        try
        {
            return Device.Open(name);
        }
        catch (NolaException error) when (precision == Precision.Tf32)
        {
            report.Line(error.Message);
            return null;
        }
    }

    private static int Tiles(string name, string output)
    {
        Report report = new(output);
        using Device device = Device.Open(name);
        TileBench.Run(device, output, report);
        report.Write();
        Console.WriteLine($"Wrote {output}.md, {output}.json and {output}-tiles.json.");
        return 0;
    }
}
