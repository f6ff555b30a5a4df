using System.Globalization;
using Nola.Tensors;

namespace Nola.Train.Metrics;

/// <summary>
/// Synonyms as METEOR uses them: words, and the words they are forms of, that share a set of WordNet. Sets of different
/// parts of speech are told apart by their offset alone, as in METEOR's own data.
/// </summary>
public sealed class WordNet
{
    private static readonly string[] partsOfSpeech = ["noun", "verb", "adj", "adv"];

    // WordNet's own rules of detachment for nouns, verbs and adjectives.
    private static readonly (string Suffix, string Ending)[] detachments =
    [
        ("s", ""), ("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"), ("men", "man"), ("ies", "y"),
        ("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", ""),
        ("er", ""), ("est", ""), ("er", "e"), ("est", "e"),
    ];

    private readonly Dictionary<string, int[]> sets = [];
    private readonly Dictionary<string, List<string>> exceptions = [];

    private WordNet() { }

    /// <summary>Number of words and collocations.</summary>
    public int Count => sets.Count;

    /// <summary>
    /// Reads a directory: WordNet's own (<c>index.noun</c>, <c>noun.exc</c> and so on, as in <c>/usr/share/wordnet</c>; or one
    /// that has it as <c>dict</c>), or METEOR's <c>synonym</c> (<c>english.synsets</c>, <c>english.exceptions</c>).
    /// </summary>
    /// <exception cref="NolaException">The directory or a file of it is missing, or a line is of another form.</exception>
    public static WordNet Read(string directory)
    {
        if (!Directory.Exists(directory))
            throw new NolaException(
                $"{directory}: there is no such WordNet directory; expected one with index.noun, or METEOR's with english.synsets.");
        if (!File.Exists(Path.Combine(directory, "index.noun")) && File.Exists(Path.Combine(directory, "dict", "index.noun")))
            directory = Path.Combine(directory, "dict");
        WordNet result = new();
        if (File.Exists(Path.Combine(directory, "english.synsets"))) result.ReadMeteor(directory);
        else result.ReadDatabase(directory);
        return result;
    }

    /// <summary>The sets of a word and of the words that it may be a form of.</summary>
    internal IReadOnlySet<int> Sets(string word)
    {
        HashSet<int> found = [.. Lookup(word)];
        if (exceptions.TryGetValue(word, out List<string>? bases))
            foreach (string b in bases) found.UnionWith(Lookup(b));
        else found.UnionWith(Lookup(BaseForm(word)));
        return found;
    }

    private int[] Lookup(string word) => sets.GetValueOrDefault(word, []);

    private string BaseForm(string word)
    {
        if (word.EndsWith("ss", StringComparison.Ordinal) || word.Length <= 2) return word;
        foreach ((string suffix, string ending) in detachments)
        {
            if (!word.EndsWith(suffix, StringComparison.Ordinal)) continue;
            string form = word[..^suffix.Length] + ending;
            if (sets.ContainsKey(form)) return word.EndsWith("ful", StringComparison.Ordinal) ? form + "ful" : form;
        }
        return "";
    }

    private void ReadMeteor(string directory)
    {
        ReadPairs(
            Path.Combine(directory, "english.synsets"), (word, offsets, place) => sets[word] = [.. offsets.Select(o => Offset(o, place))]);
        ReadPairs(Path.Combine(directory, "english.exceptions"), (word, forms, _) =>
        {
            foreach (string form in forms) AddException(form, word);
        });
    }

    private void ReadDatabase(string directory)
    {
        foreach (string part in partsOfSpeech)
        {
            foreach ((string[] fields, string place) in Lines(Path.Combine(directory, "index." + part))) AddWord(fields, place);
            foreach ((string[] fields, _) in Lines(Path.Combine(directory, part + ".exc")))
                foreach (string b in fields.Skip(1)) AddException(fields[0], b);
        }
    }

    // lemma, part of speech, number of sets, number of pointers, pointers, number of senses, of tagged ones, offsets
    private void AddWord(string[] fields, string place)
    {
        if (fields.Length < 4 || !int.TryParse(fields[2], NumberStyles.None, CultureInfo.InvariantCulture, out int count)
            || count == 0 || count > fields.Length - 4)
            throw new NolaException($"{place}: not a line of a WordNet index; "
                + "a word, its part of speech, the number of its sets and their offsets are expected.");
        int[] offsets = [.. fields[^count..].Select(o => Offset(o, place))];
        sets[fields[0]] = sets.TryGetValue(fields[0], out int[]? others) ? [.. others, .. offsets] : offsets;
    }

    private void AddException(string form, string word)
    {
        if (!exceptions.TryGetValue(form, out List<string>? bases)) exceptions[form] = bases = [];
        bases.Add(word);
    }

    private static int Offset(string text, string place) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int offset)
            ? offset
            : throw new NolaException($"{place}: '{text}' is not the offset of a WordNet set; expected a whole number.");

    private static void ReadPairs(string path, Action<string, string[], string> add)
    {
        string? word = null;
        foreach ((string[] fields, string place) in Lines(path))
        {
            if (word is null) word = fields[0];
            else
            {
                add(word, fields, place);
                word = null;
            }
        }
        if (word is not null) throw new NolaException($"{path}: '{word}' has no line after it; two lines are expected for each word.");
    }

    /// <summary>The fields of each line that is not of the license (which begins with spaces).</summary>
    private static IEnumerable<(string[] Fields, string Place)> Lines(string path)
    {
        if (!File.Exists(path))
            throw new NolaException($"{path}: there is no such file, but a WordNet directory has it; "
                + "expected index.noun, noun.exc and so on, or METEOR's english.synsets and english.exceptions.");
        using TextInput reader = TextInput.Open(path);
        for (int number = 1; reader.ReadLine() is { } line; number++)
        {
            if (line.Length > 0 && line[0] != ' ')
                yield return (line.Split(' ', StringSplitOptions.RemoveEmptyEntries), $"{path}, line {number}");
        }
    }
}
