using System.Text;
using Nola.Models;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>A model's own vocab.json and merges.txt: read to the letter, or refused with the token or the line.</summary>
public sealed class TokenizerFileTests : IDisposable
{
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    public void Dispose() => Directory.Delete(directory, recursive: true);

    [Fact]
    public void Whole_files_encode()
    {
        Gpt2Tokenizer tokenizer = Read("{\"a\": 0, \"b\": 1, \"ab\": 2, \"abb\": 5}", "#version: 0.2\r\na b\r\nab b\r\n");
        Assert.Equal([5, 0], tokenizer.Encode("abba"));
        Assert.Equal("abba", tokenizer.Decode([5, 0]));
        Assert.Equal(6, tokenizer.Vocabulary);
    }

    [Theory]
    [InlineData("{\"a\": 0, \"a\": 1}", "there twice")]
    [InlineData("{\"a\": 0, \"b\": 0}", "the tokens 'a' and 'b' have the same id, 0")]
    [InlineData("{\"a\": 2000000000}", "the id of token 'a' is '2000000000'")]
    [InlineData("{\"a\": -1}", "the id of token 'a' is '-1'")]
    [InlineData("{\"a\": 1.5}", "the id of token 'a' is '1.5'")]
    [InlineData("{\"a\": \"0\"}", "the id of token 'a' is")]
    [InlineData("{\"a\": null}", "the id of token 'a' is 'null'")]
    [InlineData("{\"\\ud83d\": 0}", "half of a character")]
    [InlineData("{}", "there is no token")]
    [InlineData("[]", "not a vocabulary")]
    [InlineData("{\"a\": 0} x", "not valid JSON")]
    public void A_vocabulary_that_is_none_is_refused(string vocabulary, string expected) =>
        Assert.Contains(expected, Refused(Encoding.UTF8.GetBytes(vocabulary), "#\n"u8.ToArray()));

    [Theory]
    [InlineData("#version\na b\na\n", "line 3: 'a' is no merge")]
    [InlineData("a b\n\na  b\n", "line 3: 'a  b' is no merge")]
    [InlineData("a b c\n", "line 1: 'a b c' is no merge")]
    [InlineData("a b\na c\n", "line 2: the token 'c' is not in the vocabulary")]
    [InlineData("b a\n", "line 1: the token 'ba' is not in the vocabulary")]
    public void Merges_that_do_not_fit_are_refused_with_their_line(string merges, string expected) =>
        Assert.Contains(expected, Refused("{\"a\": 0, \"b\": 1, \"ab\": 2}"u8.ToArray(), Encoding.UTF8.GetBytes(merges)));

    [Fact]
    public void What_is_not_UTF8_is_refused()
    {
        Assert.Contains("vocab.json: not valid UTF-8", Refused([.. "{\""u8, 0xFF, .. "\": 0}"u8], []));
        Assert.Contains("merges.txt, line 2: not valid UTF-8", Refused("{\"a\": 0}"u8.ToArray(), [.. "#version\na "u8, 0xC3, (byte)'\n']));
    }

    [Theory]
    [InlineData("vocab.json", "has vocab.json and no merges.txt")]
    [InlineData("merges.txt", "has merges.txt and no vocab.json")]
    public void One_file_without_the_other_is_not_passed_over(string there, string expected)
    {
        File.Copy(Path.Combine(TinyModels.Golden, "config.json"), Path.Combine(directory, "config.json"));
        File.WriteAllText(Path.Combine(directory, there), "{}");
        ModelTokens tokens = new Gpt2Config(1, 1, 8).Tokens;
        Assert.Contains(expected, Assert.Throws<NolaException>(() => TokenizerFiles.Find(directory, tokens)).Message);
    }

    private Gpt2Tokenizer Read(string vocabulary, string merges) =>
        Read(Encoding.UTF8.GetBytes(vocabulary), Encoding.UTF8.GetBytes(merges));

    private Gpt2Tokenizer Read(byte[] vocabulary, byte[] merges)
    {
        string v = Path.Combine(directory, "vocab.json"), m = Path.Combine(directory, "merges.txt");
        File.WriteAllBytes(v, vocabulary);
        File.WriteAllBytes(m, merges);
        return Gpt2Tokenizer.FromFiles(v, m);
    }

    private string Refused(byte[] vocabulary, byte[] merges) => Assert.Throws<NolaException>(() => Read(vocabulary, merges)).Message;
}
