using System.IO.Compression;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Microsoft.ML.Tokenizers;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// GPT-2's byte-level BPE. Every string has exactly one encoding and <c>Decode(Encode(s)) == s</c>. Special tokens are
/// not looked for in the text: <see cref="EndOfText"/> is put in by the caller.
/// </summary>
public sealed partial class Gpt2Tokenizer : ITokenizer
{
    /// <summary>Number of tokens of GPT-2's vocabulary.</summary>
    public const int GptVocabulary = 50257;

    private const string EndOfTextName = "<|endoftext|>";

    // Every token's id is below it; a larger one would ask for memory that no vocabulary needs.
    private const int LargestVocabulary = 10_000_000;

    // Longer words, which no language has, are encoded apart. In characters.
    private const int LongWord = 1000;

    // Tokens before the first merge's: one for each byte.
    private const int Bytes = 256;

    private static readonly Lazy<Gpt2Tokenizer> shared = new(() => OfMerges(GptVocabulary));

    private readonly List<(string Token, int Id)> tokens;
    private readonly Func<IEnumerable<string>> merges;

    // What encoding needs takes a fifth of a second to build, and decoding does without it.
    private readonly Lazy<BpeTokenizer> bpe;
    private readonly Lazy<LongWords> longWords;
    private readonly byte[]?[] bytes;
    private readonly int endOfText;

    // Of the model, whose embedding may be padded to a round size.
    private int padded;

    private Gpt2Tokenizer(List<(string Token, int Id)> tokens, Func<IEnumerable<string>> merges)
    {
        (this.tokens, this.merges) = (tokens, merges);
        bytes = TokenBytes(tokens);
        endOfText = tokens.FindIndex(token => token.Token == EndOfTextName) is var at and >= 0 ? tokens[at].Id : -1;
        int blankLine = Array.FindIndex(bytes, token => token is not null && token.AsSpan().SequenceEqual("\n\n"u8));
        StopTokens = [.. new[] { endOfText, blankLine }.Where(token => token >= 0)];
        bpe = new(() => Create(tokens, merges()));
        longWords = new(() => new(tokens, merges(), Alphabet()));
    }

    /// <summary>GPT-2's own vocabulary and merges, embedded in this library.</summary>
    public static Gpt2Tokenizer Default => shared.Value;

    /// <summary>
    /// GPT-2's encoding with fewer merges: the bytes, the first <paramref name="vocabulary"/> − 257 merges, and the end of text as the
    /// last token. Every text has an encoding; all other tokens have the ids that they have in GPT-2's vocabulary.
    /// </summary>
    /// <param name="vocabulary">Number of tokens, 257 to 50257.</param>
    /// <exception cref="NolaException">The number is out of range.</exception>
    public static Gpt2Tokenizer WithVocabulary(int vocabulary)
    {
        if (vocabulary is < Bytes + 1 or > GptVocabulary)
            throw new NolaException(
                $"The vocabulary is {vocabulary}; GPT-2's encoding can be cut to {Bytes + 1} to {GptVocabulary} tokens.");
        return vocabulary == GptVocabulary ? Default : OfMerges(vocabulary);
    }

    // GPT-2's ids follow from its merges: the bytes in the order of their characters, what each merge makes, and the end of text.
    private static Gpt2Tokenizer OfMerges(int vocabulary)
    {
        List<string> merges = [.. Merges(new StreamReader(Embedded("merges.txt.gz"))).Take(vocabulary - 1 - Bytes)];
        List<(string Token, int Id)> tokens = new(vocabulary);
        foreach (char character in Alphabet().Order()) tokens.Add((character.ToString(), tokens.Count));
        foreach (string merge in merges) tokens.Add((merge.Remove(merge.IndexOf(' '), 1), tokens.Count));
        tokens.Add((EndOfTextName, vocabulary - 1));
        return new(tokens, () => merges);
    }

    /// <summary>Number of tokens.</summary>
    public int Vocabulary => bytes.Length;

    /// <summary><c>&lt;|endoftext|&gt;</c>, 50256 in GPT-2's vocabulary: ends every text, and begins those without a context.</summary>
    /// <exception cref="NolaException">The vocabulary has no such token.</exception>
    public int EndOfText => endOfText >= 0
        ? endOfText
        : throw new NolaException(
            $"The tokenizer's vocabulary has no token '{EndOfTextName}', which ends texts; give token ids in place of text.");

    /// <summary>The end of text, and the token of a blank line, which ends a published text: 50256 and 628 in GPT-2's vocabulary.</summary>
    public IReadOnlyList<int> StopTokens { get; }

    /// <summary>A model's own <c>vocab.json</c> and <c>merges.txt</c>.</summary>
    /// <exception cref="NolaException">A file is missing or is not of that form; the message names the token or the line.</exception>
    public static Gpt2Tokenizer FromFiles(string vocabulary, string merges)
    {
        List<(string Token, int Id)> tokens = CheckedTokens(vocabulary);
        List<string> pairs = CheckedMerges(merges, [.. tokens.Select(t => t.Token)]);
        Gpt2Tokenizer tokenizer = new(tokens, () => pairs);
        try
        {
            tokenizer.Prepare();
            return tokenizer;
        }
        catch (Exception error) when (error is not NolaException)
        {
            throw new NolaException($"{vocabulary}: the tokenizer's files cannot be read ({error.Message.TrimEnd('.')}); "
                + "expected GPT-2's vocab.json and merges.txt.", error);
        }
    }

    /// <summary>Writes <c>vocab.json</c> and <c>merges.txt</c> into a directory, as Hugging Face reads them.</summary>
    /// <exception cref="NolaException">A file cannot be written.</exception>
    public void Save(string directory)
    {
        Dictionary<string, int> ids = tokens.OrderBy(token => token.Id).ToDictionary(token => token.Token, token => token.Id);
        AtomicFile.EnsureDirectory(directory);
        AtomicFile.WriteText(Path.Combine(directory, TokenizerFiles.Vocabulary), JsonSerializer.Serialize(ids, JsonForms.Readable));
        string lines = string.Concat(merges().Select(merge => merge + "\n"));
        AtomicFile.WriteText(Path.Combine(directory, TokenizerFiles.Merges), "#version: 0.2\n" + lines);
    }

    /// <summary>The encoder of words that are too long for the ordinary one.</summary>
    internal LongWords LongWords => longWords.Value;

    /// <summary>
    /// Builds what encoding needs now instead of at the first text; from any thread, for example while a model is read.
    /// </summary>
    public void Prepare() => _ = bpe.Value;

    /// <summary>The token ids of a text, in time that grows with its length, whatever it holds.</summary>
    public int[] Encode(string text)
    {
        if (text.Length <= LongWord) return [.. bpe.Value.EncodeToIds(text)];
        List<int> ids = new(text.Length / 4);
        // White space is divided by what follows it: what stands before a long word is encoded match by match.
        List<(int Index, int Length)> blanks = [];
        int start = 0;
        foreach (ValueMatch word in Words().EnumerateMatches(text))
        {
            if (word.Length > LongWord)
            {
                Add(start, (blanks.Count > 0 ? blanks[0].Index : word.Index) - start);
                foreach ((int index, int length) in blanks) Add(index, length);
                LongWords.Encode(text.AsSpan(word.Index, word.Length), ids);
                start = word.Index + word.Length;
                blanks.Clear();
            }
            else if (text.AsSpan(word.Index, word.Length).IsWhiteSpace()) blanks.Add((word.Index, word.Length));
            else blanks.Clear();
        }
        Add(start, text.Length - start);
        return [.. ids];

        void Add(int from, int length) => ids.AddRange(bpe.Value.EncodeToIds(text.AsSpan(from, length)));
    }

    /// <summary>The text of token ids; bytes that are not UTF-8 become replacement characters.</summary>
    /// <exception cref="NolaException">An id is outside the vocabulary.</exception>
    public string Decode(ReadOnlySpan<int> ids)
    {
        List<byte> text = [];
        foreach (int id in ids) text.AddRange(BytesOf(id));
        return Encoding.UTF8.GetString([.. text]);
    }

    /// <summary>The UTF-8 bytes of one token: may be a part of a character.</summary>
    /// <exception cref="NolaException">The id is outside the vocabulary.</exception>
    public ReadOnlySpan<byte> BytesOf(int id)
    {
        if ((uint)id < (uint)bytes.Length && bytes[id] is { } found) return found;
        // What stands for no token has no bytes.
        if (id >= bytes.Length && id < padded) return [];
        throw new NolaException($"Token id {id} is outside the tokenizer's vocabulary of {bytes.Length}.");
    }

    /// <summary>The same for a model whose vocabulary is padded to a round size.</summary>
    internal Gpt2Tokenizer PaddedTo(int vocabulary)
    {
        if (vocabulary <= bytes.Length) return this;
        Gpt2Tokenizer own = (Gpt2Tokenizer)MemberwiseClone();
        own.padded = vocabulary;
        return own;
    }

    /// <summary>Whether it is GPT-2's own, which needs no files.</summary>
    internal bool IsDefault => shared.IsValueCreated && tokens == shared.Value.tokens;

    private static BpeTokenizer Create(List<(string Token, int Id)> tokens, IEnumerable<string> merges) =>
        // The class's defaults are not GPT-2's: without ByteLevel, bytes are lost without a word.
        BpeTokenizer.Create(new BpeOptions(tokens.Select(t => KeyValuePair.Create(t.Token, t.Id)))
        {
            Merges = [.. merges],
            ByteLevel = true,
            PreTokenizer = new RegexPreTokenizer(Words(), null),
        });

    internal static List<(string Token, int Id)> CheckedTokens(string path)
    {
        using JsonDocument document = JsonInput.Read(path, largest: JsonInput.LargestTable);
        if (document.RootElement.ValueKind != JsonValueKind.Object)
            throw new NolaException(
                $"{path}: not a vocabulary; expected an object from tokens to their ids.");
        List<(string Token, int Id)> tokens = new(document.RootElement.GetPropertyCount());
        Dictionary<int, string> byId = [];
        foreach (JsonProperty property in document.RootElement.EnumerateObject())
        {
            bool whole = StrictNumber.TryWhole(property.Value.GetRawText(), out int id) && id is >= 0 and < LargestVocabulary;
            if (!whole)
                throw new NolaException(
                    $"{path}: the id of token {Quoted.Of(property.Name)} is {Quoted.Of(property.Value.GetRawText())}; "
                    + $"expected a whole number from 0 and below {LargestVocabulary}.");
            if (!byId.TryAdd(id, property.Name))
                throw new NolaException(
                    $"{path}: the tokens {Quoted.Of(byId[id])} and {Quoted.Of(property.Name)} have the same id, {id}.");
            tokens.Add((property.Name, id));
        }
        return tokens.Count > 0 ? tokens : throw new NolaException($"{path}: there is no token in it.");
    }

    internal static List<string> CheckedMerges(string path, HashSet<string> tokens)
    {
        using TextInput lines = TextInput.Open(path);
        List<string> merges = [];
        for (int line = 1; lines.ReadLine() is { } text; line++)
        {
            if (IsNoMerge(text)) continue;
            string[] pair = text.Split(' ');
            if (pair.Length != 2 || pair[0].Length == 0 || pair[1].Length == 0)
                throw new NolaException(
                    $"{path}, line {line}: {Quoted.Of(text)} is no merge; expected two tokens with a space between them.");
            foreach (string token in (ReadOnlySpan<string>)[pair[0], pair[1], pair[0] + pair[1]])
                if (!tokens.Contains(token))
                    throw new NolaException(
                        $"{path}, line {line}: the token {Quoted.Of(token)} is not in the vocabulary; "
                        + "the files do not belong together.");
            merges.Add(text);
        }
        return merges;
    }

    private static bool IsNoMerge(string line) => line.Length == 0 || line.StartsWith("#version", StringComparison.Ordinal);

    private static IEnumerable<string> Merges(StreamReader lines)
    {
        using (lines)
            while (lines.ReadLine() is { } line)
                if (!IsNoMerge(line)) yield return line;
    }

    // A token's name spells its bytes in GPT-2's alphabet: printable Latin-1 stands for itself, the rest is moved up from 256.
    internal static char[] Alphabet()
    {
        char[] alphabet = new char[256];
        int moved = 256;
        for (int b = 0; b < 256; b++)
        {
            bool printable = b is >= '!' and <= '~' or >= 0xA1 and <= 0xAC or >= 0xAE and <= 0xFF;
            alphabet[b] = (char)(printable ? b : moved++);
        }
        return alphabet;
    }

    internal static byte[]?[] TokenBytes(List<(string Token, int Id)> tokens)
    {
        // Every character of the alphabet is below 512; −1 marks those that are not in it.
        int[] alphabet = new int[512];
        Array.Fill(alphabet, -1);
        char[] characters = Alphabet();
        for (int b = 0; b < 256; b++) alphabet[characters[b]] = b;
        byte[]?[] result = new byte[tokens.Count == 0 ? 0 : tokens.Max(t => t.Id) + 1][];
        foreach ((string token, int id) in tokens) result[id] = Spelled(token, alphabet);
        return result;
    }

    private static byte[] Spelled(string token, int[] alphabet)
    {
        byte[] bytes = new byte[token.Length];
        for (int i = 0; i < token.Length; i++)
        {
            if (token[i] >= alphabet.Length || alphabet[token[i]] < 0) return Encoding.UTF8.GetBytes(token);
            bytes[i] = (byte)alphabet[token[i]];
        }
        return bytes;
    }

    private static GZipStream Embedded(string name) =>
        new(typeof(Gpt2Tokenizer).Assembly.GetManifestResourceStream("gpt2." + name)!, CompressionMode.Decompress);

    [GeneratedRegex(@"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")]
    internal static partial Regex Words();
}
