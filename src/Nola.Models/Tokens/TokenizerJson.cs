using System.Text.Json;
using System.Text.RegularExpressions;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// Reads a <c>tokenizer.json</c>, as the Hugging Face library tokenizers writes it, of a byte-pair encoding. Whatever would change the
/// tokens is understood or refused by name.
/// </summary>
internal sealed class TokenizerJson
{
    private const string SpaceMark = "\u2581";

    // Every token's id is below it; a larger one would ask for memory that no vocabulary needs.
    private const int LargestVocabulary = 10_000_000;

    private readonly string path;
    private readonly List<PreTokenizer> steps = [];
    private Dictionary<string, int> tokens = [];
    private bool byteLevel;

    private TokenizerJson(string path) => this.path = path;

    /// <summary>Reads a file.</summary>
    /// <exception cref="NolaException">It is no such file, or asks for what this library does not have.</exception>
    public static TokenizerParts Read(string path)
    {
        using JsonDocument document = JsonInput.Read(path, largest: JsonInput.LargestTable);
        if (document.RootElement.ValueKind != JsonValueKind.Object) throw new NolaException($"{path}: expected a JSON object.");
        return new TokenizerJson(path).Read(new ConfigFields(document.RootElement, path));
    }

    /// <summary>The same of GPT-2's two files, whose tokens are those of bytes.</summary>
    /// <param name="vocabulary"><c>vocab.json</c>.</param>
    /// <param name="mergesFile"><c>merges.txt</c>.</param>
    /// <param name="qwen">Texts are normalized and cut as Qwen2's, else as GPT-2's.</param>
    /// <param name="added">Tokens that other files add.</param>
    /// <exception cref="NolaException">A file is damaged, or they do not belong together.</exception>
    public static TokenizerParts OfPair(string vocabulary, string mergesFile, bool qwen, IReadOnlyList<AddedToken> added)
    {
        Dictionary<string, int> tokens = Gpt2Tokenizer.CheckedTokens(vocabulary).ToDictionary(token => token.Token, token => token.Id);
        List<string> pairs = Gpt2Tokenizer.CheckedMerges(mergesFile, [.. tokens.Keys]);
        PairMerges merges = new(pairs.Count);
        for (int rank = 0; rank < pairs.Count; rank++)
        {
            string[] pair = pairs[rank].Split(' ');
            merges.Add(tokens[pair[0]], tokens[pair[1]], rank, tokens[pair[0] + pair[1]]);
        }
        BytePairParts parts = new()
        {
            Tokens = tokens,
            Merges = merges,
            Merged = [],
            Normalizer = qwen ? new CanonicalNormalizer() : null,
            Steps = [new PatternCuts(qwen ? WordPattern.OfQwen2 : WordPattern.OfGpt2)],
            IsByteLevel = true,
        };
        return new(new BytePairModel(parts), new(vocabulary, tokens, added, new(true, false, 0))) { HasFrame = true };
    }

    private TokenizerParts Read(ConfigFields fields)
    {
        ConfigFields model = fields.Within("model") ?? throw fields.Missing("model", "it has the vocabulary and the merges");
        CheckKind(model);
        tokens = Tokens(model);
        if (fields.Within("pre_tokenizer") is { } cuts) AddCuts(cuts);
        List<AddedToken> added = Added(fields);
        (PairMerges merges, List<string> merged) = Merges(model);
        BytePairParts parts = new()
        {
            Tokens = tokens,
            Merges = merges,
            Merged = merged,
            Normalizer = fields.Within("normalizer") is { } changes ? NormalizerOf(changes) : null,
            Steps = [.. steps],
            IsByteLevel = byteLevel,
            TakesWholeWords = model.Flag("ignore_merges") ?? false,
            FallsBackOnBytes = model.Flag("byte_fallback") ?? false,
            FusesUnknown = model.Flag("fuse_unk") ?? false,
            Unknown = model.Text("unk_token") is { } name
                ? tokens.TryGetValue(name, out int id) ? id : added.Find(token => token.Content == name)?.Id ?? -1
                : -1,
        };
        TokenForm form = fields.Within("decoder") is { } decoder ? FormOf(decoder) : new(byteLevel, false, 0);
        (List<int> before, List<int> after) = Frame(fields, added);
        return new(new BytePairModel(parts), new(path, tokens, added, form)) { Before = before, After = after, HasFrame = true };
    }

    private void CheckKind(ConfigFields model)
    {
        if ((model.Text("type") ?? "BPE") != "BPE")
            throw model.Bad("type", "supported is BPE, which models of the LLaMA family have");
        foreach (string affix in (ReadOnlySpan<string>)["continuing_subword_prefix", "end_of_word_suffix"])
            if (model.Text(affix) is { Length: > 0 }) throw model.Bad(affix, "only an empty one is supported");
        if (model.Positive("dropout") is not null) throw model.Bad("dropout", "merges that are left out at random are not supported");
    }

    private Dictionary<string, int> Tokens(ConfigFields model)
    {
        JsonElement given = model.Given("vocab") ?? throw model.Missing("vocab", "expected an object from tokens to their ids");
        if (given.ValueKind != JsonValueKind.Object) throw model.Bad("vocab", "expected an object from tokens to their ids");
        Dictionary<string, int> read = new(given.GetPropertyCount());
        Dictionary<int, string> byId = new(given.GetPropertyCount());
        foreach (JsonProperty token in given.EnumerateObject())
        {
            int id = Id(token.Value, token.Name);
            if (!byId.TryAdd(id, token.Name))
                throw new NolaException(
                    $"{path}: the tokens {Quoted.Of(byId[id])} and {Quoted.Of(token.Name)} have the same id, {id}.");
            read.Add(token.Name, id);
        }
        return read;
    }

    private int Id(JsonElement value, string name) =>
        value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int id) && id is >= 0 and < LargestVocabulary
            ? id
            : throw new NolaException(
                $"{path}: the id of token {Quoted.Of(name)} is {Quoted.Of(value.GetRawText())}; "
                + $"expected a whole number from 0 and below {LargestVocabulary}.");

    // Each "a b", or ["a", "b"] where tokens may have spaces.
    private (PairMerges Merges, List<string> Merged) Merges(ConfigFields model)
    {
        JsonElement given = model.Given("merges") ?? throw model.Missing("merges", "expected a list of pairs of tokens");
        if (given.ValueKind != JsonValueKind.Array) throw model.Bad("merges", "expected a list of pairs of tokens");
        PairMerges merges = new(given.GetArrayLength());
        List<string> merged = new(given.GetArrayLength());
        int rank = 0;
        foreach (JsonElement item in given.EnumerateArray())
        {
            (string left, string right) = Pair(item, rank);
            merged.Add(left + right);
            merges.Add(Token(left), Token(right), rank, Token(left + right));
            rank++;
        }
        return (merges, merged);

        int Token(string name) => tokens.TryGetValue(name, out int id) ? id : throw new NolaException(
            $"{path}: merge {rank} (from 0) has the token {Quoted.Of(name)}, which is not in the vocabulary.");
    }

    private (string Left, string Right) Pair(JsonElement item, int rank)
    {
        if (item.ValueKind == JsonValueKind.String)
        {
            string[] parts = item.GetString()!.Split(' ');
            if (parts is [{ Length: > 0 } left, { Length: > 0 } right]) return (left, right);
        }
        bool list = item.ValueKind == JsonValueKind.Array && item.GetArrayLength() == 2
            && item.EnumerateArray().All(part => part.ValueKind == JsonValueKind.String && part.GetString()!.Length > 0);
        if (list) return (item[0].GetString()!, item[1].GetString()!);
        throw new NolaException(
            $"{path}: merge {rank} (from 0) is {Quoted.Of(item.GetRawText())}; expected two tokens with a space between them, "
            + "or a list of two.");
    }

    private List<AddedToken> Added(ConfigFields fields)
    {
        List<AddedToken> added = [];
        if (fields.Given("added_tokens") is not { } list) return added;
        if (list.ValueKind != JsonValueKind.Array) throw fields.Bad("added_tokens", "expected a list");
        foreach (JsonElement item in list.EnumerateArray())
        {
            if (item.ValueKind != JsonValueKind.Object) throw fields.Bad("added_tokens", "expected a list of objects");
            AddedToken token = AddedOf(new ConfigFields(item, $"{path}: an added token"), null);
            if (tokens.TryGetValue(token.Content, out int known) && known != token.Id)
                throw new NolaException(
                    $"{path}: the added token {Quoted.Of(token.Content)} has the id {token.Id}, and in the vocabulary it has {known}.");
            if (added.Find(other => other.Content == token.Content || other.Id == token.Id) is { } twin)
                throw new NolaException(
                    $"{path}: the added tokens {Quoted.Of(twin.Content)} and {Quoted.Of(token.Content)} have the ids {twin.Id} and "
                    + $"{token.Id}; expected one id for each.");
            added.Add(token);
        }
        return added;
    }

    /// <summary>An added token, as <c>tokenizer.json</c> and <c>tokenizer_config.json</c> write it.</summary>
    /// <param name="fields">Its object.</param>
    /// <param name="id">Its id, where the object does not have it.</param>
    /// <exception cref="NolaException">It lacks something.</exception>
    internal static AddedToken AddedOf(ConfigFields fields, int? id)
    {
        string content = fields.Text("content") is { Length: > 0 } text ? text : throw fields.Missing("content", "expected its text");
        id ??= fields.Given("id") is { ValueKind: JsonValueKind.Number } value && value.TryGetInt32(out int given) ? given : -1;
        if (id is not (>= 0 and < LargestVocabulary))
            throw fields.Bad("id", $"expected a whole number from 0 and below {LargestVocabulary}");
        return new(content, id.Value)
        {
            IsControl = fields.Flag("special") ?? false,
            TakesLeft = fields.Flag("lstrip") ?? false,
            TakesRight = fields.Flag("rstrip") ?? false,
            IsWord = fields.Flag("single_word") ?? false,
            IsNormalized = fields.Flag("normalized") ?? false,
        };
    }

    private Normalizer? NormalizerOf(ConfigFields fields) => fields.Text("type") switch
    {
        "Sequence" => new NormalizerSequence([.. Items(fields, "normalizers").Select(NormalizerOf).OfType<Normalizer>()]),
        "NFC" => new CanonicalNormalizer(),
        "Prepend" => new PrependNormalizer(fields.Text("prepend") ?? throw fields.Missing("prepend", "expected a text")),
        "Replace" => ReplaceOf(fields),
        "Strip" => new StripNormalizer(fields.Flag("strip_left") ?? true, fields.Flag("strip_right") ?? true),
        "Lowercase" => new LowercaseNormalizer(),
        _ => throw fields.Bad("type", "supported are Sequence, NFC, Prepend, Replace, Strip and Lowercase"),
    };

    private Normalizer ReplaceOf(ConfigFields fields)
    {
        string to = fields.Text("content") ?? throw fields.Missing("content", "expected a text");
        ConfigFields pattern = fields.Within("pattern") ?? throw fields.Missing("pattern", "expected a String or a Regex");
        if (pattern.Text("String") is { Length: > 0 } text) return new ReplaceNormalizer(text, to);
        string expression = pattern.Text("Regex") ?? throw pattern.Missing("String", "expected a String or a Regex");
        return new ReplacePatternNormalizer(WordPattern.Expression(expression, path), to);
    }

    private void AddCuts(ConfigFields fields)
    {
        switch (fields.Text("type"))
        {
            case "Sequence":
                foreach (ConfigFields item in Items(fields, "pretokenizers")) AddCuts(item);
                break;
            case "ByteLevel":
                AddByteLevel(fields);
                break;
            case "Split":
                steps.Add(SplitOf(fields));
                break;
            case "Digits":
                steps.Add(new DigitCuts(fields.Flag("individual_digits") ?? false));
                break;
            case "Metaspace":
                steps.Add(MarksOf(fields));
                break;
            default:
                throw fields.Bad("type", "supported are Sequence, ByteLevel, Split, Digits and Metaspace");
        }
    }

    private void AddByteLevel(ConfigFields fields)
    {
        byteLevel = true;
        bool prefixes = fields.Flag("add_prefix_space") ?? true;
        if (fields.Flag("use_regex") ?? true) steps.Add(new PatternCuts(WordPattern.OfGpt2, prefixes));
        else if (prefixes) steps.Add(new SpacePrefix());
    }

    private PatternCuts SplitOf(ConfigFields fields)
    {
        ConfigFields pattern = fields.Within("pattern") ?? throw fields.Missing("pattern", "expected a String or a Regex");
        string expression = pattern.Text("Regex")
            ?? Regex.Escape(pattern.Text("String") ?? throw pattern.Missing("Regex", "expected a String or a Regex"));
        bool invert = fields.Flag("invert") ?? false;
        // What is found is a word, and what lies between is another or, where the found ones are everything, nothing.
        bool supported = fields.Text("behavior") is string behavior && (behavior == "Isolated" || (behavior == "Removed" && invert));
        if (!supported) throw fields.Bad("behavior", "supported is Isolated");
        return new PatternCuts(WordPattern.Parse(expression, path));
    }

    private static SpaceMarks MarksOf(ConfigFields fields)
    {
        string mark = fields.Text("replacement") ?? SpaceMark;
        if (mark.Length != 1) throw fields.Bad("replacement", "expected one character");
        MarkPrefix prefix = fields.Text("prepend_scheme") switch
        {
            "never" => MarkPrefix.Never,
            "first" => MarkPrefix.First,
            "always" => MarkPrefix.Always,
            null => fields.Flag("add_prefix_space") ?? true ? MarkPrefix.Always : MarkPrefix.Never,
            _ => throw fields.Bad("prepend_scheme", "expected never, first or always"),
        };
        return new SpaceMarks(mark[0], prefix, fields.Flag("split") ?? true);
    }

    // How tokens become text again.
    private static TokenForm FormOf(ConfigFields fields)
    {
        TokenForm form = new(false, false, 0);
        foreach (ConfigFields step in fields.Text("type") == "Sequence" ? Items(fields, "decoders") : [fields])
            form = step.Text("type") switch
            {
                "ByteLevel" => form with { IsByteLevel = true },
                "Metaspace" => form with { HasMarks = true, LeadingSpaces = step.Text("prepend_scheme") == "never" ? 0 : 1 },
                "Replace" when step.Within("pattern")?.Text("String") == SpaceMark && step.Text("content") == " " =>
                    form with { HasMarks = true },
                "Strip" when step.Text("content") == " " && step.Size("start") is { } spaces => form with { LeadingSpaces = spaces },
                "ByteFallback" or "Fuse" => form,
                _ => throw step.Bad(
                    "type", "supported are ByteLevel, and Replace, ByteFallback, Fuse, Strip and Metaspace as LLaMA has them"),
            };
        return form;
    }

    // What the template of a single text puts before and after it.
    private (List<int> Before, List<int> After) Frame(ConfigFields fields, List<AddedToken> added)
    {
        List<int> before = [], after = [];
        if (fields.Within("post_processor") is not { } processor) return (before, after);
        foreach (ConfigFields step in processor.Text("type") == "Sequence" ? Items(processor, "processors") : [processor])
        {
            if (step.Text("type") != "TemplateProcessing") continue;
            bool behind = false;
            foreach (ConfigFields item in Items(step, "single"))
            {
                if (item.Within("Sequence") is not null) behind = true;
                else if (item.Within("SpecialToken")?.Text("id") is { } name) (behind ? after : before).Add(TokenOf(name, step, added));
            }
        }
        return (before, after);
    }

    private int TokenOf(string name, ConfigFields step, List<AddedToken> added)
    {
        if (added.Find(token => token.Content == name) is { } found) return found.Id;
        if (tokens.TryGetValue(name, out int id)) return id;
        throw step.Bad("single", $"it has the token {Quoted.Of(name)}, which there is not");
    }

    private static IEnumerable<ConfigFields> Items(ConfigFields fields, string name)
    {
        JsonElement list = fields.Given(name) ?? throw fields.Missing(name, "expected a list");
        if (list.ValueKind != JsonValueKind.Array || list.EnumerateArray().Any(item => item.ValueKind != JsonValueKind.Object))
            throw fields.Bad(name, "expected a list of objects");
        return list.EnumerateArray().Select((item, i) => new ConfigFields(item, $"{fields.Path}: {name} {i}"));
    }
}
