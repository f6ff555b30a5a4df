using System.Diagnostics;
using System.Text.Json;
using Xunit;

namespace Nola.Tests;

/// <summary><c>nola score</c> as its users start it.</summary>
public sealed class ScoreCommandTests
{
    [Fact]
    public void Groups_give_the_scores_of_E2E()
    {
        (int code, string output, string error) = Run(
            "--refs", MetricFiles.At("e2e-refs.txt.gz"), "--hyp",
            MetricFiles.At("e2e-sys-template.txt.gz"), "--wordnet", MetricFiles.WordNet, "--json");
        Assert.True(code == 0, error);
        JsonElement result = JsonDocument.Parse(output).RootElement, golden = MetricFiles.Scores("e2e", "e2e-sys-template");
        foreach (string key in new[] { "BLEU", "NIST" })
            Assert.Equal(golden.GetProperty("pymteval").GetProperty(key).GetDouble(), result.GetProperty(key).GetDouble(), 1e-9);
        foreach (string key in new[] { "ROUGE_L", "CIDEr" })
            Assert.Equal(golden.GetProperty("coco").GetProperty(key).GetDouble(), result.GetProperty(key).GetDouble(), 1e-9);
        Assert.Equal(
            golden.GetProperty("coco").GetProperty("METEOR_1.5_no_paraphrase_table").GetDouble(),
            result.GetProperty("METEOR").GetDouble(),
            1e-9);
        Assert.Equal(
            ["BLEU", "NIST", "ROUGE_L", "CIDEr", "METEOR", "TER", "chrF++"],
            result.GetProperty("signatures").EnumerateObject().Select(p => p.Name));
        Assert.Equal((630, 4693), (result.GetProperty("hypotheses").GetInt32(), result.GetProperty("references").GetInt32()));
        Assert.Contains("stages:exact+stem+synonym", result.GetProperty("signatures").GetProperty("METEOR").GetString());
    }

    [Fact]
    public void Several_files_give_the_scores_of_WebNLG()
    {
        (int code, string output, string error) = Run(
            [
                "--refs",
                .. MetricFiles.WebNlgReferences,
                "--hyp",
                MetricFiles.At("webnlg-unseen-sys-triples.txt.gz"),
                "--metrics",
                "TER,chrF++ multi-bleu",
                "--json",
            ]);
        Assert.True(code == 0, error);
        JsonElement result = JsonDocument.Parse(output).RootElement, golden = MetricFiles.Scores("webnlg", "webnlg-unseen-sys-triples");
        Assert.Equal(golden.GetProperty("ter_pyter_mean_of_min").GetDouble(), result.GetProperty("TER").GetDouble(), 1e-9);
        Assert.Equal(golden.GetProperty("chrf++").GetDouble(), result.GetProperty("chrF++").GetDouble(), 1e-9);
        Assert.Equal(golden.GetProperty("bleu").GetDouble(), result.GetProperty("multi-bleu").GetDouble(), 5.1e-3);
        Assert.False(result.TryGetProperty("BLEU", out _));
    }

    [Fact]
    public void A_line_for_people_has_the_score_and_its_signature()
    {
        (int code, string output, _) = Run(
            "--refs", MetricFiles.At("e2e-refs.txt.gz"), "--hyp",
            MetricFiles.At("e2e-sys-short8.txt.gz"), "--metrics", "NIST", "--mteval", "v13a");
        Assert.Equal(0, code);
        Assert.Matches(@"^NIST +0\.023324 +nrefs:1-45\|case:lc-ascii\|tok:13a\|order:5\|as:mteval-v13a-e2e\|version:nola-\S+\s*$", output);
    }

    [Fact]
    public void Texts_are_scored_in_the_form_that_is_asked_for()
    {
        (int code, string output, _) = Run(
            "--refs", MetricFiles.At("e2e-refs.txt.gz"), "--hyp",
            MetricFiles.At("e2e-sys-template.txt.gz"), "--metrics", "multi-bleu", "--lower", "--tokenize");
        Assert.Equal(0, code);
        Assert.Contains("nrefs:1-45|text:lower+tokenize|case:mixed|", output);
    }

    [Theory]
    [InlineData(1, "has 891 hypotheses", "--refs", "e2e-refs.txt.gz", "--hyp", "webnlg-unseen-sys-triples.txt.gz")]
    [InlineData(1, "no such file", "--refs", "absent.txt", "--hyp", "e2e-sys-short8.txt.gz")]
    [InlineData(1, "no such WordNet directory", "--refs", "e2e-refs.txt.gz", "--hyp", "e2e-sys-short8.txt.gz", "--wordnet", "absent")]
    [InlineData(1, "no such paraphrase table", "--refs", "e2e-refs.txt.gz", "--hyp", "e2e-sys-short8.txt.gz", "--paraphrases", "absent")]
    [InlineData(1, "did you mean 'NIST'", "--refs", "e2e-refs.txt.gz", "--hyp", "e2e-sys-short8.txt.gz", "--metrics", "NITS")]
    [InlineData(2, "'--hyp' is required", "--refs", "e2e-refs.txt.gz")]
    public void Bad_input_gives_one_sentence_and_a_nonzero_exit_code(int exit, string complaint, params string[] arguments)
    {
        (int code, string output, string error) = Run(
            [.. arguments.Select(a => a.EndsWith(".gz", StringComparison.Ordinal) ? MetricFiles.At(a) : a)]);
        Assert.Equal((exit, ""), (code, output));
        Assert.Contains(complaint, error);
        Assert.Single(error.Trim().Split('\n'));
        Assert.StartsWith("nola: ", error);
    }

    private static (int Code, string Output, string Error) Run(params string[] arguments)
    {
        ProcessStartInfo start = new("dotnet", [Path.Combine(AppContext.BaseDirectory, "nola.dll"), "score", .. arguments])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
        };
        // Whoever runs the tests may have a WordNet.
        start.Environment.Remove("WNHOME");
        start.Environment.Remove("WNSEARCHDIR");
        using Process process = Process.Start(start)!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output, error.Result);
    }
}
