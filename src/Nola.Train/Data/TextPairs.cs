using System.Collections;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// The examples of a data set, read from its original file. Formats are told by extension and content:
/// E2E (<c>.csv</c> with <c>mr,ref</c>; LoRA's <c>context||completion</c> text), WebNLG 2017 (<c>.xml</c>, a directory of
/// them, LoRA's <c>.json</c>), DART (<c>.json</c>, <c>.xml</c>), and rows with context or prompt and completion, Alpaca's
/// instruction, input and output, a conversation (messages) or a text alone, as <c>.jsonl</c>, an array in <c>.json</c>, or a table
/// (<c>.csv</c>, <c>.tsv</c>). Any of them may be gzip-compressed (<c>.gz</c>), and <c>-</c> is standard input. All of them are
/// specified in docs/data.md.
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

    /// <summary>Reads a file, the directory of a split of WebNLG's XML files, or standard input (<c>-</c>).</summary>
    /// <param name="path">The file or directory, or <c>-</c>.</param>
    /// <param name="subset">Only the seen or the unseen categories of WebNLG.</param>
    /// <exception cref="NolaException">
    /// It is missing, empty, of an unknown format, or has a malformed line (named);
    /// or there is no such subset.
    /// </exception>
    public static TextPairs Read(string path, DataSubset subset = DataSubset.All)
    {
        string[] files = Directory.Exists(path) ? WebNlg.Files(path) : [path];
        string source = DataInput.Place(path);
        if (subset != DataSubset.All) source += $" ({subset.ToString().ToLowerInvariant()} categories)";
        return new(files.SelectMany(file => PairFile.Read(file)).Where(pair => WebNlg.Has(pair, subset)), source);
    }

    /// <summary>
    /// Reads what a name of an embedded split stands for, <c>e2e:test</c> or <c>laptops:train</c>, or a file or directory.
    /// </summary>
    /// <exception cref="NolaException">As <see cref="Read(string, DataSubset)"/>, or there is no such split.</exception>
    public static TextPairs Open(string source, DataSubset subset = DataSubset.All)
    {
        if (!IsEmbedded(source)) return Read(source, subset);
        TextPairs pairs = EmbeddedData.Open(source);
        return subset == DataSubset.All ? pairs : new(pairs.Where(pair => WebNlg.Has(pair, subset)), source);
    }

    /// <summary>Whether <see cref="Open"/> takes a name for one of the embedded splits, not for a file.</summary>
    public static bool IsEmbedded(string source) => EmbeddedData.Has(source) && !File.Exists(source);

    /// <summary>Reads a data set from a stream, by the extension of its name.</summary>
    /// <exception cref="NolaException">As <see cref="Read(string, DataSubset)"/>.</exception>
    public static TextPairs Read(Stream stream, string name)
    {
        using TextInput text = TextInput.Of(stream, name);
        return new(PairFile.Read(text, name), name);
    }

    /// <inheritdoc/>
    public IEnumerator<TextPair> GetEnumerator() => pairs.GetEnumerator();

    /// <summary>
    /// Writes the pairs as JSONL, one <c>{"context": …, "completion": …}</c> (or <c>{"text": …}</c>, or <c>{"messages": …}</c>) a line,
    /// with category and origin where there are any. Reading it gives the same pairs.
    /// </summary>
    /// <exception cref="NolaException">The file cannot be written.</exception>
    public void SaveLines(string path) => AtomicFile.Write(path, stream => JsonPairs.WriteLines(stream, pairs));

    IEnumerator IEnumerable.GetEnumerator() => pairs.GetEnumerator();

    /// <summary>Whether a file's name is of a form that can hold pairs.</summary>
    internal static bool HasKnownExtension(string path) => DataForms.OfName(path) is not null;
}
