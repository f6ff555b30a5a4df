using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Nola.Train.Metrics;
using Xunit;

namespace Nola.Tests;

/// <summary>Outputs beside the references of an experiment, which all its runs share.</summary>
public sealed class DecodedOutputsTests : IDisposable
{
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;
    private readonly CpuDevice device = new(2);

    public void Dispose()
    {
        device.Dispose();
        Directory.Delete(directory, recursive: true);
    }

    [Fact]
    public void Systems_beside_shared_references_have_the_bits_of_each_alone()
    {
        // Two systems, so that each is scored first once and once after another.
        (string[] Outputs, string[][] References)[] systems = [.. ((string[])["template", "scrambled"]).Select(Part)];
        ScoreOptions options = new() { WordNet = MetricFiles.WordNet };
        foreach (ReferenceForm form in (ReferenceForm[])[ReferenceForm.Groups, ReferenceForm.Columns])
            foreach ((string[] Outputs, string[][] References)[] order in new[] { systems, [systems[1], systems[0]] })
            {
                ReferenceSet shared = new(order[0].References);
                IMetric[] metrics = [.. Scorer.Names.Select(name => Scorer.Create(name, options))];
                foreach ((string[] outputs, string[][] references) in order)
                {
                    string[] contexts = [.. outputs.Select((_, i) => $"name : {(i % 3 == 0 ? "The Mill" : "The Eagle")} | food : Indian")];
                    Corpus together = new(outputs, shared, form, allowEmpty: true) { Contexts = contexts };
                    Corpus alone = new(outputs, references, form, allowEmpty: true) { Contexts = contexts };
                    foreach (IMetric metric in metrics)
                    {
                        Score score = metric.Score(together), expected = Scorer.Score(alone, options with { Metrics = [metric.Name] })[0];
                        Assert.Equal((expected.Value, expected.Signature.ToString()), (score.Value, score.Signature.ToString()));
                        Assert.Equal(expected.Segments, score.Segments);
                    }
                }
            }

        static (string[] Outputs, string[][] References) Part(string system)
        {
            Corpus whole = MetricFiles.E2E(system);
            return ([.. whole.Hypotheses.Take(30)], [.. whole.References.Take(30).Select(group => group.ToArray())]);
        }
    }

    [Fact]
    public void Ids_are_not_the_text_that_they_look_like()
    {
        TextPairs pairs = new([new("464 995", "one"), new("", "two") { ContextIds = [464, 995] }, new("464 995", "three")], "pairs");
        Corpus corpus = Of(pairs);
        Assert.Equal([["one", "three"], ["two"]], corpus.References);
        Assert.Equal(2, corpus.Hypotheses.Count);
    }

    [Fact]
    public void A_context_without_any_reference_is_named()
    {
        TextPairs pairs = new(
            [new("a", "one", "x.jsonl, line 1"), new("b", " ", "x.jsonl, line 2"), new("b", "", "x.jsonl, line 3")], "x.jsonl");
        Assert.StartsWith("x.jsonl, line 2: no completion of this context has text", Assert.Throws<NolaException>(() => Of(pairs)).Message);
        Assert.Empty(Directory.GetFiles(directory));
    }

    [Fact]
    public void Published_references_are_six_in_lower_case_and_tokenized()
    {
        TextPairs pairs = new(
            [new("a", "One, two."), new("b", "A"), new("a", "Three"), .. Enumerable.Range(0, 8).Select(i => new TextPair("c", $"C{i}"))],
            "pairs");
        Corpus corpus = Of(pairs, ReferenceForm.Columns);
        Assert.Equal(
            [
                ["one , two .", "three", "one , two .", "one , two .", "one , two .", "one , two ."],
                ["a", "a", "a", "a", "a", "a"],
                ["c0", "c1", "c2", "c3", "c4", "c5"],
            ],
            corpus.AllReferences);
        Assert.Equal(File.ReadAllLines(Path.Combine(directory, "outputs.txt")).Select(TextForm.Published.Of), corpus.Hypotheses);
    }

    [Fact]
    public void A_context_that_is_too_long_is_cut_where_that_is_asked_for()
    {
        LanguageShape config = new Gpt2Config(1, 1, 8, 100, 10).Shape;
        TextPair pair = new("", "x", "line 1") { ContextIds = [.. Enumerable.Range(0, 14)] };
        Assert.Contains(
            "the context has 14 tokens; this model reads at most 10",
            Assert.Throws<NolaException>(() => GeneratedText.Context(pair, null, config)).Message);
        Assert.Equal([6, 7, 8, 9, 10, 11, 12, 13], GeneratedText.Context(pair, null, config, room: 3));
        Assert.Equal([13], GeneratedText.Context(pair, null, config, room: 64));
        Assert.Equal([1, 2], GeneratedText.Context(pair with { ContextIds = [1, 2] }, null, config, room: 3));
    }

    private Corpus Of(TextPairs pairs, ReferenceForm form = ReferenceForm.Groups)
    {
        using LanguageModel model = LanguageModel.Load(LanguageModel.EmbeddedName, device);
        return new DecodedOutputs(new GenerateOptions { MaxNewTokens = 2 }, form).Of(
            new ScoreInput(model, null, LanguageModel.EmbeddedName, pairs, "pairs", false, directory), CancellationToken.None);
    }
}
