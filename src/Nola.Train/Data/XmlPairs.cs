using System.Text;
using System.Xml;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// The benchmark XML of WebNLG 2017 and DART: entries with modified triples and lexicalisations. Read entry by entry; a document
/// type is refused, so no entity of it can bring in other files or grow without end.
/// </summary>
internal static class XmlPairs
{
    // The deepest that elements may stand in each other. The published files have 4 levels; what an XML reader has to keep grows with them.
    private const int Deepest = 64;

    // Lines before the root element; they have a declaration and comments.
    private const int LongestProlog = 100;

    private const string DocumentType =
        "has a document type (<!DOCTYPE>), which is not read because its entities can refer to other files; delete it.";

    // Every entry of DART has this category, and the source of its text in the comment; WebNLG's entries have real ones.
    private const string DartCategory = "MISC";

    public static IEnumerable<TextPair> Read(TextReader text, string place)
    {
        using ContinuedText whole = new(Prolog(text, place), text);
        XmlReaderSettings settings = new() { DtdProcessing = DtdProcessing.Prohibit, XmlResolver = null, IgnoreWhitespace = true };
        using XmlReader reader = XmlReader.Create(whole, settings);
        bool root = true;
        while (Next(reader, place))
        {
            if (reader.NodeType != XmlNodeType.Element) continue;
            if (root && reader.Name != "benchmark")
                throw new NolaException($"{place}: the root element is <{reader.Name}>; expected <benchmark>, as in WebNLG and DART.");
            root = false;
            if (reader.Name != "entry") continue;
            Entry entry = Parse(place, () => ReadEntry(reader, place));
            foreach (TextPair pair in entry.Pairs(place)) yield return pair;
        }
    }

    // The lines up to the root element's first. What the parser says of a document type has no line; so it is looked for here.
    private static string Prolog(TextReader text, string place)
    {
        StringBuilder lines = new();
        for (int number = 1; number <= LongestProlog && text.ReadLine() is { } line; number++)
        {
            int root = Enumerable.Range(1, Math.Max(0, line.Length - 1)).FirstOrDefault(i => line[i - 1] == '<' && char.IsLetter(line[i]));
            string before = root == 0 ? line : line[..root];
            if (before.Contains("<!DOCTYPE", StringComparison.Ordinal)) throw new NolaException($"{place}, line {number}: {DocumentType}");
            lines.Append(line).Append('\n');
            if (root > 0) break;
        }
        return lines.ToString();
    }

    // A reader goes on with its parsing when it is asked for a value too, not only for the next node.
    private static T Parse<T>(string place, Func<T> read)
    {
        try
        {
            return read();
        }
        catch (XmlException error) when (error.Message.Contains("DTD", StringComparison.Ordinal))
        {
            throw new NolaException($"{place}: {DocumentType}", error);
        }
        catch (XmlException error)
        {
            string line = error.LineNumber > 0 ? $", line {error.LineNumber}" : "";
            throw new NolaException($"{place}{line}: not valid XML ({error.Message.TrimEnd('.')}).", error);
        }
    }

    // The next node, no deeper than is allowed.
    private static bool Next(XmlReader reader, string place)
    {
        if (!Parse(place, reader.Read)) return false;
        if (reader.Depth > Deepest)
            throw new NolaException($"{place}, line {Line(reader)}: elements are nested more than {Deepest} deep, where "
                + "WebNLG and DART have 4; is it the right file?");
        return true;
    }

    private static Entry ReadEntry(XmlReader reader, string place)
    {
        Entry entry = new(Line(reader), reader.GetAttribute("category") ?? "");
        if (reader.IsEmptyElement) return entry;
        int depth = reader.Depth;
        while (Next(reader, place) && reader.Depth > depth)
        {
            if (reader.NodeType != XmlNodeType.Element) continue;
            if (reader.Name == "entry")
                throw new NolaException($"{place}, line {Line(reader)}: an <entry> begins within the one of line {entry.Line}; "
                    + "close that one first.");
            if (reader.Depth > depth + 1) continue;
            if (reader.Name == "modifiedtripleset" && entry.Triples is null) entry.Triples = ReadTriples(reader, place);
            else if (reader.Name == "lex") entry.Texts.Add((reader.GetAttribute("comment"), ReadText(reader, place)));
        }
        return entry;
    }

    private static List<(string, int)> ReadTriples(XmlReader reader, string place)
    {
        List<(string, int)> triples = [];
        if (reader.IsEmptyElement) return triples;
        int depth = reader.Depth;
        while (Next(reader, place) && reader.Depth > depth)
        {
            if (reader.NodeType != XmlNodeType.Element || reader.Name != "mtriple" || reader.Depth > depth + 1) continue;
            int line = Line(reader);
            triples.Add((ReadText(reader, place), line));
        }
        return triples;
    }

    // The text of an element and of what is in it; the reader is left at its end.
    private static string ReadText(XmlReader reader, string place)
    {
        if (reader.IsEmptyElement) return "";
        StringBuilder text = new();
        int depth = reader.Depth;
        while (Next(reader, place) && reader.Depth > depth)
            if (reader.NodeType is XmlNodeType.Text or XmlNodeType.CDATA or XmlNodeType.SignificantWhitespace) text.Append(reader.Value);
        return text.ToString();
    }

    private static int Line(XmlReader reader) => ((IXmlLineInfo)reader).LineNumber;

    /// <summary>What an entry has.</summary>
    private sealed class Entry(int line, string category)
    {
        public int Line => line;

        public List<(string Text, int Line)>? Triples { get; set; }

        public List<(string? Comment, string Text)> Texts { get; } = [];

        // Texts that WebNLG marks as anything but good (toFix) are left out, and DART's relations lower-cased, as LoRA's converters do.
        public IEnumerable<TextPair> Pairs(string place)
        {
            if (Triples is null) throw new NolaException($"{place}, line {line}: the entry has no <modifiedtripleset>.");
            bool dart = category == DartCategory;
            string context = JsonPairs.Linearise([.. Triples.Select(triple => Parts(triple.Text, dart, $"{place}, line {triple.Line}"))]);
            return Texts.Where(text => text.Comment != "toFix").Select(text => new TextPair(context, text.Text, $"{place}, line {line}")
            {
                Category = dart ? "" : category,
                Origin = dart ? text.Comment ?? "" : "",
            });
        }

        private static (string Subject, string Property, string Object) Parts(string triple, bool dart, string place)
        {
            string[] parts = triple.Split(" | ");
            if (parts.Length < 3)
                throw new NolaException($"{place}: {Quoted.Of(triple)} is not a triple; expected subject | property | object.");
            string property = parts[1].Trim();
            return (parts[0].Trim(), dart ? property.ToLowerInvariant() : property, string.Join(" | ", parts[2..]).Trim());
        }
    }
}
