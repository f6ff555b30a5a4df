using System.Collections;
using System.IO.Compression;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// The examples of a data set, read from its original file. Formats are told by extension and content:
/// E2E (<c>.csv</c> with <c>mr,ref</c>; LoRA's <c>context||completion</c> text), WebNLG 2017 (<c>.xml</c>, a directory of
/// them, LoRA's <c>.json</c>), DART (<c>.json</c>, <c>.xml</c>), <c>.jsonl</c> with context or prompt and completion, and
/// <c>.csv</c> with these columns. Any of them may be gzip-compressed (<c>.gz</c>).
/// </summary>
public sealed class TextPairs : IReadOnlyList<TextPair>
{
    private const string EmbeddedPrefix = EmbeddedData.E2EName + ":";

    private readonly List<TextPair> pairs;

    /// <summary>Examples from anywhere.</summary>
    public TextPairs(IEnumerable<TextPair> pairs, string source)
    {
        this.pairs = [.. pairs];
        Source = source;
        if (this.pairs.Count == 0) throw new NolaException($"{source}: the data set is empty; there is no pair to train on or to score.");
    }

    /// <summary>The file it came from.</summary>
    public string Source { get; }

    /// <inheritdoc/>
    public int Count => pairs.Count;

    /// <inheritdoc/>
    public TextPair this[int index] => pairs[index];

    /// <summary>Reads a file, or the directory of a split of WebNLG's XML files.</summary>
    /// <param name="path">The file or directory.</param>
    /// <param name="subset">Only the seen or the unseen categories of WebNLG.</param>
    /// <exception cref="NolaException">It is missing, empty, of an unknown format, or has a malformed line (named); or there is no such subset.</exception>
    public static TextPairs Read(string path, DataSubset subset = DataSubset.All)
    {
        IEnumerable<TextPair> all = Directory.Exists(path) ? WebNlg.Files(path).SelectMany(Parse) : Parse(path);
        return new(all.Where(pair => WebNlg.Has(pair, subset)), subset == DataSubset.All ? path : $"{path} ({subset.ToString().ToLowerInvariant()} categories)");
    }

    /// <summary>
    /// Reads what <c>e2e:train</c>, <c>e2e:dev</c> and <c>e2e:test</c> name, or a file or directory.
    /// </summary>
    /// <exception cref="NolaException">As <see cref="Read(string, DataSubset)"/>, or there is no such split.</exception>
    public static TextPairs Open(string source, DataSubset subset = DataSubset.All)
    {
        if (!IsEmbedded(source)) return Read(source, subset);
        TextPairs pairs = EmbeddedData.E2E(source[EmbeddedPrefix.Length..]);
        return subset == DataSubset.All ? pairs : new(pairs.Where(pair => WebNlg.Has(pair, subset)), source);
    }

    /// <summary>Whether <see cref="Open"/> takes a name for one of the embedded splits, not for a file.</summary>
    public static bool IsEmbedded(string source) => source.StartsWith(EmbeddedPrefix, StringComparison.Ordinal) && !File.Exists(source);

    /// <summary>Reads a data set from a stream, by the extension of its name.</summary>
    /// <exception cref="NolaException">As <see cref="Read(string, DataSubset)"/>.</exception>
    public static TextPairs Read(Stream stream, string name)
    {
        using StreamReader reader = new(stream);
        return new(Parse(reader, name, name), name);
    }

    /// <inheritdoc/>
    public IEnumerator<TextPair> GetEnumerator() => pairs.GetEnumerator();

    /// <summary>
    /// Writes the pairs as JSONL, one <c>{"context": …, "completion": …}</c> a line, with category and origin where there are
    /// any. Reading it gives the same pairs.
    /// </summary>
    /// <exception cref="NolaException">The file cannot be written.</exception>
    public void SaveLines(string path) => AtomicFile.Write(path, stream => JsonPairs.WriteLines(stream, pairs));

    IEnumerator IEnumerable.GetEnumerator() => pairs.GetEnumerator();

    /// <summary>Opens a text file, unpacking <c>.gz</c>.</summary>
    internal static StreamReader OpenText(string path, out string inner)
    {
        if (!File.Exists(path)) throw new NolaException($"{path}: there is no such file.");
        bool packed = path.EndsWith(".gz", StringComparison.OrdinalIgnoreCase);
        inner = packed ? path[..^3] : path;
        try
        {
            Stream stream = File.OpenRead(path);
            return new StreamReader(packed ? new GZipStream(stream, CompressionMode.Decompress) : stream);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new NolaException($"{path}: cannot be read ({error.Message.TrimEnd('.')}).", error);
        }
    }

    /// <summary>Whether a file's name is of a form that can hold pairs.</summary>
    internal static bool HasKnownExtension(string path)
    {
        string inner = path.EndsWith(".gz", StringComparison.OrdinalIgnoreCase) ? path[..^3] : path;
        return Path.GetExtension(inner).ToLowerInvariant() is ".csv" or ".jsonl" or ".ndjson" or ".json" or ".xml" or ".txt";
    }

    private static List<TextPair> Parse(string path)
    {
        using StreamReader reader = OpenText(path, out string inner);
        try
        {
            return Parse(reader, inner, path);
        }
        catch (InvalidDataException error)
        {
            throw new NolaException($"{path}: not a gzip file ({error.Message.TrimEnd('.')}).", error);
        }
    }

    private static List<TextPair> Parse(StreamReader reader, string name, string place) => Path.GetExtension(name).ToLowerInvariant() switch
    {
        ".csv" => [.. CsvPairs.Read(reader, place)],
        ".jsonl" or ".ndjson" => [.. JsonPairs.ReadLines(reader, place)],
        ".json" => [.. JsonPairs.ReadDocument(reader, place)],
        ".xml" => [.. XmlPairs.Read(reader, place)],
        ".txt" => [.. LoraText(reader, place)],
        string other => throw new NolaException($"{place}: the extension '{other}' is not known; known are .csv, .jsonl, .json, .xml and .txt (context||completion), each also with .gz."),
    };

    // The text form of the LoRA code: one context||completion on a line. The published encoder strips both sides' ends.
    private static IEnumerable<TextPair> LoraText(StreamReader reader, string place)
    {
        for (int line = 1; reader.ReadLine() is { } text; line++)
        {
            string[] parts = text.Trim().Split("||");
            if (parts.Length < 2) throw new NolaException($"{place}, line {line}: there is no '||' between context and completion. For plain text use --text.");
            yield return new TextPair(parts[0], parts[1].Trim('\n'), $"{place}, line {line}");
        }
    }
}
