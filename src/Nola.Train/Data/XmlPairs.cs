using System.Xml;
using System.Xml.Linq;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>The benchmark XML of WebNLG 2017 and DART: entries with modified triples and lexicalisations.</summary>
internal static class XmlPairs
{
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

    // Texts that WebNLG marks as anything but good (toFix) are left out, as LoRA's converter does. DART's comment names the source.
    private static IEnumerable<TextPair> Pairs(XElement entry, string place)
    {
        string context = JsonPairs.Linearise(entry.Elements("modifiedtripleset").First().Elements("mtriple").Select(t => Triple(t, place)));
        int line = ((IXmlLineInfo)entry).LineNumber;
        return entry.Elements("lex")
            .Where(lex => (string?)lex.Attribute("comment") != "toFix")
            .Select(lex => new TextPair(context, lex.Value, $"{place}, line {line}") { Origin = (string?)lex.Attribute("comment") ?? "" });
    }

    private static (string Subject, string Property, string Object) Triple(XElement element, string place)
    {
        string[] parts = element.Value.Split(" | ");
        if (parts.Length < 3)
            throw new NolaException($"{place}, line {((IXmlLineInfo)element).LineNumber}: '{element.Value}' is not a triple; expected subject | property | object.");
        return (parts[0].Trim(), parts[1].Trim(), string.Join(" | ", parts[2..]).Trim());
    }
}
