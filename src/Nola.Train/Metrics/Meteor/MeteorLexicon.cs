using System.Collections.Concurrent;

namespace Nola.Train.Metrics;

/// <summary>What METEOR asks of a word: its text, its stem, its synonym sets, whether it is a function word.</summary>
internal sealed class MeteorWord(string text, string stem, IReadOnlySet<int> sets, bool isFunction)
{
    // A bit for some sets each, to tell quickly that two words share none.
    private readonly ulong bits = sets.Aggregate(0UL, (all, set) => all | 1UL << (set % 64));

    public string Text => text;

    public string Stem => stem;

    public bool IsFunction => isFunction;

    public bool HasSets => bits != 0;

    public bool SharesSet(MeteorWord other) => (bits & other.bits) != 0 && sets.Overlaps(other.Sets);

    private IReadOnlySet<int> Sets => sets;
}

/// <summary>Words with what is known of them, found once each.</summary>
internal sealed class MeteorLexicon(WordNet? wordNet)
{
    private static readonly HashSet<int> none = [];
    private static readonly HashSet<string> functionWords = [.. MeteorData.Lines("function-words.txt")];

    private readonly ConcurrentDictionary<string, MeteorWord> words = new();

    public MeteorWord Get(string text) =>
        words.GetOrAdd(text, t => new(t, EnglishStemmer.Stem(t), wordNet?.Sets(t) ?? none, functionWords.Contains(t)));
}
