using System.Buffers.Binary;
using System.Text;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Fuzz;

/// <summary>The tokenizer files of a model of LLaMA's kind: read, and texts and conversations encoded and decoded.</summary>
/// <param name="name">What it is called.</param>
/// <param name="damage">Which files are damaged.</param>
internal sealed class OwnTokenizerKind(string name, params string[] damage) : FilesKind(name)
{
    private const string Json = "tokenizer.json", Pieces = "tokenizer.model";
    private const string Config = "tokenizer_config.json", Template = "chat_template.jinja";

    private const string ConfigText = """
        {"tokenizer_class": "LlamaTokenizerFast", "bos_token": "<s>", "eos_token": {"content": "</s>", "special": true},
         "add_bos_token": true, "legacy": false, "chat_template": [{"name": "default", "template": "[INST]"}],
         "added_tokens_decoder": {"1": {"content": "<s>", "special": true}, "2": {"content": "</s>", "special": true}}}
        """;

    private const string TemplateText =
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
        + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

    /// <summary>All of them.</summary>
    public static IEnumerable<FuzzKind> All() =>
    [
        new OwnTokenizerKind("tokenizer-json", Json), new OwnTokenizerKind("tokenizer-model", Pieces),
        new OwnTokenizerKind("chat", Config, Template),
    ];

    public override void Prepare(Bench bench)
    {
        if (damage[0] == Pieces) foreach (bool removes in (bool[])[true, false]) AddFiles((Pieces, ByteMutator.Mutate, PieceFile(removes)));
        else foreach (string file in (string[])[ByteLevel(), Marked()]) AddFiles((Json, JsonMutator.Mutate, Encoding.UTF8.GetBytes(file)));
    }

    public override void Run(Bench bench, string directory, Dice dice)
    {
        ITokenizer? tokenizer = TokenizerFiles.Find(directory, new(2000, AreGpt2: false, null, []));
        // A file that is missing altogether.
        if (tokenizer is null) throw new NolaException($"{directory}/{damage[0]}: is not there.");
        bench.Accepted = damage[0] != Config;
        foreach (string text in (string[])["the thin cat <s> in the hat, élan 😀\n\n  12", "", "   "])
        {
            int[] ids = tokenizer.EncodeMarkup(text);
            if (ids.Any(id => (uint)id >= (uint)tokenizer.Vocabulary)) throw new FuzzException("an id is outside the vocabulary");
            _ = tokenizer.Decode(ids) + tokenizer.Decode(tokenizer.Encode(text));
        }
        _ = tokenizer.EncodeContext("the") is [];
        if (damage[0] != Config) return;
        ChatFormat chat = ChatFormat.Read(directory, tokenizer, directory);
        bench.Accepted = true;
        _ = chat.Encode([new(ChatMessage.User, "the cat"), new(ChatMessage.Assistant, "hat")], directory).Answers[0];
        _ = chat.EncodePrompt([new(ChatMessage.User, "the cat</s>")], directory);
    }

    private void AddFiles((string Name, Mutation Mutation, byte[] Bytes) file) => Add(
        (file.Name, damage.Contains(file.Name) ? file.Mutation : null, file.Bytes),
        (Config, damage.Contains(Config) ? JsonMutator.Mutate : null, Encoding.UTF8.GetBytes(ConfigText)),
        (Template, damage.Contains(Template) ? TextMutator.Mutate : null, Encoding.UTF8.GetBytes(TemplateText)));

    private static string ByteLevel() => """
        {"normalizer": {"type": "NFC"},
         "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
           {"type": "Split", "pattern": {"Regex": "\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}]+|\\s+"}, "behavior": "Isolated", "invert": false},
           {"type": "Digits", "individual_digits": true}, {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]},
         "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}]},
         "decoder": {"type": "ByteLevel"},
         "added_tokens": [{"id": 1, "content": "<s>", "special": true}, {"id": 2, "content": "</s>", "special": true, "lstrip": true},
           {"id": 3, "content": "cat", "single_word": true, "normalized": true}],
         "model": {"type": "BPE", "ignore_merges": true, "vocab": { VOCABULARY },
           "merges": ["t h", ["th", "e"]]}}
        """.Replace("VOCABULARY", Vocabulary(Gpt2Tokenizer.Alphabet().Select(c => c.ToString()), "th", "the"));

    private static string Marked() => """
        {"normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
           {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
         "pre_tokenizer": null,
         "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
           {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
         "added_tokens": [{"id": 1, "content": "<s>", "special": true}, {"id": 2, "content": "</s>", "special": true}],
         "model": {"type": "BPE", "unk_token": "t", "fuse_unk": true, "byte_fallback": true,
           "vocab": { VOCABULARY },
           "merges": ["t h", "th e", "▁ the"]}}
        """.Replace(
            "VOCABULARY", Vocabulary(Enumerable.Range(0, 256).Select(ByteTokens.Name), "▁", "t", "h", "e", "th", "the", "▁the"));

    private static string Vocabulary(IEnumerable<string> first, params string[] more) =>
        string.Join(", ", first.Concat(more).Select((token, i) => $"{System.Text.Json.JsonSerializer.Serialize(token)}: {i + 10}"));

    private static byte[] PieceFile(bool removes)
    {
        List<byte> file = [];
        string[] words = ["cat", "▁", "t", "h", "e", "th", "the", "▁the"];
        string[] texts = ["<unk>", "<s>", "</s>", .. Enumerable.Range(0, 256).Select(ByteTokens.Name), .. words];
        for (int id = 0; id < texts.Length; id++)
        {
            int kind = id == 0 ? 2 : id < 3 ? 3 : id < 259 ? 6 : id == 259 ? 4 : 1;
            byte[] score = new byte[4];
            BinaryPrimitives.WriteSingleLittleEndian(score, -id);
            Append(file, 1, [.. Field(1, Encoding.UTF8.GetBytes(texts[id])), 2 << 3 | 5, .. score, 3 << 3, (byte)kind]);
        }
        // The algorithm, byte fallback, and the ids.
        Append(file, 2, [3 << 3, 2, 35 << 3 & 0x7F | 0x80, 35 >> 4, 1, 40 << 3 & 0x7F | 0x80, 40 >> 4, 0]);
        Append(file, 3, [.. Field(2, removes ? CharacterTable() : []), 3 << 3, 1, 4 << 3, (byte)(removes ? 1 : 0), 5 << 3, 1]);
        return [.. file];
    }

    // A double array of one unit, which replaces nothing.
    private static byte[] CharacterTable() => [8, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, (byte)'x', 0];

    private static void Append(List<byte> file, int number, byte[] content) => file.AddRange(Field(number, content));

    private static byte[] Field(int number, byte[] content)
    {
        List<byte> length = [];
        for (int rest = content.Length; ; rest >>= 7)
        {
            length.Add((byte)(rest > 0x7F ? rest & 0x7F | 0x80 : rest));
            if (rest <= 0x7F) break;
        }
        return [(byte)(number << 3 | 2), .. length, .. content];
    }
}
