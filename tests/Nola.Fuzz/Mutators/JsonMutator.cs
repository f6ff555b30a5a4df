using System.Text;
using System.Text.Json;

namespace Nola.Fuzz;

/// <summary>
/// Damage to JSON that keeps most of its form: other types, keys gone or twice, edges of numbers, halves of characters, deep nesting.
/// </summary>
internal static class JsonMutator
{
    // Characters that a repeated part may come to: repeating what was repeated grows without bound otherwise.
    private const int Longest = 2_000_000;

    /// <summary>Changes one document.</summary>
    public static byte[] Mutate(byte[] json, Dice dice, IReadOnlyList<byte[]> others)
    {
        JsonTree tree;
        try
        {
            tree = JsonTree.Parse(json);
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException)
        {
            return ByteMutator.Mutate(json, dice, others);
        }
        for (int i = dice.Few(4); i > 0; i--) Change(tree, dice);
        byte[] bytes = Encoding.UTF8.GetBytes(tree.ToString());
        return dice.Once(6) ? ByteMutator.Mutate(bytes, dice, others) : bytes;
    }

    /// <summary>Changes some lines, each of which is a document.</summary>
    public static byte[] MutateLines(byte[] json, Dice dice, IReadOnlyList<byte[]> others)
    {
        List<byte[]> lines = [.. Lines(json)];
        for (int i = dice.Few(3); i > 0 && lines.Count > 0; i--)
        {
            int at = dice.Next(lines.Count);
            switch (dice.Next(10))
            {
                case 0:
                    lines.RemoveAt(at);
                    break;
                case 1:
                    lines.Insert(at, lines[dice.Next(lines.Count)]);
                    break;
                case 2:
                    lines.Insert(at, Encoding.UTF8.GetBytes(Evil.Text(dice, "{}")));
                    break;
                case 3:
                    lines[at] = [.. lines[at], .. dice.Pick(lines)];
                    break;
                default:
                    lines[at] = Mutate(lines[at], dice, others);
                    break;
            }
        }
        byte[] end = dice.Once(8) ? dice.Pick((byte[][])[[0x0D], [0x0D, 0x0A], [0x0A, 0x0A], [0x0A, 0x00]]) : [0x0A];
        return [.. dice.Once(20) ? dice.Pick(Evil.Bytes) : [], .. lines.SelectMany(line => (byte[])[.. line, .. end])];
    }

    /// <summary>Changes one place of a tree.</summary>
    public static void Change(JsonTree tree, Dice dice)
    {
        JsonTree[] nodes = [.. tree.All()];
        JsonTree node = dice.Pick(nodes);
        switch (dice.Next(12))
        {
            case 0 or 1 or 2:
                Replace(node, dice);
                break;
            case 3:
                node.Become(dice.Pick(nodes).Copy());
                break;
            case 4:
                node.Become(Nested(node.ToString(), dice));
                break;
            default:
                JsonTree[] containers = [.. nodes.Where(n => n.Raw is null)];
                if (containers.Length > 0) ChangeList(dice.Pick(containers), dice);
                break;
        }
    }

    /// <summary>Another value: a number at an edge, a text, a list, or none.</summary>
    public static void Replace(JsonTree node, Dice dice) => node.Become(JsonTree.Leaf(dice.Next(5) switch
    {
        0 => dice.Pick(Evil.Numbers),
        1 => JsonSerializer.Serialize(Evil.Text(dice, node.Raw?.Trim('"') ?? "")),
        2 => JsonSerializer.Serialize(dice.Pick(Evil.Numbers)),
        _ => dice.Pick(Evil.Json),
    }));

    private static void ChangeList(JsonTree list, Dice dice)
    {
        int count = list.Items?.Count ?? list.Members!.Count, at = dice.Next(count);
        int action = count == 0 ? 3 : dice.Next(6);
        switch (action)
        {
            case 0 or 1 when list.Items is { } items:
                items.RemoveAt(at);
                break;
            case 0 or 1:
                list.Members!.RemoveAt(at);
                break;
            case 2 when list.Items is { } items:
                int times = Math.Min(dice.Once(10) ? 1000 : dice.Few(), Longest / items[at].Length());
                // Copies, so that a later change of one is no change of all.
                JsonTree repeated = items[at];
                items.InsertRange(at, Enumerable.Range(0, times).Select(_ => repeated.Copy()));
                break;
            case 2:
                list.Members!.Insert(at, list.Members[dice.Next(count)]);
                break;
            case 3 when list.Items is { } items:
                items.Insert(at, JsonTree.Leaf(dice.Pick(Evil.Json)));
                break;
            case 3:
                list.Members!.Insert(at, (Key(dice, "x"), JsonTree.Leaf(dice.Pick(Evil.Json))));
                break;
            case 4 when list.Items is { } items:
                (items[0], items[at]) = (items[at], items[0]);
                break;
            case 4:
                list.Members![at] = (list.Members[dice.Next(count)].Key, list.Members[at].Value);
                break;
            default:
                if (list.Items is { } all) Replace(all[at], dice);
                else list.Members![at] = (Key(dice, list.Members[at].Key.Trim('"')), list.Members[at].Value);
                break;
        }
    }

    private static string Key(Dice dice, string was) => dice.Next(5) switch
    {
        0 => "\"\\ud83d\"",
        1 => "\"\"",
        2 => dice.Pick(Evil.Json),
        3 => JsonSerializer.Serialize(was.ToUpperInvariant()),
        _ => JsonSerializer.Serialize(Evil.Text(dice, was)),
    };

    private static JsonTree Nested(string inner, Dice dice)
    {
        int depth = dice.Pick((int[])[1, 2, 10, 63, 64, 65, 1000, 20_000]);
        bool objects = dice.Once(3);
        StringBuilder text = new();
        for (int i = 0; i < depth; i++) text.Append(objects ? "{\"a\":" : "[");
        text.Append(inner);
        if (!dice.Once(5)) text.Append(objects ? '}' : ']', depth);
        return JsonTree.Leaf(text.ToString());
    }

    private static IEnumerable<byte[]> Lines(byte[] text)
    {
        for (int start = 0, end; start < text.Length; start = end + 1)
        {
            end = Array.IndexOf(text, (byte)'\n', start);
            if (end < 0) end = text.Length;
            yield return text[start..end];
        }
    }
}
