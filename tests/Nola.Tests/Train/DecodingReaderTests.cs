using System.Text.Json;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

/// <summary>The <c>decoding</c> of an experiment.</summary>
public sealed class DecodingReaderTests
{
    [Fact]
    public void Values_change_the_published_decoding()
    {
        GenerateOptions options = Read("""
            { "beams": 4, "beam-rules": "huggingface", "length-penalty": -1.5e-1, "repetition-penalty": 1.1, "max-new": 9, "stop": [5, 6] }
            """);
        Assert.Equal((4, BeamRules.HuggingFace, 9), (options.Beams, options.BeamRules, options.MaxNewTokens));
        Assert.Equal((-0.15, 1.1f), (options.LengthPenalty, options.RepetitionPenalty));
        Assert.Equal([5, 6], options.StopTokens);
        // As published.
        Assert.Equal(4, options.NoRepeatNgram);
    }

    [Theory]
    [InlineData("""{"length-penalty": 1e999}""", "e.json: \"length-penalty\" is 1e999; expected a finite number, such as 0.8.")]
    [InlineData("""{"repetition-penalty": 1e40}""", "e.json: \"repetition-penalty\" is 1e40; expected a finite number, such as 0.8.")]
    [InlineData("""{"repetition-penalty": 1e-60}""", "e.json: repetition-penalty is 0; expected above 0, at most 100; 1 for no penalty.")]
    [InlineData("""{"length-penalty": "0,8"}""", "e.json: \"length-penalty\" is \"0,8\"; expected a finite number, such as 0.8.")]
    [InlineData("""{"beams": 2.5}""", "e.json: \"beams\" is 2.5; expected a whole number.")]
    [InlineData("""{"beams": 99999999999}""", "e.json: \"beams\" is 99999999999; expected a whole number.")]
    [InlineData("""{"beams": null}""", "e.json: \"beams\" is null; expected a whole number.")]
    [InlineData("""{"beam-rules": 1}""", "e.json: \"beam-rules\" is 1; expected published or huggingface.")]
    [InlineData("""{"stop": [1, -1]}""", "e.json: \"stop\" is [1, -1]; expected a list of token ids.")]
    [InlineData("""{"stop": 3}""", "e.json: \"stop\" is 3; expected a list of token ids.")]
    [InlineData("""[]""", "e.json: expected an object of")]
    [InlineData("""{"beam\u0000s": 3}""", "e.json: the key 'beam\\u0000s' is not known; did you mean 'beams'?")]
    public void Values_that_are_none_are_named(string json, string complaint) =>
        Assert.StartsWith(complaint, Assert.Throws<NolaException>(() => Read(json)).Message);

    [Fact]
    public void A_long_value_is_cut()
    {
        string list = string.Join(',', Enumerable.Repeat("-1", 1000));
        NolaException error = Assert.Throws<NolaException>(() => Read($$"""{"stop": [{{list}}]}"""));
        Assert.EndsWith("expected a list of token ids.", error.Message);
        Assert.InRange(error.Message.Length, 40, 140);
    }

    private static GenerateOptions Read(string json)
    {
        using JsonDocument document = JsonInput.Parse(json, "e.json");
        return DecodingReader.Read(document.RootElement, "e.json");
    }
}
