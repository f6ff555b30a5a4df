using Nola.Tensors;

namespace Nola.Train.Metrics;

/// <summary>
/// Phrases and their paraphrases, in the form of METEOR's <c>data/paraphrase-en.gz</c>: three lines each, a probability
/// (which METEOR does not use), a phrase, a paraphrase; gzip-compressed or not.
/// </summary>
public sealed class ParaphraseTable
{
    private readonly Dictionary<string, int> vocabulary = [];
    private readonly Node root = new();

    private ParaphraseTable() { }

    /// <summary>Number of pairs.</summary>
    public int Count { get; private set; }

    /// <summary>Reads a table.</summary>
    /// <exception cref="NolaException">The file is missing or not UTF-8, or does not have three lines a pair.</exception>
    public static ParaphraseTable Read(string path)
    {
        if (!File.Exists(path))
            throw new NolaException($"{path}: there is no such paraphrase table; METEOR 1.5 has one for English, data/paraphrase-en.gz.");
        ParaphraseTable table = new();
        using TextInput reader = TextInput.Open(path, IsCompressed(path));
        while (reader.ReadLine() is not null)
        {
            if (reader.ReadLine() is not { } phrase || reader.ReadLine() is not { } paraphrase)
                throw new NolaException($"{path}: the paraphrase table ends within pair {table.Count + 1:N0}; "
                    + "three lines are expected for each: probability, phrase, paraphrase.");
            if (string.IsNullOrWhiteSpace(phrase) || string.IsNullOrWhiteSpace(paraphrase))
            {
                throw new NolaException(
                    $"{path}, line {3 * table.Count + 2}: pair {table.Count + 1:N0} of the paraphrase table has no words on one side; "
                    + "three lines are expected for each: probability, phrase, paraphrase.");
            }
            table.Add(phrase, paraphrase);
        }
        return table;
    }

    /// <summary>
    /// Phrases of one text whose paraphrases are in another: where each begins and how many words it has, in both.
    /// </summary>
    /// <exception cref="NolaException">There is more to be looked at than the search may.</exception>
    internal IEnumerable<(int Start, int Length, int OtherStart, int OtherLength)> Find(
        IReadOnlyList<MeteorWord> text, IReadOnlyList<MeteorWord> other, SearchBudget budget)
    {
        int[] words = Ids(text), others = Ids(other);
        ILookup<int, int> places = Enumerable.Range(0, others.Length).ToLookup(i => others[i]);
        for (int start = 0; start < words.Length; start++)
        {
            Node? node = root;
            for (int i = start; i < words.Length && node.Next.TryGetValue(words[i], out node); i++)
                foreach (int[] paraphrase in node.Paraphrases)
                    foreach (int at in places[paraphrase[0]])
                    {
                        budget.Spend(1);
                        if (others.AsSpan(at).StartsWith(paraphrase)) yield return (start, i + 1 - start, at, paraphrase.Length);
                    }
        }
    }

    private static bool IsCompressed(string path)
    {
        using FileStream file = InputFile.Open(path);
        return file.ReadByte() == 0x1F && file.ReadByte() == 0x8B;
    }

    private void Add(string phrase, string paraphrase)
    {
        Node node = root;
        foreach (int word in Split(phrase))
        {
            if (!node.Next.TryGetValue(word, out Node? next)) node.Next[word] = next = new();
            node = next;
        }
        node.Paraphrases.Add(Split(paraphrase));
        Count++;
    }

    private int[] Split(string phrase)
    {
        string[] words = phrase.Split([' ', '\t', '\n', '\r', '\f'], StringSplitOptions.RemoveEmptyEntries);
        foreach (string word in words) vocabulary.TryAdd(word, vocabulary.Count);
        return [.. words.Select(w => vocabulary[w])];
    }

    private int[] Ids(IReadOnlyList<MeteorWord> words) => [.. words.Select(w => vocabulary.GetValueOrDefault(w.Text, -1))];

    private sealed class Node
    {
        public Dictionary<int, Node> Next { get; } = [];

        public List<int[]> Paraphrases { get; } = [];
    }
}
