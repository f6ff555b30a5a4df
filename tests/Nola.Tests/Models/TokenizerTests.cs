using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using FsCheck.Xunit;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

public sealed class TokenizerTests
{
    private static readonly JsonElement golden =
        JsonDocument.Parse(File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "data", "golden", "tokenizer", "ids.json"))).RootElement;

    private static readonly int[] sizes = [257, 300, 1000, 8192];

    private readonly Gpt2Tokenizer tokenizer = Gpt2Tokenizer.Default;

    [Fact]
    public void Every_recorded_string_has_its_ids_and_comes_back()
    {
        int count = 0;
        foreach (JsonElement row in golden.GetProperty("strings").EnumerateArray())
        {
            string text = row.GetProperty("text").GetString()!;
            int[] ids = TinyModels.Ids(row.GetProperty("ids"));
            Assert.Equal(ids, tokenizer.Encode(text));
            Assert.Equal(text, tokenizer.Decode(ids));
            count++;
        }
        Assert.True(count > 30);
    }

    [Theory]
    [InlineData("e2e-train", "lora-train.txt.gz")]
    [InlineData("e2e-valid", "lora-valid.txt.gz")]
    public void The_encoded_E2E_stream_has_the_recorded_digest(string name, string file)
    {
        JsonElement wanted = golden.GetProperty("lora_pipeline").GetProperty(name);
        TextPairs pairs = TextPairs.Read(Path.Combine(AppContext.BaseDirectory, "data", "e2e", file));
        EncodedPair[] encoded = new PairEncoder(tokenizer, 512, 50257).Encode(pairs);
        Assert.Equal(wanted.GetProperty("pairs").GetInt32(), encoded.Length);
        Assert.Equal(wanted.GetProperty("longest_pair").GetInt32(), encoded.Max(p => p.Length));
        Assert.Equal(wanted.GetProperty("context_tokens").GetInt32(), encoded.Sum(p => p.Context.Length));
        Assert.Equal(wanted.GetProperty("sha256_context_int32le").GetString(), Digest(encoded.SelectMany(p => p.Context)));
        Assert.Equal(wanted.GetProperty("sha256_completion_int32le").GetString(), Digest(encoded.SelectMany(p => p.Completion)));
    }

    [Property(MaxTest = 300)]
    public void Any_text_comes_back(string? text)
    {
        if (text is null || HasLoneSurrogate(text)) return;
        Assert.Equal(text, tokenizer.Decode(tokenizer.Encode(text)));
    }

    [Property(MaxTest = 100)]
    public void Any_text_comes_back_with_fewer_merges_too(string? text, int size)
    {
        if (text is null || HasLoneSurrogate(text)) return;
        Gpt2Tokenizer small = Gpt2Tokenizer.WithVocabulary(sizes[Math.Abs(size % sizes.Length)]);
        int[] ids = small.Encode(text);
        Assert.Equal(text, small.Decode(ids));
        Assert.All(ids, id => Assert.Equal(tokenizer.BytesOf(id).ToArray(), small.BytesOf(id).ToArray()));
        Assert.True(ids.Length >= tokenizer.Encode(text).Length);
    }

    [Fact]
    public void A_vocabulary_that_is_cut_ends_texts_with_its_last_token_and_reads_its_own_files()
    {
        Gpt2Tokenizer small = Gpt2Tokenizer.WithVocabulary(8192);
        Assert.Equal((8192, 8191), (small.Vocabulary, small.EndOfText));
        Assert.Equal([8191, 628], small.StopTokens);
        Assert.Equal("<|endoftext|>", small.Decode([8191]));
        string text = "name : The Blue Kettle House | area : Zürich ☕", directory = Directory.CreateTempSubdirectory("nola-vocab").FullName;
        small.Save(directory);
        Gpt2Tokenizer read = Gpt2Tokenizer.FromFiles(Path.Combine(directory, "vocab.json"), Path.Combine(directory, "merges.txt"));
        Directory.Delete(directory, recursive: true);
        Assert.Equal((8192, 8191), (read.Vocabulary, read.EndOfText));
        Assert.Equal(small.Encode(text), read.Encode(text));
        // As if the merges that are missing were never learned: only the largest tokens come apart.
        Assert.Equal(tokenizer.Encode("The cat sat on the table"), small.Encode("The cat sat on the table"));
        Assert.Same(tokenizer, Gpt2Tokenizer.WithVocabulary(50257));
        Assert.Throws<NolaException>(() => Gpt2Tokenizer.WithVocabulary(256));
        Assert.Throws<NolaException>(() => Gpt2Tokenizer.WithVocabulary(50258));
    }

    [Theory]
    [InlineData("x\n\n")]
    [InlineData("x \n\t ")]
    [InlineData("\n\n\n")]
    [InlineData("a b  ")]
    public void White_space_before_a_long_word_is_divided_as_before_any_other(string before)
    {
        string word = string.Concat(Enumerable.Repeat("etaoin", 30)), longWord = string.Concat(Enumerable.Repeat("etaoin", 300));
        List<int> ids = [], longIds = [];
        tokenizer.LongWords.Encode(word, ids);
        tokenizer.LongWords.Encode(longWord, longIds);
        int[] whole = tokenizer.Encode(before + word), longWhole = tokenizer.Encode(before + longWord);
        // With the space before it the word has as many tokens, of which the first is another.
        int spaced = before.EndsWith(' ') ? 1 : 0;
        Assert.Equal(whole[..^ids.Count], longWhole[..(whole.Length - ids.Count)]);
        Assert.Equal(before + longWord, tokenizer.Decode(longWhole));
        Assert.Equal(longIds[spaced..], longWhole[^(longIds.Count - spaced)..]);
    }

    [Fact]
    public void Ids_that_a_padded_vocabulary_has_beyond_the_tokenizers_have_no_text()
    {
        Gpt2Tokenizer padded = tokenizer.PaddedTo(50304);
        Assert.Equal("ab", padded.Decode([64, 50257, 65, 50303]));
        Assert.True(padded.IsDefault);
        Assert.Throws<NolaException>(() => padded.Decode([50304]));
        Assert.Throws<NolaException>(() => tokenizer.Decode([50257]));
        Assert.Same(tokenizer, tokenizer.PaddedTo(50257));
    }

    [Property(MaxTest = 300)]
    public void Long_words_are_encoded_as_others_are(int seed)
    {
        Random random = new(seed);
        string letters = seed % 2 == 0 ? "etaoin" : "etaoinshrdluwmfcgypbvkxqjzETAOéтñß日İ";
        string word = string.Concat(Enumerable.Range(0, 1 + random.Next(300)).Select(_ => letters[random.Next(letters.Length)]));
        List<int> ids = [];
        tokenizer.LongWords.Encode(word, ids);
        Assert.Equal(tokenizer.Encode(word), ids);
    }

    [Theory]
    [InlineData("a", 250_000)]
    [InlineData("é", 1_000_000)]
    [InlineData("0", 62_500)]
    public void A_word_of_a_million_characters_takes_a_moment(string character, int count)
    {
        string word = string.Concat(Enumerable.Repeat(character, 1_000_000));
        int[] before = tokenizer.Encode("It is"), after = tokenizer.Encode("  or so.");
        Stopwatch clock = Stopwatch.StartNew();
        int[] ids = tokenizer.Encode($"It is {word}  or so.");
        // Half a second; with a look at all pairs for each merge it would be most of an hour.
        Assert.True(clock.Elapsed < TimeSpan.FromMinutes(1), $"{clock.Elapsed}");
        Assert.Equal(before, ids[..before.Length]);
        Assert.Equal(after, ids[^after.Length..]);
        Assert.InRange(ids.Length - before.Length - after.Length, count - 1, count + 2);
        Assert.Equal($"It is {word}  or so.", tokenizer.Decode(ids));
    }

    [Fact]
    public void A_word_of_several_million_characters_takes_the_memory_of_one()
    {
        // Surrogates lie across the ends of pieces.
        string word = "a" + string.Concat(Enumerable.Repeat("😀", 1_250_000));
        long before = GC.GetAllocatedBytesForCurrentThread();
        int[] ids = tokenizer.Encode(word);
        // Lists of pieces, of what is merged, and of the result: about 60 bytes for each byte of a piece, and the ids of all.
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 1_000_000_000);
        Assert.Equal(word, tokenizer.Decode(ids));
    }

    [Fact]
    public void A_token_of_any_length_is_shown()
    {
        string directory = Directory.CreateTempSubdirectory("nola-test").FullName;
        string vocabulary = Path.Combine(directory, "vocab.json"), merges = Path.Combine(directory, "merges.txt");
        string longest = new('x', 2_000_000);
        File.WriteAllText(vocabulary, JsonSerializer.Serialize(new Dictionary<string, int> { ["a"] = 0, [longest] = 1 }));
        File.WriteAllText(merges, "");
        IncrementalDecoder decoder = new(Gpt2Tokenizer.FromFiles(vocabulary, merges));
        Assert.Equal(longest + "a", decoder.Add(1) + decoder.Add(0));
        Directory.Delete(directory, recursive: true);
    }

    [Fact]
    public void Streaming_holds_back_what_is_not_a_character_yet()
    {
        const string Text = "Café 👍🏽 中文";
        IncrementalDecoder decoder = new(tokenizer);
        string[] pieces = [.. tokenizer.Encode(Text).Select(decoder.Add)];
        Assert.Equal(Text, string.Concat(pieces));
        Assert.DoesNotContain(pieces, piece => piece.Contains('\uFFFD'));
        Assert.Contains("", pieces);
    }

    [Fact]
    public void An_id_outside_the_vocabulary_gives_a_sentence() =>
        Assert.Contains("50257", Assert.Throws<NolaException>(() => tokenizer.Decode([50257])).Message);

    private static string Digest(IEnumerable<int> ids) =>
        Convert.ToHexStringLower(SHA256.HashData(MemoryMarshal.AsBytes<int>(ids.ToArray())));

    private static bool HasLoneSurrogate(string text) => text.EnumerateRunes().Any(r => r == Rune.ReplacementChar);
}
