using System.Text.Json;
using FsCheck.Xunit;
using Nola.Train.Metrics;
using Xunit;

namespace Nola.Tests;

/// <summary>Tokenizers, normalizer and stemmer against the programs that they follow.</summary>
public sealed class MetricTextTests
{
    [Theory]
    [InlineData("edge_cases")]
    [InlineData("template_lines")]
    public void Treebank_tokens_are_Stanfords(string section)
    {
        using JsonDocument document = JsonDocument.Parse(File.ReadAllText(MetricFiles.At("ptb-tokens.json")));
        JsonElement[] cases = [.. document.RootElement.GetProperty(section).EnumerateArray()];
        string[][] tokens = PtbTokenizer.Tokenize([.. cases.Select(c => c.GetProperty("text").GetString()!)]);
        Assert.Equal(cases.Select(c => c.GetProperty("tokens").GetString()), tokens.Select(t => string.Join(' ', t)));
    }

    // 2,500 lines of abbreviations, numbers, quotation marks, entities, links and stray signs, tokenized as one stream by
    // Stanford's PTBTokenizer 3.7.0.
    [Fact]
    public void Treebank_tokens_are_Stanfords_on_hard_lines()
    {
        (string Input, string Output)[] lines = MetricFiles.Columns("stanford-ptb.txt.gz");
        string[][] tokens = PtbTokenizer.Tokenize([.. lines.Select(l => l.Input)]);
        Assert.Equal(lines.Select(l => l.Output), tokens.Select(t => string.Join(' ', t)));
    }

    [Fact]
    public void Normalized_words_are_METEORs_on_hard_lines() =>
        Assert.All(
            MetricFiles.Columns("meteor-norm.txt.gz"),
            line => Assert.Equal(line.Output, string.Join(' ', MeteorNormalizer.Words(line.Input))));

    [Fact]
    public void Stems_are_Snowballs() =>
        Assert.All(MetricFiles.Columns("snowball-english-2008.txt.gz"), line => Assert.Equal(line.Output, EnglishStemmer.Stem(line.Input)));

    [Fact]
    public void Where_a_sentence_ends_depends_on_the_next_line()
    {
        Assert.Equal(["etc.", "."], PtbTokenizer.Tokenize(["etc.", "The end"])[0]);
        Assert.Equal(["etc."], PtbTokenizer.Tokenize(["etc.", "the end"])[0]);
    }

    [Fact]
    public void Lines_stay_apart_whatever_is_in_them()
    {
        Assert.Equal(3, PtbTokenizer.Tokenize(["a\u2028b", "", "c\rd"]).Length);
        // An attribute in quotation marks may run over a line's end; such lines are tokenized one by one.
        Assert.Equal(2, PtbTokenizer.Tokenize(["<a href='x", "y'> z"]).Length);
    }

    [Property]
    public bool Tokens_of_words_without_signs_are_the_words(byte[] letters) =>
        PtbTokenizer.Tokenize([Words(letters)])[0].SequenceEqual(UnicodeText.Words(Words(letters)));

    [Property]
    public bool The_longest_match_is_that_of_a_search_over_all_lengths(byte[] bytes)
    {
        string text = string.Concat(bytes.Select(b => "abAB1."[b % 6]));
        string[] patterns = ["a(b|1){1,2}", "[a-z]+1?", "(ab)*\\.", "."];
        LazyDfa automaton = new(patterns);
        (int end, int pattern) = automaton.Match([.. text.Select(c => (int)c)], 0);
        (int Length, int Pattern) best = (0, -1);
        for (int length = 1; length <= text.Length; length++)
            for (int p = patterns.Length - 1; p >= 0; p--)
            {
                // Outside brackets case does not matter.
                string exact = patterns[p].Replace("a(b|1)", "[aA]([bB]|1)").Replace("(ab)", "([aA][bB])");
                if (System.Text.RegularExpressions.Regex.IsMatch(text[..length], $"^(?:{exact})$")) best = (length, p);
            }
        return (end, pattern) == best;
    }

    private static string Words(byte[] letters) => string.Concat(letters.Select(b => "bcdfg "[b % 6]));
}
