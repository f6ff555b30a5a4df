using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>What a model is pretrained on: files of text and of pairs, each a source with a name and, beside it, a held-out file.</summary>
/// <param name="tokenizer">Tokenizer of the model.</param>
/// <param name="positions">Longest sequence of the model.</param>
/// <param name="vocabulary">Number of tokens that the model knows.</param>
/// <param name="evalTokens">Tokens of each held-out file that are evaluated on, about; 0 for all.</param>
internal sealed class PretrainData(ITokenizer tokenizer, int positions, int vocabulary, int evalTokens)
{
    private const string Training = ".train", HeldOut = ".valid";

    /// <summary>Whether only completions of pairs are predicted; else contexts are too.</summary>
    public bool CompletionsOnly { get; init; }

    /// <summary>Reads plain text: documents end to end, in windows as long as the model reads.</summary>
    /// <exception cref="NolaException">A file is missing or not UTF-8, or there is no text in it.</exception>
    public TrainSource Text(string path) => Source(path, file => PlainText.Read([file], tokenizer, positions));

    /// <summary>Reads pairs, each a sequence of its own.</summary>
    /// <exception cref="NolaException">A file is missing or malformed.</exception>
    public TrainSource Pairs(string path) => Source(path, file =>
    {
        PairEncoder encoder = new(tokenizer, positions, vocabulary, truncate: true);
        return [.. TextPairs.Read(file).Select(encoder.Encode).Select(Learned)];
    });

    /// <summary>A source of held-out text alone, which nothing is trained on.</summary>
    public TrainSource Validation(string path) => Held(new TrainSource(NameOf(path), [], []), PlainText.Read([path], tokenizer, positions));

    /// <summary>The name of a file's source: what is before <c>.train</c>, or before its extensions.</summary>
    internal static string NameOf(string path)
    {
        string name = Path.GetFileName(path);
        int train = name.IndexOf(Training, StringComparison.Ordinal);
        if (train > 0) return name[..train];
        if (name.EndsWith(".gz", StringComparison.OrdinalIgnoreCase)) name = name[..^3];
        return Path.GetFileNameWithoutExtension(name) is { Length: > 0 } plain ? plain : name;
    }

    // The held-out file beside a.train.txt is a.valid.txt.
    private static string? HeldOutOf(string path)
    {
        string name = Path.GetFileName(path);
        int train = name.IndexOf(Training, StringComparison.Ordinal);
        if (train <= 0) return null;
        string held = Path.Combine(Path.GetDirectoryName(path) ?? "", name[..train] + HeldOut + name[(train + Training.Length)..]);
        return File.Exists(held) ? held : null;
    }

    private TrainSource Source(string path, Func<string, EncodedPair[]> read)
    {
        TrainSource source = new(NameOf(path), read(path), []);
        return HeldOutOf(path) is { } held ? Held(source, read(held)) : source;
    }

    private TrainSource Held(TrainSource source, EncodedPair[] sequences)
    {
        long tokens = sequences.Sum(sequence => (long)sequence.Length);
        int most = evalTokens > 0 && tokens > evalTokens ? (int)Math.Max(1, sequences.Length * (long)evalTokens / tokens) : 0;
        EncodedPair[] sample = Evaluation.Sample(sequences, most);
        return source with { Validation = sample, ValidationBytes = sample.Sum(PredictedBytes) };
    }

    private EncodedPair Learned(EncodedPair pair) =>
        CompletionsOnly ? pair : new EncodedPair([], [.. pair.Context, .. pair.Completion]);

    // Bytes of the tokens whose loss counts: the completion, without the first token of all. The end of text is no text.
    private long PredictedBytes(EncodedPair pair) =>
        pair.Completion.Skip(pair.Context.Length > 0 ? 0 : 1).Sum(id => id == tokenizer.EndOfText ? 0L : tokenizer.BytesOf(id).Length);
}
