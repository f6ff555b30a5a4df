using System.Text.Json;
using Nola.GpuBench;
using Nola.Models;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>What of the bench for GPUs is no measurement: bars, the report that the peer reads, and the examples of both sides.</summary>
public sealed class GpuBenchTests
{
    private static readonly Workload standard = Workload.Of("gpt2-medium", 8192);

    [Fact]
    public void Every_bar_of_the_nine_is_there_and_unmeasured_at_first()
    {
        Bars bars = new(standard, 400);
        Assert.Equal([1, 2, 3, 4, 5, 6, 7, 8, 9], bars.All.Select(b => b.Number).Distinct());
        Assert.All(bars.All, b => Assert.True(b.Value is null && b.Passed is null && b.Missing.Length > 0));
        Assert.Equal(
            ["product-cube", "product-shapes", "attention", "lora", "published"],
            bars.All.Where(b => b.Missing == "no PyTorch").Select(b => b.Key));
    }

    [Theory]
    [InlineData("nola-shared", 1.01, true)]
    [InlineData("nola-shared", 1.0101, false)]
    [InlineData("basis", 1.0, true)]
    [InlineData("basis", 0.999, false)]
    [InlineData("second-start", 5.01, false)]
    [InlineData("training", 0.0, true)]
    public void A_bar_is_met_on_its_side_of_the_limit(string key, double value, bool passed)
    {
        Bars bars = new(standard, 400);
        bars.Measure(key, value, "a note");
        Bar bar = bars.All.Single(b => b.Key == key);
        Assert.Equal((value, passed, "a note"), (bar.Value!.Value, bar.Passed!.Value, bar.Note));
    }

    [Fact]
    public void What_is_no_number_or_left_out_is_not_measured_and_says_why()
    {
        Bars bars = new(standard, 0);
        bars.Measure("decode", double.NaN);
        bars.Skip("training", "left out");
        Assert.Equal(["came out as NaN", "left out"], bars.All.Where(b => b.Key is "decode" or "training").Select(b => b.Missing));
        Assert.Contains("there is no bar 'speed'", Assert.Throws<ArgumentException>(() => bars.Measure("speed", 1)).Message);
    }

    [Fact]
    public void The_report_has_what_the_peer_reads()
    {
        Bars bars = new(standard, 400);
        bars.Measure("decode", 61.5, "0.4 ms a token");
        Report report = new("not written") { Bars = bars, Setting = new { size = "gpt2-medium" } };
        report.Row(new { kind = "kernel", name = "x · W (1024, 3072)", seconds = 0.5 }, "cell");
        using JsonDocument document = JsonDocument.Parse(report.ToJson());
        JsonElement root = document.RootElement, row = root.GetProperty("rows")[0], listed = root.GetProperty("bars");
        Assert.Equal("gpt2-medium", root.GetProperty("setting").GetProperty("size").GetString());
        Assert.Equal(
            ("kernel", "x · W (1024, 3072)", 0.5),
            (row.GetProperty("kind").GetString(), row.GetProperty("name").GetString(), row.GetProperty("seconds").GetDouble()));
        Assert.Equal(bars.All.Count, listed.GetArrayLength());
        foreach (JsonElement bar in listed.EnumerateArray())
        {
            Assert.Equal(
                ["number", "key", "work", "value", "limit", "at_least", "unit", "passed", "missing", "note"],
                bar.EnumerateObject().Select(p => p.Name));
            bool measured = bar.GetProperty("key").GetString() == "decode";
            Assert.Equal(measured, bar.GetProperty("value").ValueKind == JsonValueKind.Number);
            Assert.Equal(measured, bar.GetProperty("missing").ValueKind == JsonValueKind.Null);
            Assert.Equal(measured ? JsonValueKind.True : JsonValueKind.Null, bar.GetProperty("passed").ValueKind);
        }
    }

    [Fact]
    public void Both_sides_train_on_the_same_examples()
    {
        E2EExamples examples = E2EExamples.Of(2048);
        TokenStream stream = examples.Stream;
        // Another example would not have fitted.
        Assert.InRange(stream.Length, 2048 - 200, 2048);
        Assert.Equal(examples.Pairs.Length, stream.Sequences);
        Assert.Equal(stream.Ids, E2EExamples.Of(2048).Stream.Ids);
        // A larger stream goes on where this one ends.
        Assert.Equal(stream.Ids, E2EExamples.Of(4096).Stream.Ids[..stream.Length]);

        // From the file, as the peer reads it, comes the same stream.
        using JsonDocument document = JsonDocument.Parse(examples.ToJson());
        List<int> ids = [], positions = [], targets = [];
        foreach (JsonElement example in document.RootElement.GetProperty("examples").EnumerateArray())
        {
            int[] tokens = [.. example.GetProperty("ids").EnumerateArray().Select(e => e.GetInt32())];
            for (int t = example.GetProperty("first").GetInt32(); t < tokens.Length - 1; t++)
            {
                positions.Add(ids.Count + t);
                targets.Add(tokens[t + 1]);
            }
            ids.AddRange(tokens[..^1]);
        }
        Assert.Equal(stream.Ids, ids);
        Assert.Equal(stream.LossPositions, positions);
        Assert.Equal(stream.Targets, targets);
    }

    [Theory]
    [InlineData("gpt3", 8192, "--size is 'gpt3'; expected gpt2, gpt2-medium, gpt2-large or gpt2-xl.")]
    [InlineData("gpt2", 100, "--tokens is 100; expected a multiple of 16 from 128 to 16384.")]
    [InlineData("gpt2", 1000, "--tokens is 1000; expected a multiple of 16 from 128 to 16384.")]
    public void A_size_that_cannot_be_measured_is_refused(string size, int tokens, string message) =>
        Assert.Equal(message, Assert.Throws<NolaException>(() => Workload.Of(size, tokens)).Message);

    [Fact]
    public void A_token_reads_every_weight_once_as_it_is_stored()
    {
        using CpuDevice cpu = new(1);
        using LanguageModel model = LanguageModel.Create(
            new Gpt2Config(2, 2, 32, 100, 16), cpu, 1, trainable: false, WeightFormat.BFloat16);
        const int C = 32, L = 2, V = 100;
        Assert.Equal(2.0 * (12 * C * C * L + V * C) + 4.0 * (13 * C * L + 2 * C), DecodeSpeed.BytesOfToken(model));
    }

    [Fact]
    public void A_ratio_is_the_median_of_those_of_each_repetition()
    {
        Assert.Equal(1.5, Timing.Ratio([3, 15, 1], [2, 10, 10]), 12);
        Assert.Equal(2, Timing.Median([3, 1, 2]));
    }
}
