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

    /// <summary>Reads a file, or a directory of WebNLG XML files.</summary>
    /// <exception cref="NolaException">It is missing, empty, of an unknown format, or has a malformed line (named).</exception>
    public static TextPairs Read(string path)
    {
        if (Directory.Exists(path))
        {
            string[] files = [.. Directory.EnumerateFiles(path, "*.xml", SearchOption.AllDirectories).Order(StringComparer.Ordinal)];
            if (files.Length == 0) throw new NolaException($"{path}: this directory has no .xml file; give a file, or WebNLG's directory.");
            return new(files.SelectMany(file => Parse(file)), path);
        }
        return new(Parse(path), path);
    }

    /// <summary>Reads a data set from a stream, by the extension of its name.</summary>
    /// <exception cref="NolaException">As <see cref="Read(string)"/>.</exception>
    public static TextPairs Read(Stream stream, string name)
    {
        using StreamReader reader = new(stream);
        return new(Parse(reader, name, name), name);
    }

    /// <inheritdoc/>
    public IEnumerator<TextPair> GetEnumerator() => pairs.GetEnumerator();

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
