using System.Text.RegularExpressions;
using Nola.Tensors;

namespace Nola.Train.Metrics;

/// <summary>
/// Slot error rate: of the slots of all contexts, how many an output leaves out, gives another value, or adds, in percent. Outputs are
/// read by patterns, as Dušek, Howcroft and Rieser (2019) do: for the attributes of E2E by what their values are said as, for others
/// by the value itself. A value that is said twice counts once.
/// </summary>
internal sealed class SlotErrorRate : IMetric
{
    /// <inheritdoc/>
    public string Name => "SER";

    /// <inheritdoc/>
    public Score Score(Corpus corpus)
    {
        IReadOnlyList<string> contexts = corpus.Contexts
            ?? throw new NolaException("SER compares outputs with their contexts, and there are none; give the data set that was decoded.")
            {
                Options = ["Prompts"],
            };
        Slot[][] given = [.. contexts.Select(Slots)];
        SlotPatterns patterns = new(given.SelectMany(slots => slots));
        double[] segments = new double[given.Length];
        int slots = 0, errors = 0;
        for (int i = 0; i < given.Length; i++)
        {
            SlotErrors found = patterns.Compare(given[i], corpus.Hypotheses[i]);
            (slots, errors) = (slots + given[i].Length, errors + found.All);
            segments[i] = given[i].Length == 0 ? 0 : 100.0 * found.All / given[i].Length;
        }
        if (slots == 0) throw new NolaException("SER: no context has a slot, name : value; this data set cannot be scored with it.");
        return new Score(Name, 100.0 * errors / slots, segments, new Signature(corpus, "Dušek et al. 2019, own patterns", []));
    }

    /// <summary>The slots of a context: <c>name : value | name : value</c>, or E2E's <c>name[value], name[value]</c>.</summary>
    internal static Slot[] Slots(string context)
    {
        string text = context.Contains('[') && !context.Contains(" : ", StringComparison.Ordinal)
            ? MeaningRepresentation.Linearise(context, "SER")
            : context;
        return [.. text.Split('|').Select(part => part.Split(" : ", 2)).Where(part => part.Length == 2).Select(Slot.Of)];
    }
}

/// <summary>An attribute with its value, of a context.</summary>
/// <param name="Name">The attribute, in lower case.</param>
/// <param name="Value">The value as it is written there.</param>
internal readonly record struct Slot(string Name, string Value)
{
    /// <summary>Of a name and a value.</summary>
    public static Slot Of(string[] part) => new(part[0].Trim().ToLowerInvariant(), part[1].Trim());
}

/// <summary>What an output says of its context's slots otherwise than they are.</summary>
/// <param name="Missing">Slots that it does not say.</param>
/// <param name="Wrong">Slots that it gives another value.</param>
/// <param name="Added">Values that it says beside them.</param>
internal readonly record struct SlotErrors(int Missing, int Wrong, int Added)
{
    /// <summary>All together.</summary>
    public int All => Missing + Wrong + Added;
}

/// <summary>What the values of a data set's attributes look like in text.</summary>
internal sealed class SlotPatterns
{
    private readonly Dictionary<string, List<(string Value, Regex Said)>> attributes = [];

    /// <summary>Patterns for attributes, of the values that they have in a data set and that E2E's have in all.</summary>
    public SlotPatterns(IEnumerable<Slot> slots)
    {
        foreach (Slot slot in slots.Distinct())
        {
            if (!attributes.TryGetValue(slot.Name, out List<(string Value, Regex Said)>? values))
                attributes[slot.Name] = values = E2ERealizations.Of(slot.Name) is { } known ? [.. known] : [];
            if (!values.Exists(value => Same(value.Value, slot.Value))) values.Add((slot.Value, Itself(slot.Value)));
        }
    }

    /// <summary>Compares an output with its context.</summary>
    public SlotErrors Compare(Slot[] given, string output)
    {
        List<Place> places = Clear([.. Said(output)], given);
        (int missing, int wrong, int added) = (0, 0, 0);
        foreach (string name in given.Select(slot => slot.Name).Union(places.Select(place => place.Name)))
        {
            HashSet<string> wanted = Values(given.Where(slot => slot.Name == name).Select(slot => slot.Value));
            HashSet<string> said = Values(places.Where(place => place.Name == name).Select(place => place.Value));
            int left = wanted.Count(value => !said.Contains(value)), over = said.Count(value => !wanted.Contains(value));
            // One that is left out and one that is there in its place are one error.
            int other = Math.Min(left, over);
            (missing, wrong, added) = (missing + left - other, wrong + other, added + over - other);
        }
        return new(missing, wrong, added);
    }

    private static HashSet<string> Values(IEnumerable<string> values) => new(values, StringComparer.OrdinalIgnoreCase);

    private static bool Same(string a, string b) => string.Equals(a, b, StringComparison.OrdinalIgnoreCase);

    // The value as a whole, in any case, with any spaces between its words.
    private static Regex Itself(string value)
    {
        string words = string.Join(@"\s*", value.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(Regex.Escape));
        return new($@"(?<!\w){words}(?!\w)", RegexOptions.IgnoreCase | RegexOptions.CultureInvariant);
    }

    private IEnumerable<Place> Said(string output)
    {
        foreach ((string name, List<(string Value, Regex Said)> values) in attributes)
            foreach ((string value, Regex said) in values)
                foreach (Match match in said.Matches(output))
                    yield return new Place(name, value, match.Index, match.Index + match.Length);
    }

    // A part of what says something else says nothing: the "café" of a name is no coffee shop. Where the same words say several
    // values, they say the one that is wanted.
    private static List<Place> Clear(List<Place> places, Slot[] given)
    {
        bool Wanted(Place place) => given.Any(slot => slot.Name == place.Name && Same(slot.Value, place.Value));
        List<Place> kept = [];
        foreach (Place place in places.OrderByDescending(Wanted))
            if (!kept.Exists(other => other.Start == place.Start && other.End == place.End) && !places.Exists(other => other.Holds(place)))
                kept.Add(place);
        return kept;
    }

    // Where an output says a value.
    private readonly record struct Place(string Name, string Value, int Start, int End)
    {
        public bool Holds(Place other) => Start <= other.Start && End >= other.End && End - Start > other.End - other.Start;
    }
}
