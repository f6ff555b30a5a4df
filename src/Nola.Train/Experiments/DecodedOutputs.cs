using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Nola.Models;
using Nola.Tensors;
using Nola.Train.Metrics;

namespace Nola.Train;

/// <summary>
/// What a run's model says to each distinct context of the test pairs: decoded once for all metrics, and kept in the run's
/// directory as <c>outputs.txt</c>, one line for each context in the order of the pairs, which <c>nola score</c> reads.
/// </summary>
/// <param name="decoding">How the texts are generated.</param>
/// <param name="form">Groups: all completions as they are, as E2E is scored. Columns: as LoRA and NOLA score WebNLG and DART, six
/// references for each output, both sides in lower case and tokenized.</param>
internal sealed class DecodedOutputs(GenerateOptions decoding, ReferenceForm form = ReferenceForm.Groups)
{
    // As published for WebNLG and DART.
    private const int PublishedReferences = 6;

    private const string TextFile = "outputs.txt", AboutFile = "outputs.json";

    private (string Folder, Corpus Corpus, IReadOnlyList<DecodedText> Texts)? last;
    private (TextPairs Test, string BaseModel, ReferenceSet Set)? references;

    /// <summary>The decoding in one line.</summary>
    public string Settings { get; } = DecodingReader.Describe(decoding);

    /// <summary>How outputs are compared with the completions, in a few words.</summary>
    public string Comparison =>
        form == ReferenceForm.Groups ? "references in groups" : $"{PublishedReferences} references, lower-cased and tokenized";

    /// <summary>The outputs of a run beside their references; decoded unless that was done before.</summary>
    /// <exception cref="NolaException">A context does not fit the model, or the outputs cannot be written.</exception>
    public Corpus Of(ScoreInput input, CancellationToken cancel) => Decoded(input, cancel).Corpus;

    /// <summary>The same outputs as they are, with their line breaks, and the pairs that each answers.</summary>
    /// <exception cref="NolaException">As <see cref="Of"/>.</exception>
    public IReadOnlyList<DecodedText> TextsOf(ScoreInput input, CancellationToken cancel) => Decoded(input, cancel).Texts;

    private (Corpus Corpus, IReadOnlyList<DecodedText> Texts) Decoded(ScoreInput input, CancellationToken cancel)
    {
        if (last is { } kept && kept.Folder == input.Folder) return (kept.Corpus, kept.Texts);
        // Ids are not the text that they look like.
        TextPair[][] groups = [.. input.Test
            .GroupBy(pair => pair.ContextIds is { } ids ? (true, string.Join(' ', ids)) : (false, pair.Context))
            .Select(group => group.ToArray())];
        ITokenizer tokenizer = input.Model.Tokenizer;
        GenerateOptions options = decoding.For(input.Model, input.Chat);
        ReferenceSet set = References(input, groups, tokenizer, options);
        string[] outputs = Read(input.Folder, input.TestName, groups.Length)
            ?? Decode(input, [.. groups.Select(group => group[0])], tokenizer, options, cancel);
        IReadOnlyList<string> contexts = [.. groups.Select(group => group[0].Context)];
        string[] lines = [.. outputs.Select(GeneratedText.OneLine)];
        Corpus corpus = new(lines, set, form, allowEmpty: true) { Contexts = contexts };
        DecodedText[] texts = [.. outputs.Zip(groups, (text, pairs) => new DecodedText(text, pairs))];
        last = (input.Folder, corpus, texts);
        return (corpus, texts);
    }

    /// <summary>Makes a run decode anew.</summary>
    internal static void Forget(string folder) => AtomicFile.Delete(Path.Combine(folder, AboutFile));

    // The same for every run of a base model, and so tokenized once.
    private ReferenceSet References(ScoreInput input, TextPair[][] groups, ITokenizer tokenizer, GenerateOptions options)
    {
        if (references is { } kept && kept.Test == input.Test && kept.BaseModel == input.BaseModel) return kept.Set;
        string[][] texts = [.. groups.Select(group =>
            group.Select(pair => pair.CompletionIds is { } ids ? GeneratedText.Of(ids, tokenizer, options) : pair.Completion).ToArray())];
        int blank = Array.FindIndex(texts, group => group.All(string.IsNullOrWhiteSpace));
        if (blank >= 0)
            throw new NolaException($"{groups[blank][0].Place}: no completion of this context has text, "
                + "so that there is nothing to compare an output with; give one, or leave the context out.");
        references = (input.Test, input.BaseModel, form == ReferenceForm.Columns
            ? new ReferenceSet(Published(texts), TextForm.Published)
            : new ReferenceSet(texts));
        return references.Value.Set;
    }

    // gpt2_decode.py of LoRA and NOLA repeats the first where there are fewer, and leaves out what is over.
    private static string[][] Published(string[][] texts) =>
        [.. texts.Select(group => (string[])[.. Enumerable.Range(0, PublishedReferences).Select(i => group[i < group.Length ? i : 0])])];

    private string[] Decode(ScoreInput input, TextPair[] contexts, ITokenizer tokenizer, GenerateOptions options, CancellationToken cancel)
    {
        int done = 0;
        int? room = input.Truncate ? options.MaxNewTokens : null;
        ChatFormat? chat = input.Chat ? input.Model.Chat : null;
        int[][] prompts =
            [.. contexts.Select(pair => GeneratedText.Context(pair, tokenizer, input.Model.Shape, room: room, chat: chat))];
        int[][] tokens = input.Model.GenerateAll(
            prompts, input.Adapter, options, (_, _) => input.OnDecoded?.Invoke(++done, contexts.Length), cancel);
        string[] outputs = [.. tokens.Select(ids => GeneratedText.Of(ids, tokenizer, options))];
        string text = string.Concat(outputs.Select(output => GeneratedText.OneLine(output) + "\n"));
        AtomicFile.EnsureDirectory(input.Folder);
        AtomicFile.WriteText(Path.Combine(input.Folder, TextFile), text);
        // Written last, with the text's digest: what it describes is what stands there.
        long newTokens = tokens.Sum(ids => (long)ids.Length);
        Dictionary<string, string> broken = outputs.Index()
            .Where(output => GeneratedText.OneLine(output.Item) != output.Item)
            .ToDictionary(output => (output.Index + 1).ToString(CultureInfo.InvariantCulture), output => output.Item);
        About about = new(input.TestName, Settings, contexts.Length, newTokens, Digest(Encoding.UTF8.GetBytes(text)), broken);
        AtomicFile.WriteText(Path.Combine(input.Folder, AboutFile), JsonSerializer.Serialize(about, RunRecord.Format) + "\n");
        return outputs;
    }

    private string[]? Read(string folder, string test, int count)
    {
        string path = Path.Combine(folder, AboutFile), textPath = Path.Combine(folder, TextFile);
        if (!File.Exists(path) || !File.Exists(textPath)) return null;
        try
        {
            byte[] text = InputFile.ReadAll(textPath);
            using JsonDocument document = JsonInput.Read(path, largest: JsonInput.LargestTable);
            if (document.Deserialize<About>(RunRecord.Format) is not { } about) return null;
            if (about.Test != test || about.Decoding != Settings || about.Inputs != count || about.Sha256 != Digest(text)) return null;
            string[] lines = Encoding.UTF8.GetString(text).Split('\n');
            if (lines.Length != count + 1) return null;
            foreach ((string line, string whole) in about.Broken)
            {
                if (!int.TryParse(line, CultureInfo.InvariantCulture, out int i) || i < 1 || i > count) return null;
                if (GeneratedText.OneLine(whole) != lines[i - 1]) return null;
                lines[i - 1] = whole;
            }
            return lines[..count];
        }
        catch (Exception error) when (error is JsonException or NolaException)
        {
            // Whatever stands there, it is not what this code wrote; the texts are decoded again.
            return null;
        }
    }

    private static string Digest(byte[] text) => Convert.ToHexStringLower(SHA256.HashData(text));

    // Broken: by the number of their line, the texts with line breaks, which the file of lines cannot have.
    private sealed record About(
        string Test, string Decoding, int Inputs, long NewTokens, string Sha256, IReadOnlyDictionary<string, string> Broken);
}

/// <summary>What a run's model says to a context.</summary>
/// <param name="Text">The text, with its line breaks.</param>
/// <param name="Pairs">The pairs of that context.</param>
internal sealed record DecodedText(string Text, IReadOnlyList<TextPair> Pairs);
