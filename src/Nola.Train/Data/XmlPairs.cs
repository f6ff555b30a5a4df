using System.Xml;
using System.Xml.Linq;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>The benchmark XML of WebNLG 2017 and DART: entries with modified triples and lexicalisations.</summary>
internal static class XmlPairs
{
    // Every entry of DART has this category, and the source of its text in the comment; WebNLG's entries have real ones.
    private const string DartCategory = "MISC";

    public static IEnumerable<TextPair> Read(TextReader reader, string place)
    {
        XDocument document;
        try
        {
            document = XDocument.Load(reader, LoadOptions.SetLineInfo);
        }
        catch (XmlException error)
        {
            throw new NolaException($"{place}, line {error.LineNumber}: not valid XML ({error.Message.TrimEnd('.')}).", error);
        }
        if (document.Root?.Name != "benchmark")
            throw new NolaException($"{place}: the root element is <{document.Root?.Name}>; expected <benchmark>, as in WebNLG and DART.");
        return document.Descendants("entry").SelectMany(entry => Pairs(entry, place));
    }

    // Texts that WebNLG marks as anything but good (toFix) are left out, and DART's relations lower-cased, as LoRA's converters do.
    private static IEnumerable<TextPair> Pairs(XElement entry, string place)
    {
        string category = (string?)entry.Attribute("category") ?? "";
        bool dart = category == DartCategory;
        int line = ((IXmlLineInfo)entry).LineNumber;
        XElement triples = entry.Element("modifiedtripleset") ?? throw new NolaException($"{place}, line {line}: the entry has no <modifiedtripleset>.");
        string context = JsonPairs.Linearise(triples.Elements("mtriple").Select(t => Triple(t, dart, place)));
        return entry.Elements("lex")
            .Where(lex => (string?)lex.Attribute("comment") != "toFix")
            .Select(lex => new TextPair(context, lex.Value, $"{place}, line {line}") { Category = dart ? "" : category, Origin = dart ? (string?)lex.Attribute("comment") ?? "" : "" });
    }

    private static (string Subject, string Property, string Object) Triple(XElement element, bool dart, string place)
    {
        string[] parts = element.Value.Split(" | ");
        if (parts.Length < 3)
            throw new NolaException($"{place}, line {((IXmlLineInfo)element).LineNumber}: '{element.Value}' is not a triple; expected subject | property | object.");
        string property = parts[1].Trim();
        return (parts[0].Trim(), dart ? property.ToLowerInvariant() : property, string.Join(" | ", parts[2..]).Trim());
    }
}
