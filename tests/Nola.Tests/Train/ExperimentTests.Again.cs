using System.Globalization;
using System.Xml.Linq;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

// What is measured or made again when something has changed, and what table and plot say of it meanwhile.
public sealed partial class ExperimentTests
{
    [Fact]
    public void Scores_of_two_ways_of_measuring_are_never_averaged()
    {
        const string Base = """{ "name": "base", "method": "base" }, { "name": "lora", "series": "LoRA", "method": "lora", "rank": 1 }""";
        string root = Path.Combine(directory, "a"), plot = Path.Combine(root, "plot.svg");
        Run(root, Base, [new ConstantScore("first", 1, _ => { })]);
        Assert.Contains("| 1.000 ± 0.000 |", Row("lora"));
        Assert.EndsWith("| 2 |", Row("lora"));
        Assert.True(File.Exists(plot));
        // Interrupted when only the base has been measured in the new way, which alone is no plot; then after one of two seeds.
        Interrupted();
        Assert.Contains("| 3.000 |", Row("base"));
        Assert.DoesNotContain("1.000", Row("lora"));
        Assert.False(File.Exists(plot));
        Interrupted();
        Assert.Contains("| 3.000 |", Row("lora"));
        Assert.EndsWith("| 1, 1 not scored |", Row("lora"));
        Assert.True(File.Exists(plot));
        Run(root, Base, [new ConstantScore("second", 3, _ => { })]);
        Assert.Contains("| 3.000 ± 0.000 |", Row("lora"));

        void Interrupted()
        {
            using CancellationTokenSource stop = new();
            ConstantScore stopping = new("second", 3, calls =>
            {
                if (calls == 2) stop.Cancel();
            });
            Assert.True(Run(root, Base, [stopping], cancel: stop.Token).Interrupted);
        }

        string Row(string method) => File.ReadLines(Path.Combine(root, "table.md")).Single(line => line.StartsWith($"| {method} |"));
    }

    [Fact]
    public void A_run_whose_adapter_is_gone_is_not_scored_as_the_base_model()
    {
        const string Lora = """{ "name": "lora", "method": "lora", "rank": 1 }""";
        string root = Path.Combine(directory, "a");
        Run(root, Lora, [new CountingScore("first")], seeds: "[1]");
        string run = Directory.GetDirectories(root, "lora--*").Single();
        File.Delete(Path.Combine(run, "adapter.safetensors"));
        NolaException error = Assert.Throws<NolaException>(() => Run(root, Lora, [new CountingScore("second")], seeds: "[1]"));
        Assert.Contains("adapter.safetensors", error.Message);
        Assert.EndsWith($"to make this run anew, remove {run} first.", error.Message);
        Directory.Delete(run, recursive: true);
        Assert.Equal(1, Run(root, Lora, [new CountingScore("second")], seeds: "[1]").Done);
    }

    [Fact]
    public void All_of_a_model_is_trained_and_scored_in_float32_whatever_a_frozen_base_is_kept_in()
    {
        string root = Path.Combine(directory, "a");
        Run(root, """{ "name": "full", "method": "full", "storage": "nf4", "eval-every": 2 }""", [new LossScore()], seeds: "[1]");
        RunRecord record = RunRecord.Read(Path.Combine(Directory.GetDirectories(root, "full--*").Single(), "result.json"))!;
        // The best model is kept, and the pairs that it was chosen by are the ones that it is scored on: other batches, the same sums.
        Assert.Equal(record.TrainInfo.Metrics.Min(metric => metric.ValidLoss), record.Scores["loss"].Values["loss"], 1e-6);
    }

    [Fact]
    public void The_base_model_is_scored_again_when_its_texts_are_read_in_another_way()
    {
        const string Base = """{ "name": "base", "method": "base" }""";
        CountingScore score = new("first");
        string root = Path.Combine(directory, "a");
        Run(root, Base, [score]);
        Run(root, Base, [score]);
        Assert.Equal(1, score.Calls);
        Run(root, """{ "name": "base", "method": "base", "truncate": true }""", [score]);
        Assert.Equal(2, score.Calls);
    }

    [Fact]
    public void What_was_rounded_is_rounded_again_when_its_source_was_trained_again()
    {
        const string Rounded = """{ "name": "k20", "bases": 20 }, { "name": "k20-after-3bit", "of": "k20", "bits": 3 }""";
        string root = Path.Combine(directory, "a");
        Assert.Equal(2, Run(root, Rounded, [new LossScore()], seeds: "[1]").Done);
        Assert.Equal(0, Run(root, Rounded, [new LossScore()], seeds: "[1]").Done);
        Directory.Delete(Directory.GetDirectories(root, "k20--*").Single(), recursive: true);
        Assert.Equal(2, Run(root, Rounded, [new LossScore()], seeds: "[1]").Done);
    }

    [Fact]
    public void A_run_that_goes_on_with_another_arithmetic_says_so()
    {
        const string Lora = """{ "name": "lora", "method": "lora", "rank": 1 }""";
        string root = Path.Combine(directory, "a");
        using CancellationTokenSource stop = new();
        Assert.True(Run(root, Lora, [new LossScore()], new StopAfter(3, stop), stop.Token, "[1]").Interrupted);
        string config = Path.Combine(Directory.GetDirectories(root, "lora--*").Single(), "config.json");
        Assert.Contains("\"device\": \"cpu\"", File.ReadAllText(config));
        File.WriteAllText(config, File.ReadAllText(config).Replace("\"cpu\"", "\"cuda:1\""));
        StopAfter watch = new(int.MaxValue, new());
        Assert.Equal(1, Run(root, Lora, [new LossScore()], watch, seeds: "[1]").Done);
        Assert.EndsWith("was begun on cuda:1 and goes on on cpu, which does not compute to the same bits.", Assert.Single(watch.Notices));
    }

    [Fact]
    public void A_plot_of_many_series_tells_them_apart_within_its_width()
    {
        string root = Path.Combine(directory, "a"), methods = string.Join(
            ", ",
            Enumerable.Range(1, 14).Select(rank =>
                $$"""{ "name": "r{{rank}}", "series": "a long name {{rank}}", "method": "lora", "rank": {{rank}} }"""));
        Run(root, methods, [new ConstantScore("s", 1, _ => { })], seeds: "[1]");
        XElement[] all = [.. XDocument.Load(Path.Combine(root, "plot.svg")).Root!.Elements()];
        XElement[] lines = [.. all.Where(e => e.Attribute("stroke-width")?.Value == "3")];
        Assert.Equal(14, lines.Length);
        Assert.Equal(14, lines.Select(e => (e.Attribute("stroke")!.Value, e.Attribute("stroke-dasharray")?.Value)).Distinct().Count());
        Assert.Equal(14, lines.Select(e => (e.Attribute("x1")!.Value, e.Attribute("y1")!.Value)).Distinct().Count());
        Assert.All(lines, e => Assert.InRange(double.Parse(e.Attribute("x2")!.Value, CultureInfo.InvariantCulture), 0, 760 - 7 * 13));
        // The field of the points begins below the legend.
        double lowest = lines.Max(e => double.Parse(e.Attribute("y1")!.Value, CultureInfo.InvariantCulture));
        XElement[] points = [.. all.Where(e => e.Elements().Any(title => title.Name.LocalName == "title"))];
        Assert.Equal(14, points.Length);
        Assert.All(points.Where(e => e.Attribute("cy") is not null), e =>
            Assert.True(double.Parse(e.Attribute("cy")!.Value, CultureInfo.InvariantCulture) > lowest + 20));
    }
}
