using System.Text.Json;
using Nola.Train.Metrics;
using Xunit;

namespace Nola.Tests;

/// <summary>Scores against those that the original tools gave for the same files.</summary>
public sealed class GoldenScoreTests
{
    private const double Tolerance = 1e-9, Printed = 5.1e-5;   // the Perl script prints four digits

    [Theory]
    [InlineData("template")]
    [InlineData("short8")]
    [InlineData("scrambled")]
    public void E2E_scores_are_those_of_e2e_metrics(string system)
    {
        JsonElement golden = MetricFiles.Scores("e2e", "e2e-sys-" + system);
        Corpus corpus = MetricFiles.E2E(system);
        Assert.Equal(
            (golden.GetProperty("instances").GetInt32(), golden.GetProperty("references").GetInt32()),
            (corpus.Count, corpus.ReferenceCount));
        Assert.Equal(golden.GetProperty("pymteval").GetProperty("BLEU").GetDouble(), new Bleu().Score(corpus).Value, Tolerance);
        Assert.Equal(golden.GetProperty("pymteval").GetProperty("NIST").GetDouble(), new Nist().Score(corpus).Value, Tolerance);
        Assert.Equal(golden.GetProperty("mteval_v13a_perl").GetProperty("BLEU").GetDouble(), new MtevalBleu().Score(corpus).Value, Printed);
        Assert.Equal(golden.GetProperty("mteval_v13a_perl").GetProperty("NIST").GetDouble(), new MtevalNist().Score(corpus).Value, Printed);
        JsonElement coco = golden.GetProperty("coco"), segments = golden.GetProperty("first_3_segments");
        foreach ((IMetric metric, string key) in new (IMetric, string)[]
        {
            (new RougeL(), "ROUGE_L"),
            (new Cider(), "CIDEr"),
            (new Meteor(WordNet.Read(MetricFiles.WordNet)), "METEOR_1.5_no_paraphrase_table"),
        })
        {
            Score score = metric.Score(corpus);
            Assert.Equal(coco.GetProperty(key).GetDouble(), score.Value, Tolerance);
            for (int i = 0; i < 3; i++) Assert.Equal(segments[i].GetProperty(metric.Name).GetDouble(), score.Segments[i], Tolerance);
        }
    }

    [Fact]
    public void WebNLG_scores_are_those_of_GenerationEval()
    {
        JsonElement golden = MetricFiles.Scores("webnlg", "webnlg-unseen-sys-triples");
        Corpus corpus = MetricFiles.WebNlg();
        Assert.Equal(golden.GetProperty("lines").GetInt32(), corpus.Count);
        Assert.Equal(golden.GetProperty("ter_pyter_mean_of_min").GetDouble(), new TranslationEditRate().Score(corpus).Value, Tolerance);
        Assert.Equal(golden.GetProperty("chrf++").GetDouble(), new ChrF().Score(corpus).Value, Tolerance);
        Assert.Equal(
            golden.GetProperty("meteor_1.5_no_paraphrase_table").GetDouble(),
            new Meteor(WordNet.Read(MetricFiles.WordNet)).Score(corpus).Value,
            Tolerance);
        Assert.Equal(golden.GetProperty("bleu").GetDouble(), new MultiBleu().Score(corpus).Value, 5.1e-3);    // printed with two digits
        // On text that is in lower case and tokenized both definitions are NLTK's.
        Assert.Equal(golden.GetProperty("bleu_nltk_method3").GetDouble(), new Bleu().Score(corpus).Value, Tolerance);
        Assert.Equal(golden.GetProperty("bleu_nltk_method3").GetDouble(), new MultiBleu().Score(corpus).Value / 100, Tolerance);
    }

    // Values of METEOR 1.5 with -m 'exact stem' on the same files.
    [Theory]
    [InlineData("template", 0.42012762883888277)]
    [InlineData("scrambled", 0.34352743655959356)]
    public void METEOR_without_WordNet_is_that_of_its_first_two_stages(string system, double expected)
    {
        Score score = new Meteor().Score(MetricFiles.E2E(system));
        Assert.Equal(expected, score.Value, Tolerance);
        Assert.Contains("stages:exact+stem|", score.Signature.ToString());
    }

    // Values of METEOR 1.5 with -m 'exact stem paraphrase' -w '1.0 0.6 0.6' and this table.
    [Fact]
    public void METEOR_with_a_paraphrase_table_matches_phrases_in_both_directions()
    {
        string table = Path.GetTempFileName();
        try
        {
            File.WriteAllText(
                table,
                "0.5\ncity centre\ncentre of town\n0.2\nfamily friendly\ngood "
                + "for children\n0.9\ncheap\nlow priced\n0.1\nof the\nin this\n");
            Corpus corpus = new(
                [
                    "blue spice is a cheap pub in the city centre",
                    "it is good for children and low priced near the heart of the city",
                    "the mill , cheap and family friendly , is in the centre of town",
                ],
                [
                    ["blue spice is a low priced pub in the centre of town"],
                    ["the pub is family friendly and cheap near the city centre"],
                    ["low priced and good for children the mill is in this city centre"],
                ],
                ReferenceForm.Columns);
            Score score = new Meteor(paraphrases: ParaphraseTable.Read(table)).Score(corpus);
            Assert.Equal(0.3906032681404127, score.Value, Tolerance);
            Assert.Equal(
                [0.8052516411378555, 0.32701442780067336, 0.34693703974250356], score.Segments, (a, b) => Math.Abs(a - b) < Tolerance);
            Assert.Contains("stages:exact+stem+paraphrase|", score.Signature.ToString());
        }
        finally
        {
            File.Delete(table);
        }
    }

    // Small corpora of mutated sentences, odd signs and empty outputs, scored by the original programs.
    [Fact]
    public void Small_and_odd_corpora_score_as_in_the_original_tools()
    {
        using JsonDocument document = JsonDocument.Parse(MetricFiles.Text("small-corpora.json.gz"));
        foreach (JsonElement entry in document.RootElement.EnumerateArray())
        {
            string[] hypotheses = Strings(entry.GetProperty("hypotheses"));
            string[][] groups = [.. entry.GetProperty("references").EnumerateArray().Select(Strings)];
            int most = Math.Max(2, groups.Max(g => g.Length));
            Corpus grouped = new(hypotheses, groups, ReferenceForm.Groups, allowEmpty: true);
            Corpus columns = new(
                hypotheses, [.. groups.Select(g => Enumerable.Range(0, most).Select(i => g.ElementAtOrDefault(i) ?? "").ToArray())],
                ReferenceForm.Columns, allowEmpty: true);
            foreach (JsonProperty expected in entry.GetProperty("expected").EnumerateObject())
            {
                Corpus corpus = expected.Name is "TER" or "chrF++" or "multi-bleu" ? columns : grouped;
                double tolerance = expected.Name == "multi-bleu" ? 5.1e-3 : Tolerance;
                Assert.Equal(expected.Value.GetDouble(), Scorer.Score(corpus, new() { Metrics = [expected.Name] })[0].Value, tolerance);
            }
        }
    }

    private static string[] Strings(JsonElement array) => [.. array.EnumerateArray().Select(v => v.GetString()!)];
}
