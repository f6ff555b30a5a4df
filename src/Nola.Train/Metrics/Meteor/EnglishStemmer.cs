using System.Text;

namespace Nola.Train.Metrics;

/// <summary>
/// The Snowball stemmer for English (Porter2) in the version of METEOR 1.5, which knows three exceptional prefixes
/// (gener-, commun-, arsen-). Input is in lower case.
/// </summary>
internal sealed class EnglishStemmer
{
    private const string Vowels = "aeiouy", ConsonantsBeforeLi = "cdeghkmnrt";

    private static readonly Dictionary<string, string> whole = new (string Word, string Stem)[]
    {
        ("skis", "ski"), ("skies", "sky"), ("dying", "die"), ("lying", "lie"), ("tying", "tie"),
        ("idly", "idl"), ("gently", "gentl"), ("ugly", "ugli"), ("early", "earli"),
        ("only", "onli"), ("singly", "singl"), ("sky", "sky"), ("news", "news"), ("howe", "howe"),
        ("atlas", "atlas"), ("cosmos", "cosmos"), ("bias", "bias"), ("andes", "andes"),
    }.ToDictionary(e => e.Word, e => e.Stem);

    private static readonly HashSet<string> afterPlural =
    [
        "inning", "outing", "canning", "herring", "earring", "proceed", "exceed", "succeed",
    ];

    private static readonly (string Suffix, string Ending)[] longSuffixes =
    [
        ("ational", "ate"), ("fulness", "ful"), ("iveness", "ive"), ("ization", "ize"),
        ("ousness", "ous"), ("biliti", "ble"), ("lessli", "less"), ("tional", "tion"),
        ("alism", "al"), ("aliti", "al"), ("ation", "ate"), ("entli", "ent"), ("fulli", "ful"), ("iviti", "ive"), ("ousli", "ous"),
        ("abli", "able"), ("alli", "al"), ("anci", "ance"), ("ator", "ate"),
        ("enci", "ence"), ("izer", "ize"), ("bli", "ble"), ("ogi", "og"), ("li", ""),
    ];

    private static readonly (string Suffix, string Ending)[] shorterSuffixes =
        [
            ("ational", "ate"),
            ("tional", "tion"),
            ("alize", "al"),
            ("ative", ""),
            ("icate", "ic"),
            ("iciti", "ic"),
            ("ical", "ic"),
            ("ness", ""),
            ("ful", ""),
        ];

    private static readonly string[] lastSuffixes =
    [
        "ement", "able", "ance", "ence", "ible", "ment", "ant", "ate", "ent", "ion", "ism", "iti", "ive", "ize", "ous", "al", "er", "ic",
    ];

    private readonly StringBuilder word;
    private int region1, region2;

    private EnglishStemmer(string text) => word = new(text);

    /// <summary>The stem of a word.</summary>
    public static string Stem(string text)
    {
        if (whole.TryGetValue(text, out string? known)) return known;
        if (text.Length < 3) return text;
        EnglishStemmer stemmer = new(text);
        stemmer.Run();
        return stemmer.word.ToString();
    }

    private void Run()
    {
        if (word[0] == '\'') word.Remove(0, 1);
        MarkConsonantY();
        FindRegions();
        DropGenitive();
        DropPlural();
        if (!afterPlural.Contains(word.ToString()))
        {
            DropPastAndParticiple();
            if (word.Length > 2 && word[^1] is 'y' or 'Y' && !IsVowel(word.Length - 2)) word[^1] = 'i';
            ReplaceLongSuffix();
            ReplaceShorterSuffix();
            DropLastSuffix();
            DropFinalLetter();
        }
        word.Replace('Y', 'y');
    }

    private void MarkConsonantY()
    {
        for (int i = 0; i < word.Length; i++)
            if (word[i] == 'y' && (i == 0 || IsVowel(i - 1))) word[i] = 'Y';
    }

    // What is behind the first consonant after a vowel, and the same within that.
    private void FindRegions()
    {
        string text = word.ToString();
        string? prefix = Array.Find(["gener", "commun", "arsen"], p => text.StartsWith(p, StringComparison.Ordinal));
        region1 = prefix?.Length ?? Region(0);
        region2 = Region(region1);
    }

    private int Region(int from)
    {
        int i = from;
        while (i < word.Length && !IsVowel(i)) i++;
        while (i < word.Length && IsVowel(i)) i++;
        return Math.Min(word.Length, i + 1);
    }

    private void DropGenitive()
    {
        string? suffix = Array.Find(["'s'", "'s", "'"], Ends);
        if (suffix is not null) Cut(suffix.Length);
    }

    private void DropPlural()
    {
        if (Ends("sses")) Cut(2);
        else if (Ends("ied") || Ends("ies")) Cut(word.Length > 4 ? 2 : 1);
        else if (!Ends("us") && !Ends("ss") && Ends("s") && HasVowel(word.Length - 2)) Cut(1);
    }

    private void DropPastAndParticiple()
    {
        string? suffix = Array.Find(["eedly", "ingly", "edly", "eed", "ing", "ed"], Ends);
        if (suffix is null) return;
        int start = word.Length - suffix.Length;
        if (suffix.StartsWith("eed", StringComparison.Ordinal))
        {
            if (start >= region1) Replace(suffix, "ee");
            return;
        }
        if (!HasVowel(start)) return;
        Cut(suffix.Length);
        if (Ends("at") || Ends("bl") || Ends("iz")) word.Append('e');
        else if (word.Length > 1 && word[^1] == word[^2] && "bdfgmnprt".Contains(word[^1])) Cut(1);
        else if (region1 >= word.Length && EndsShort(word.Length)) word.Append('e');
    }

    private void ReplaceLongSuffix()
    {
        (string suffix, string ending) = Array.Find(longSuffixes, s => Ends(s.Suffix));
        if (suffix is null || word.Length - suffix.Length < region1) return;
        char before = word.Length > suffix.Length ? word[^(suffix.Length + 1)] : '\0';
        if (suffix == "ogi" && before != 'l') return;
        if (suffix == "li" && !ConsonantsBeforeLi.Contains(before)) return;
        Replace(suffix, ending);
    }

    private void ReplaceShorterSuffix()
    {
        (string suffix, string ending) = Array.Find(shorterSuffixes, s => Ends(s.Suffix));
        if (suffix is null || word.Length - suffix.Length < (suffix == "ative" ? Math.Max(region1, region2) : region1)) return;
        Replace(suffix, ending);
    }

    private void DropLastSuffix()
    {
        string? suffix = Array.Find(lastSuffixes, Ends);
        if (suffix is null || word.Length - suffix.Length < region2) return;
        if (suffix == "ion" && !(word.Length > 3 && word[^4] is 's' or 't')) return;
        Cut(suffix.Length);
    }

    private void DropFinalLetter()
    {
        int last = word.Length - 1;
        if (last < 0) return;
        if (word[last] == 'e'
            ? last >= region2 || (last >= region1 && !EndsShort(last))
            : word[last] == 'l' && last >= region2 && last > 0 && word[last - 1] == 'l')
            Cut(1);
    }

    /// <summary>
    /// Whether the first letters end in a short syllable:
    /// consonant, vowel, consonant but w, x and Y; or a vowel and a consonant alone.
    /// </summary>
    private bool EndsShort(int length) =>
        length > 2 ? !IsVowel(length - 3) && IsVowel(length - 2) && !IsVowel(length - 1) && word[length - 1] is not ('w' or 'x' or 'Y')
        : length == 2 && IsVowel(0) && !IsVowel(1);

    private bool IsVowel(int at) => Vowels.Contains(word[at]);

    private bool HasVowel(int end)
    {
        for (int i = 0; i < end; i++)
            if (IsVowel(i)) return true;
        return false;
    }

    private bool Ends(string suffix)
    {
        if (word.Length < suffix.Length) return false;
        for (int i = 0; i < suffix.Length; i++)
            if (word[word.Length - suffix.Length + i] != suffix[i]) return false;
        return true;
    }

    private void Replace(string suffix, string ending)
    {
        Cut(suffix.Length);
        word.Append(ending);
    }

    private void Cut(int letters) => word.Length -= letters;
}
