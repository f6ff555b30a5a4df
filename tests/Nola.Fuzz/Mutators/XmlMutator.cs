using System.Text;

namespace Nola.Fuzz;

/// <summary>
/// Damage to XML: tags gone, twice or exchanged, attributes without quotes, DTDs with entities, deep nesting, wrong declarations.
/// </summary>
internal static class XmlMutator
{
    private static readonly string[] heads =
    [
        "<!DOCTYPE benchmark>",
        "<!DOCTYPE benchmark [<!ENTITY x \"y\">]>",
        "<!DOCTYPE benchmark [<!ENTITY x SYSTEM \"file:///etc/hostname\">]>",
        "<!DOCTYPE benchmark SYSTEM \"http://127.0.0.1:9/x.dtd\">",
        $"<!DOCTYPE benchmark [<!ENTITY a \"aaaaaaaaaa\">{Tenfold('b', 'a')}{Tenfold('c', 'b')}{Tenfold('d', 'c')}{Tenfold('x', 'd')}]>",
        "<!DOCTYPE benchmark [<!ENTITY % p SYSTEM \"file:///etc/hostname\"> %p;]>",
        "<?xml version=\"1.0\" encoding=\"utf-16\"?>",
        "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>",
        "<?xml version=\"1.1\"?>",
        "<?xml version=\"1.0\" encoding=\"no-such\"?>",
        "<!--", "<?x", "<![CDATA[", " ", "\ufeff",
    ];

    private static readonly string[] texts =
    [
        "&x;", "&amp;", "&#0;", "&#xD800;", "&#x10FFFF;", "&#x110000;", "&;", "&", "<", ">", "]]>", "<![CDATA[a | b | c]]>", "<!-- -- -->",
        "<?x y?>", "\u0000", "\u0001", "\ufffe", " | ", "",
    ];

    /// <summary>Changes one document.</summary>
    public static byte[] Mutate(byte[] xml, Dice dice, IReadOnlyList<byte[]> others)
    {
        List<string> parts = Parts(Encoding.UTF8.GetString(xml));
        for (int i = dice.Few(4); i > 0; i--) Change(parts, dice);
        byte[] bytes = Encoding.UTF8.GetBytes(string.Concat(parts));
        return dice.Once(6) ? ByteMutator.Mutate(bytes, dice, others) : bytes;
    }

    private static void Change(List<string> parts, Dice dice)
    {
        if (parts.Count == 0) parts.Add("<benchmark/>");
        int at = dice.Next(parts.Count);
        switch (dice.Next(10))
        {
            case 0 or 1:
                parts.RemoveRange(at, Math.Min(dice.Few(), parts.Count - at));
                break;
            case 2:
                parts.InsertRange(at, parts.GetRange(at, Math.Min(dice.Length(40), parts.Count - at)));
                break;
            case 3:
                int other = dice.Next(parts.Count);
                (parts[at], parts[other]) = (parts[other], parts[at]);
                break;
            case 4:
                parts[at] = Attributes(parts[at], dice);
                break;
            case 5:
                parts.Insert(dice.Once(4) ? at : 0, dice.Pick(heads));
                break;
            case 6:
                parts.Insert(at, dice.Pick(texts));
                break;
            case 7:
                Nest(parts, at, dice);
                break;
            case 8:
                parts[at] = Evil.Text(dice, parts[at]);
                break;
            default:
                parts[at] = parts[at].StartsWith('<') ? parts[at].Replace("e", dice.Pick(Evil.Words)) : Evil.Text(dice, parts[at]);
                break;
        }
    }

    // An entity of ten others.
    private static string Tenfold(char name, char of) => $"<!ENTITY {name} \"{string.Concat(Enumerable.Repeat($"&{of};", 10))}\">";

    private static void Nest(List<string> parts, int at, Dice dice)
    {
        int depth = dice.Pick((int[])[1, 10, 100, 1000, 5000, 30_000]);
        string tag = dice.Pick((string[])["a", "entry", "lex", "mtriple", "benchmark"]);
        string close = dice.Once(3) ? "" : string.Concat(Enumerable.Repeat($"</{tag}>", depth));
        parts.Insert(at, string.Concat(Enumerable.Repeat($"<{tag}>", depth)) + close);
    }

    private static string Attributes(string tag, Dice dice)
    {
        int space = tag.IndexOf(' ');
        if (!tag.StartsWith('<')) return Evil.Text(dice, tag);
        return dice.Next(6) switch
        {
            0 => tag.Replace("\"", ""),
            1 => tag.Replace('"', '\''),
            2 when space > 0 => tag[..space] + ">",
            3 when space > 0 => tag.Insert(space, tag[space..].TrimEnd('>', '/')),
            4 when space > 0 => tag.Insert(space, $" a{(dice.Once(10) ? new string('a', 10_000) : "")}=\"{dice.Pick(texts)}\""),
            _ => tag.Replace("category", dice.Pick(Evil.Words)).Replace("comment", "xml:lang"),
        };
    }

    // Tags and what stands between them.
    private static List<string> Parts(string text)
    {
        List<string> parts = [];
        int at = 0;
        while (at < text.Length)
        {
            int end = text[at] == '<' ? text.IndexOf('>', at) + 1 : text.IndexOf('<', at);
            if (end <= at) end = text.Length;
            parts.Add(text[at..end]);
            at = end;
        }
        return parts;
    }
}
