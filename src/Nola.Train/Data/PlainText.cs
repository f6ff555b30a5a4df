using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// Plain text for language modeling: documents separated by a line <c>&lt;|endoftext|&gt;</c>, encoded end to end with end of text
/// between them, cut into windows whose every token but the first is predicted. In a <c>.jsonl</c> file each line's
/// <c>{"text": …}</c> is a document.
/// </summary>
public static class PlainText
{
    // More blank lines in a row are of no text, but for example of a damaged gzip file, which a few bytes make endless.
    private const int MostBlankLines = 1_000_000;

    /// <summary>The line between documents.</summary>
    public const string Separator = "<|endoftext|>";

    /// <summary>
    /// Reads files (<c>.gz</c> too, or <c>-</c> for standard input) into windows of at most <paramref name="window"/> + 1 tokens;
    /// neighbors share one token.
    /// </summary>
    /// <exception cref="NolaException">A file is missing or not UTF-8, there is no text, or a million blank lines in a row.</exception>
    public static EncodedPair[] Read(IReadOnlyList<string> paths, ITokenizer tokenizer, int window)
    {
        List<int> ids = [];
        foreach (string path in paths) Encode(path, tokenizer, ids);
        if (ids.Count < 2) throw new NolaException($"{string.Join(", ", paths.Select(DataInput.Place))}: there is no text to train on.");
        return Windows(ids, window);
    }

    /// <summary>The lines of a file, with the separator between documents.</summary>
    /// <exception cref="NolaException">It is missing or not UTF-8, or a line of JSON has no text.</exception>
    internal static IEnumerable<string> Lines(string path)
    {
        using TextInput input = DataInput.Open(path);
        bool json = DataForms.OfName(path) == DataForm.JsonLines;
        for (int number = 1; input.ReadLine() is { } line; number++)
        {
            if (!json) yield return line;
            else if (!string.IsNullOrWhiteSpace(line))
                foreach (string part in DocumentLines(line, $"{path}, line {number}"))
                    yield return part;
        }
    }

    /// <summary>Cuts a stream of ids into windows.</summary>
    internal static EncodedPair[] Windows(List<int> ids, int window)
    {
        List<EncodedPair> windows = [];
        for (int i = 0; i + 1 < ids.Count; i += window)
            windows.Add(new EncodedPair([], [.. CollectionsMarshal.AsSpan(ids).Slice(i, Math.Min(window + 1, ids.Count - i))]));
        return [.. windows];
    }

    private static IEnumerable<string> DocumentLines(string json, string place)
    {
        using JsonDocument document = JsonInput.Parse(json, place);
        using StringReader text = new(JsonFields.Text(document.RootElement, PairNames.Text, place));
        while (text.ReadLine() is { } line) yield return line;
        yield return Separator;
    }

    // Paragraph by paragraph: the pre-tokenizer never joins across a newline, except that it takes runs of white space whole,
    // so a blank line goes with the newline before it.
    // Where words of a tokenizer do join, it is given whole documents, which begin as texts of its own.
    private static void Encode(string path, ITokenizer tokenizer, List<int> ids)
    {
        bool apart = tokenizer.CutsAtParagraphs;
        StringBuilder paragraph = new();
        int blank = 0;
        foreach (string line in Lines(path))
        {
            blank = line.Length == 0 ? blank + 1 : 0;
            if (blank > MostBlankLines)
                throw new NolaException($"{DataInput.Place(path)}: has more than {MostBlankLines} blank lines in a row; is it a text?");
            if (line == Separator)
            {
                Flush();
                ids.Add(tokenizer.EndOfText);
                continue;
            }
            if (apart && line.Length > 0 && paragraph.Length > 0 && paragraph[^1] == '\n') Flush();
            paragraph.Append(line).Append('\n');
        }
        Flush();
        if (ids.Count > 0 && ids[^1] != tokenizer.EndOfText) ids.Add(tokenizer.EndOfText);

        void Flush()
        {
            string text = paragraph.ToString();
            if (text.Length > 0) ids.AddRange(apart ? tokenizer.Encode(text) : tokenizer.EncodeContext(text));
            paragraph.Clear();
        }
    }
}
