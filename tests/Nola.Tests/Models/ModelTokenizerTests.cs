using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Nodes;
using FsCheck.Xunit;
using Nola.Models;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>Tokenizers of small files made here: each setting of tokenizer.json and of the files beside it does what it says.</summary>
public sealed class ModelTokenizerTests : IDisposable
{
    // Ids: the letters a to z, then Ġ, the digits 1 and 2, Ċ and the dot.
    private const string Letters = "abcdefghijklmnopqrstuvwxyzĠ12Ċ.";

    private static readonly string pieces =
        Path.Combine(AppContext.BaseDirectory, "data", "golden", "tokenizers", "spm-own2k", "tokenizer.model");

    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    public void Dispose() => Directory.Delete(directory, recursive: true);

    [Fact]
    public void Both_forms_of_merges_are_read()
    {
        Assert.Equal(["abc", "d", "ab"], Names(Read(ByteLevel("a b", "ab c")), "abcdab"));
        JsonObject lists = ByteLevel("a b", "ab c");
        lists["model"]!["merges"] = new JsonArray(new JsonArray("a", "b"), new JsonArray("ab", "c"));
        Assert.Equal(["abc", "d", "ab"], Names(Read(lists), "abcdab"));
    }

    [Fact]
    public void The_lowest_rank_merges_first_and_of_equal_ones_the_leftmost()
    {
        Assert.Equal(["a", "bc"], Names(Read(ByteLevel("b c", "a b")), "abc"));
        Assert.Equal(["aa", "a"], Names(Read(ByteLevel("a a")), "aaa"));
        Assert.Equal(["ab", "ab", "a"], Names(Read(ByteLevel("a b", "b a")), "ababa"));
    }

    [Fact]
    public void A_word_that_is_a_token_is_taken_whole_where_the_file_says_so()
    {
        // No merge leads to it.
        JsonObject file = ByteLevel("b c");
        file["model"]!["vocab"]!["abc"] = 90;
        Assert.Equal(["a", "bc"], Names(Read(file), "abc"));
        file["model"]!["ignore_merges"] = true;
        Assert.Equal(["abc"], Names(Read(file), "abc"));
        Assert.Equal(["a", "bc", "d"], Names(Read(file), "abcd"));
    }

    [Fact]
    public void Words_are_cut_by_the_files_own_expressions()
    {
        JsonObject file = ByteLevel("1 2", "a 1", "a b");
        Assert.Equal(["ab", "12", "ab", "."], Names(Read(file), "ab12ab."));
        file["pre_tokenizer"] = JsonNode.Parse("""
            {"type": "Sequence", "pretokenizers": [
                {"type": "Digits", "individual_digits": true}, {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}]}
            """);
        Assert.Equal(["ab", "1", "2", "ab", "."], Names(Read(file), "ab12ab."));
        file["pre_tokenizer"] = JsonNode.Parse("""
            {"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": "[^b]+"}, "behavior": "Isolated"},
                {"type": "ByteLevel", "add_prefix_space": true, "use_regex": false}]}
            """);
        Assert.Equal(["Ġ", "a", "Ġ", "b", "Ġ", "12"], Names(Read(file), "ab12"));
    }

    [Fact]
    public void Letters_beyond_the_first_plane_are_letters()
    {
        // Two mathematical letters and a star: .NET sees four halves that are none.
        List<int> ends = [];
        WordPattern.OfGpt2.Cut("x\U0001D400\U0001D401 y\U0001F31F", ends);
        Assert.Equal([5, 7, 9], ends);
    }

    [Fact]
    public void Added_tokens_are_found_as_they_are_spelled()
    {
        JsonObject file = ByteLevel("a b");
        file["added_tokens"] = JsonNode.Parse("""
            [{"id": 100, "content": "<s>", "special": true}, {"id": 101, "content": "<left>", "special": true, "lstrip": true},
             {"id": 102, "content": "<right>", "special": true, "rstrip": true},
             {"id": 103, "content": "cat", "special": false, "single_word": true}, {"id": 104, "content": "<sx>", "special": true},
             {"id": 105, "content": "zz", "special": false, "normalized": true}]
            """);
        ModelTokenizer tokenizer = Read(file);
        Assert.Equal(["ab", "<s>", "ab"], Names(tokenizer, "ab<s>ab", markup: true));
        Assert.Equal(["a", "<sx>"], Names(tokenizer, "a<sx>", markup: true));
        Assert.Equal(["a", "<left>", "Ġ", "b"], Names(tokenizer, "a  <left> b", markup: true));
        Assert.Equal(["a", "Ġ", "<right>", "b"], Names(tokenizer, "a <right>\n b", markup: true));
        Assert.Equal(["a", "Ġ", "cat", ".", "c", "a", "t", "s"], Names(tokenizer, "a cat.cats"));
        Assert.Equal(["y", "zz", "y"], Names(tokenizer, "yzzy"));
        // A user's text does not become a control token.
        JsonObject spelled = ByteLevel("a b");
        foreach (char c in "<>") spelled["model"]!["vocab"]![c.ToString()] = 80 + c;
        spelled["added_tokens"] = file["added_tokens"]!.DeepClone();
        Assert.Equal(["a", "<", "s", ">", "ab"], Names(Read(spelled), "a<s>ab"));
        Assert.Equal("a<s>", tokenizer.Decode(tokenizer.EncodeMarkup("a<s>")));
    }

    [Fact]
    public void Characters_without_a_token_become_bytes_or_the_unknown_one()
    {
        JsonObject file = Marked();
        Assert.Equal(["▁", "ab", "<0xC3>", "<0xA9>", "<0xF0>", "<0x9F>", "<0x99>", "<0x82>"], Names(Read(file), "abé🙂"));
        Assert.Equal("abé🙂", Read(file).Decode(Read(file).Encode("abé🙂")));
        file["model"]!["vocab"]!.AsObject().Remove("<0xA9>");
        Assert.Equal(["▁", "ab", "<unk>"], Names(Read(file), "abéü"));
        file["model"]!["fuse_unk"] = false;
        Assert.Equal(["▁", "ab", "<unk>", "<unk>"], Names(Read(file), "abéü"));
    }

    [Fact]
    public void Spaces_are_marked_as_the_file_says()
    {
        JsonObject file = Marked();
        file["added_tokens"] = JsonNode.Parse("""[{"id": 500, "content": "<s>", "special": true}]""");
        Assert.Equal(["▁", "ab", "▁", "<s>", "▁", "ab"], Names(Read(file), "ab <s>ab", markup: true));
        file["normalizer"] = null;
        file["pre_tokenizer"] = JsonNode.Parse("""{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false}""");
        Assert.Equal(["▁", "ab", "▁", "<s>", "ab"], Names(Read(file), "ab <s>ab", markup: true));
        file["pre_tokenizer"]!["prepend_scheme"] = "always";
        Assert.Equal(["▁", "ab", "<s>", "▁", "ab"], Names(Read(file), "ab<s>ab", markup: true));
        file["pre_tokenizer"]!["prepend_scheme"] = "never";
        Assert.Equal(["ab", "▁", "ab"], Names(Read(file), "ab ab"));
        Assert.Equal("ab  ab", Read(file).Decode(Read(file).Encode("ab  ab")));
    }

    [Fact]
    public void A_text_begins_as_the_template_or_the_configuration_says()
    {
        JsonObject file = ByteLevel("a b");
        file["added_tokens"] = JsonNode.Parse("""
            [{"id": 100, "content": "<s>", "special": true}, {"id": 101, "content": "</s>", "special": true}]
            """);
        const string Names = """ "bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false} """;
        Assert.Equal([0], Read(file).EncodeContext("a"));
        Assert.Equal([0], Read(file, $$"""{ {{Names}} }""").EncodeContext("a"));
        Assert.Equal([100, 0], Read(file, $$"""{ "add_bos_token": true, {{Names}} }""").EncodeContext("a"));
        file["post_processor"] = JsonNode.Parse("""
            {"type": "Sequence", "processors": [{"type": "ByteLevel"}, {"type": "TemplateProcessing",
             "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]}]}
            """);
        ModelTokenizer begun = Read(file, $$"""{ {{Names}} }""");
        Assert.Equal([100, 0], begun.EncodeContext("a"));
        Assert.Equal([100, 0], begun.EncodePrompt("a"));
        Assert.Equal([100], begun.EncodePrompt(""));
        Assert.Equal([26, 0, 101], begun.EncodeCompletion("a"));
        Assert.Equal([0, 101], begun.EncodeDocument("a"));
        Assert.Equal([101], begun.StopTokens);
        Assert.Equal([0], Read(file, $$"""{ "add_bos_token": false, {{Names}} }""").EncodeContext("a"));
        // What has no beginning of its own is begun by the end of the text before.
        Assert.Equal([101], Read(file, $$"""{ "add_bos_token": false, {{Names}} }""").EncodeContext(""));
        Assert.Contains("eos_token is '<no>', which is no token", Refused(file, """{"eos_token": "<no>"}"""));
        Assert.Contains("add_bos_token is true and no bos_token is named", Refused(file, """{"add_bos_token": true}"""));
    }

    [Fact]
    public void SentencePiece_begins_texts_unless_told_otherwise()
    {
        File.Copy(pieces, Path.Combine(directory, "tokenizer.model"));
        ModelTokenizer tokenizer = Find(5000);
        Assert.Equal((1, 2, 2000), (tokenizer.BeginOfText, tokenizer.EndOfText, tokenizer.Vocabulary));
        Assert.Equal([1, .. tokenizer.Encode("The end")], tokenizer.EncodeContext("The end"));
        Assert.Equal([.. tokenizer.Encode("The end"), 2], tokenizer.EncodeCompletion("The end"));
        int[] twice = [.. tokenizer.EncodeContext("The end"), .. tokenizer.EncodeCompletion("The end")];
        Assert.Equal("The end The end", tokenizer.Decode(twice));
        Assert.Equal([1, 2], tokenizer.EncodeMarkup("<s></s>"));
        File.WriteAllText(Path.Combine(directory, "tokenizer_config.json"), """{"add_bos_token": false, "eos_token": "</s>"}""");
        Assert.Equal(tokenizer.Encode("The end"), Find(5000).EncodeContext("The end"));
    }

    [Theory]
    [InlineData("tokenizer.model")]
    [InlineData("tokenizer.json")]
    public void Ids_beyond_the_models_vocabulary_are_refused_and_fewer_are_not(string name)
    {
        if (name == "tokenizer.model") File.Copy(pieces, Path.Combine(directory, name));
        else File.WriteAllText(Path.Combine(directory, name), WithId(1999).ToJsonString());
        string message = Assert.Throws<NolaException>(() => Find(1999)).Message;
        Assert.Contains("the tokenizer has ids up to 1999 and the model's vocabulary is 1999", message);
        ModelTokenizer tokenizer = Find(2048);
        // The embedding is padded; what stands for no token is no text.
        Assert.Equal("", tokenizer.Decode([2047]));
        Assert.Contains("outside the tokenizer's vocabulary of 2000", Assert.Throws<NolaException>(() => tokenizer.Decode([2048])).Message);

        static JsonObject WithId(int id)
        {
            JsonObject file = ByteLevel();
            file["model"]!["vocab"]!["zz"] = id;
            return file;
        }
    }

    [Theory]
    [InlineData("""{"model": {"type": "Unigram", "vocab": []}}""", "type is \"Unigram\"; supported is BPE")]
    [InlineData("""{"model": {"type": "BPE", "vocab": {"a": 0, "b": 0}, "merges": []}}""", "the tokens 'a' and 'b' have the same id, 0")]
    [InlineData("""{"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}}""", "the id of token 'a' is '-1'")]
    [InlineData("""{"model": {"type": "BPE", "vocab": {"a": 0}}}""", "merges is missing")]
    [InlineData("""{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}}""", "merge 0 (from 0) has the token 'b'")]
    [InlineData("""{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a"]}}""", "merge 0 (from 0) is '\"a\"'; expected two tokens")]
    [InlineData("""{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", 1]]}}""", "expected two tokens")]
    [InlineData("""{"model": {"vocab": {"a": 0}, "merges": [], "dropout": 0.1}}""", "dropout is 0.1")]
    [InlineData("""{"model": {"vocab": {"a": 0}, "merges": []}, "normalizer": {"type": "NFKC"}}""", "type is \"NFKC\"; supported are")]
    [InlineData(
        """{"model": {"vocab": {"a": 0}, "merges": []}, "pre_tokenizer": {"type": "Whitespace"}}""",
        "type is \"Whitespace\"; supported are")]
    [InlineData(
        """
        {"model": {"vocab": {"a": 0}, "merges": []},
         "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated"}}
        """,
        "the expression '(' cannot be read")]
    [InlineData(
        """{"model": {"vocab": {"a": 0}, "merges": []}, "decoder": {"type": "WordPiece"}}""",
        "type is \"WordPiece\"; supported are")]
    [InlineData(
        """{"model": {"vocab": {"a": 0}, "merges": []}, "added_tokens": [{"id": 1, "content": "a"}]}""",
        "the added token 'a' has the id 1")]
    [InlineData(
        """{"model": {"vocab": {"a": 0}, "merges": []}, "added_tokens": [{"content": "b"}]}""",
        "id is not given; expected a whole number")]
    [InlineData("[]", "expected a JSON object")]
    public void A_file_that_cannot_be_followed_is_refused_by_name(string json, string expected)
    {
        File.WriteAllText(Path.Combine(directory, "tokenizer.json"), json);
        Assert.Contains(expected, Assert.Throws<NolaException>(() => Find(100)).Message);
    }

    [Fact]
    public void A_SentencePiece_file_that_is_cut_off_is_refused()
    {
        byte[] whole = File.ReadAllBytes(pieces);
        foreach (int length in (int[])[1, 100, 10_000, whole.Length - 1])
        {
            File.WriteAllBytes(Path.Combine(directory, "tokenizer.model"), whole[..length]);
            string message = Assert.Throws<NolaException>(() => Find(5000)).Message;
            Assert.Contains("tokenizer.model: is", message);
        }
        File.WriteAllText(Path.Combine(directory, "tokenizer.model"), "");
        Assert.Contains("there is no piece in it", Assert.Throws<NolaException>(() => Find(5000)).Message);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Two_files_need_the_class_that_knows_how_words_are_cut(bool qwen)
    {
        File.WriteAllText(Path.Combine(directory, "vocab.json"), ByteLevel("1 2")["model"]!["vocab"]!.ToJsonString());
        File.WriteAllText(Path.Combine(directory, "merges.txt"), "#version: 0.2\n1 2\n");
        Assert.Contains("nothing says how texts are cut into words", Assert.Throws<NolaException>(() => Find(200)).Message);
        File.WriteAllText(Path.Combine(directory, "tokenizer_config.json"), """
            {"tokenizer_class": "READER", "eos_token": "<e>", "added_tokens_decoder": {"150": {"content": "<e>", "special": true}}}
            """.Replace("READER", qwen ? "Qwen2Tokenizer" : "GPT2TokenizerFast"));
        ModelTokenizer tokenizer = Find(200);
        Assert.Equal(qwen ? ["1", "2"] : ["12"], Names(tokenizer, "12"));
        Assert.Equal(150, tokenizer.EndOfText);
    }

    [Fact]
    public void A_model_of_GPT2_with_one_file_keeps_the_published_form()
    {
        JsonObject file = ByteLevel("Ċ Ċ");
        file["added_tokens"] = JsonNode.Parse("""[{"id": 100, "content": "<|endoftext|>", "special": true}]""");
        File.WriteAllText(Path.Combine(directory, "tokenizer.json"), file.ToJsonString());
        File.WriteAllText(
            Path.Combine(directory, "tokenizer_config.json"), """{"eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>"}""");
        ITokenizer tokenizer = TokenizerFiles.Find(directory, new Gpt2Config(1, 1, 8, 200).Tokens)!;
        Assert.Equal([0, 100], tokenizer.EncodeContext("a"));
        Assert.Equal([26, 0, 100], tokenizer.EncodeCompletion("a"));
        int blank = Assert.Single(tokenizer.Encode("\n\n"));
        Assert.Equal([100, blank], tokenizer.StopTokens);
    }

    [Property(MaxTest = 200)]
    public void Short_and_long_words_merge_alike(int seed)
    {
        Random random = new(seed);
        (PairMerges all, List<(int, int)> pairs) = (new(64), []);
        for (int id = 4; id < 40; id++)
        {
            (int, int) pair = (random.Next(id), random.Next(id));
            pairs.Add(pair);
            // Equal ranks now and then, as equal scores are.
            all.Add(pair.Item1, pair.Item2, id / 2, id);
        }
        List<int> word = [.. Enumerable.Range(0, 1 + random.Next(90)).Select(_ => random.Next(-1, 4))];
        List<int> merged = [.. word], naive = [.. word];
        all.Apply(merged, 0);
        while (Best(naive) is { } at)
        {
            naive[at] = IdOf(naive[at], naive[at + 1])!.Value;
            naive.RemoveAt(at + 1);
        }
        Assert.Equal(naive, merged);

        int? Best(List<int> ids) => Enumerable.Range(0, ids.Count - 1).Where(i => IdOf(ids[i], ids[i + 1]) is not null)
            .OrderBy(i => IdOf(ids[i], ids[i + 1]) / 2).ThenBy(i => i).Cast<int?>().FirstOrDefault();

        int? IdOf(int left, int right) => left >= 0 && right >= 0 && pairs.IndexOf((left, right)) is var at and >= 0 ? at + 4 : null;
    }

    [Theory]
    [InlineData("e\u0301", "é")]
    [InlineData("\u1100\u1161\u11A8", "각")]
    [InlineData("a\u0323\u0307", "ạ\u0307")]
    [InlineData("a\u0307\u0323", "ạ\u0307")]
    [InlineData("\u212B\u2126", "ÅΩ")]
    [InlineData("\u0958", "\u0915\u093C")]
    [InlineData("\U0001D15E", "\U0001D157\U0001D165")]
    [InlineData("naïve “text” 日本 😀", "naïve “text” 日本 😀")]
    public void Text_is_brought_into_form_C(string text, string expected) => Assert.Equal(expected, CanonicalForm.Of(text));

    [Fact]
    public void A_word_of_a_million_characters_takes_a_moment()
    {
        File.Copy(pieces, Path.Combine(directory, "tokenizer.model"));
        ModelTokenizer sentence = Find(5000);
        ModelTokenizer bytes = Read(ByteLevel("a a", "aa aa", "aaaa aaaa"));
        Stopwatch clock = Stopwatch.StartNew();
        string word = new('a', 1_000_000);
        Assert.Equal(125_000, bytes.Encode(word).Length);
        Assert.Equal(word, sentence.Decode(sentence.Encode(word)));
        Assert.Equal(1_000_000, sentence.Encode(new string('日', 333_333)).Length);
        // A second; with a look at all pairs for each merge it would be hours.
        Assert.True(clock.Elapsed < TimeSpan.FromMinutes(1), $"{clock.Elapsed}");
    }

    private ModelTokenizer Read(JsonObject file, string? config = null)
    {
        File.WriteAllText(Path.Combine(directory, "tokenizer.json"), file.ToJsonString());
        string path = Path.Combine(directory, "tokenizer_config.json");
        File.Delete(path);
        if (config is not null) File.WriteAllText(path, config);
        return Find(1000);
    }

    private string Refused(JsonObject file, string config) => Assert.Throws<NolaException>(() => Read(file, config)).Message;

    private ModelTokenizer Find(int vocabulary) =>
        Assert.IsType<ModelTokenizer>(TokenizerFiles.Find(directory, new(vocabulary, AreGpt2: false, null, [])));

    // The tokens of a text by their names in the file.
    private string[] Names(ModelTokenizer tokenizer, string text, bool markup = false)
    {
        string path = Path.Combine(directory, "tokenizer.json"), pair = Path.Combine(directory, "vocab.json");
        JsonElement file = JsonDocument.Parse(File.ReadAllText(File.Exists(path) ? path : pair)).RootElement;
        JsonElement vocabulary = file.TryGetProperty("model", out JsonElement model) ? model.GetProperty("vocab") : file;
        Dictionary<int, string> names = [];
        foreach (JsonProperty token in vocabulary.EnumerateObject()) names[token.Value.GetInt32()] = token.Name;
        if (file.TryGetProperty("added_tokens", out JsonElement added))
            foreach (JsonElement token in added.EnumerateArray())
                names[token.GetProperty("id").GetInt32()] = token.GetProperty("content").GetString()!;
        return [.. (markup ? tokenizer.EncodeMarkup(text) : tokenizer.Encode(text)).Select(id => names[id])];
    }

    // Tokens of bytes as GPT-2's, with those that merges make.
    private static JsonObject ByteLevel(params string[] merges)
    {
        JsonObject vocabulary = [];
        foreach (char letter in Letters) vocabulary[letter.ToString()] = vocabulary.Count;
        foreach (string merge in merges) vocabulary[merge.Replace(" ", "")] = vocabulary.Count;
        return new()
        {
            ["pre_tokenizer"] = new JsonObject { ["type"] = "ByteLevel", ["add_prefix_space"] = false },
            ["decoder"] = new JsonObject { ["type"] = "ByteLevel" },
            ["model"] = new JsonObject
            {
                ["type"] = "BPE",
                ["vocab"] = vocabulary,
                ["merges"] = new JsonArray([.. merges.Select(merge => JsonValue.Create(merge))]),
            },
        };
    }

    // Tokens of characters as SentencePiece's, with one for each byte.
    private static JsonObject Marked()
    {
        JsonObject vocabulary = new() { ["<unk>"] = 0 };
        for (int b = 0; b < 256; b++) vocabulary[$"<0x{b:X2}>"] = vocabulary.Count;
        foreach (string token in (string[])["▁", "a", "b", "ab"]) vocabulary[token] = vocabulary.Count;
        return new()
        {
            ["normalizer"] = JsonNode.Parse("""
                {"type": "Sequence", "normalizers": [
                    {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}
                """),
            ["decoder"] = JsonNode.Parse("""
                {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                    {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
                """),
            ["model"] = new JsonObject
            {
                ["type"] = "BPE",
                ["unk_token"] = "<unk>",
                ["fuse_unk"] = true,
                ["byte_fallback"] = true,
                ["vocab"] = vocabulary,
                ["merges"] = new JsonArray("a b"),
            },
        };
    }
}
