using System.Text;

namespace Nola.Fuzz;

/// <summary>Damage to lines of text, and to fields where they have a separator: quotes, columns, encodings, ends of lines.</summary>
internal static class TextMutator
{
    private static readonly string[] ends = ["\r\n", "\r", "\n\n", "\u0085", "\u2028", "\0\n", "\n\r"];

    /// <summary>Changes a table.</summary>
    /// <param name="separator">What stands between its fields.</param>
    public static Mutation Table(string separator) => (data, dice, others) => Mutate(data, dice, others, separator);

    /// <summary>Changes lines.</summary>
    public static byte[] Mutate(byte[] data, Dice dice, IReadOnlyList<byte[]> others) => Mutate(data, dice, others, " ");

    private static byte[] Mutate(byte[] data, Dice dice, IReadOnlyList<byte[]> others, string separator)
    {
        List<string> lines = [.. Encoding.UTF8.GetString(data).Split('\n')];
        for (int i = dice.Few(4); i > 0; i--) Change(lines, dice, separator);
        string text = string.Join(dice.Once(6) ? dice.Pick(ends) : "\n", lines);
        if (dice.Once(12)) text = text.Replace(separator, dice.Pick((string[])[";", "\t", "|", " ", ",", separator + separator]));
        byte[] bytes = Encoded(text, dice);
        return dice.Once(5) ? ByteMutator.Mutate(bytes, dice, others) : bytes;
    }

    private static byte[] Encoded(string text, Dice dice) => dice.Next(30) switch
    {
        0 => Encoding.Latin1.GetBytes(text),
        1 => Encoding.Unicode.GetBytes(text),
        2 => [.. Encoding.Unicode.GetPreamble(), .. Encoding.Unicode.GetBytes(text)],
        3 => [.. Encoding.BigEndianUnicode.GetPreamble(), .. Encoding.BigEndianUnicode.GetBytes(text)],
        4 => Encoding.UTF32.GetBytes(text),
        5 or 6 => [.. Encoding.UTF8.GetPreamble(), .. Encoding.UTF8.GetBytes(text)],
        _ => Encoding.UTF8.GetBytes(text),
    };

    private static void Change(List<string> lines, Dice dice, string separator)
    {
        if (lines.Count == 0) lines.Add("");
        int at = dice.Next(lines.Count);
        switch (dice.Next(12))
        {
            case 0:
                lines.RemoveAt(at);
                break;
            case 1:
                lines.InsertRange(at, Enumerable.Repeat(lines[at], dice.Once(15) ? 500 : 1));
                break;
            case 2:
                lines.Insert(at, dice.Pick((string[])["", " ", "\t", "#", "\"", separator, "<|endoftext|>", "||"]));
                break;
            case 3:
                lines[at] = Evil.Text(dice, lines[at]);
                break;
            case 4:
                lines[at] += dice.Pick((string[])["\"", "'", separator, separator + separator, "\r", " ", "\0", "\\", "\"\""]);
                break;
            case 5:
                (lines[0], lines[at]) = (lines[at], lines[0]);
                break;
            case 6:
                // A row grows by, or is, very many fields.
                lines[at] = string.Join(separator, Enumerable.Repeat(lines[at], dice.Once(10) ? 300 : 2));
                break;
            default:
                Field(lines, at, dice, separator);
                break;
        }
    }

    private static void Field(List<string> lines, int at, Dice dice, string separator)
    {
        List<string> fields = [.. lines[at].Split(separator)];
        int i = dice.Next(fields.Count);
        switch (dice.Next(8))
        {
            case 0:
                fields.RemoveAt(i);
                break;
            case 1:
                fields.Insert(i, fields[dice.Next(fields.Count)]);
                break;
            case 2:
                fields[i] = $"\"{fields[i]}";
                break;
            case 3:
                fields[i] = $"\"{fields[i].Replace("\"", "\"\"")}\n{fields[i].Replace("\"", "\"\"")}\"";
                break;
            case 4:
                fields[i] = "";
                break;
            case 5:
                fields[i] = fields[i].ToUpperInvariant();
                break;
            default:
                fields[i] = Evil.Text(dice, fields[i]);
                break;
        }
        lines[at] = string.Join(separator, fields);
    }
}
