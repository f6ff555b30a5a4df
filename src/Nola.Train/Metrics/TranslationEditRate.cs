using System.Runtime.CompilerServices;

namespace Nola.Train.Metrics;

/// <summary>
/// Translation edit rate (Snover et al. 2006) as GenerationEval computes it with pyter, ≥ 0, lower is better: edits (a word
/// inserted, deleted or substituted, or a phrase shifted) over the reference's length, the least over the references,
/// averaged over outputs. A blank reference of a file counts 1. Words are what stands between white space.
/// </summary>
/// <remarks>
/// Shifts are greedy: of all phrases of the output that are also in the reference at another place, the one whose move to
/// that place lowers the edit distance most, until none lowers it; among equal moves, the one whose outcome is last in
/// alphabetical order. Texts of some four hundred words each may be too long for this search, and are refused then.
/// </remarks>
public sealed class TranslationEditRate : IMetric
{
    // A step is a symbol of one text beside 64 of the other; so many take a second or two.
    private const long MostSteps = 300_000_000;

    // A phrase that may be shifted is found, kept and sorted in about this time, besides what its words take.
    private const int StepsOfShift = 256;

    /// <inheritdoc/>
    public string Name => "TER";

    /// <inheritdoc/>
    public Score Score(Corpus corpus)
    {
        double[] segments = SideBySide.Of(corpus.Count, i =>
            Segment(corpus.Hypotheses[i], corpus.AllReferences[i], new(Name, i, MostSteps)));
        return new(
            Name, segments.Average(), segments,
            new(corpus, "pyter-0.3", ("case", "mixed"), ("tok", "none"), ("refs", "best"), ("avg", "segments")));
    }

    private static double Segment(string hypothesis, IReadOnlyList<string> references, SearchBudget budget)
    {
        string[] output = UnicodeText.Words(hypothesis);
        double best = double.PositiveInfinity;
        foreach ((string[] words, double least) in references.Select(r => WithLeast(output, UnicodeText.Words(r))).OrderBy(r => r.Least))
            if (least < best) best = Math.Min(best, words.Length == 0 ? 1 : (double)Edits(output, words, budget) / words.Length);
        return best;
    }

    private static (string[] Words, double Least) WithLeast(string[] output, string[] reference) =>
        (reference, reference.Length == 0 ? 1 : (double)LeastEdits(output, reference) / reference.Length);

    // No shift changes which words there are, so that a reference needs an edit at least for every word not in common.
    private static int LeastEdits(string[] output, string[] reference)
    {
        Dictionary<string, int> left = output.CountBy(w => w).ToDictionary();
        int common = 0;
        foreach (string word in reference)
            if (left.TryGetValue(word, out int count) && count > 0)
            {
                left[word] = count - 1;
                common++;
            }
        return Math.Max(output.Length, reference.Length) - common;
    }

    private static int Edits(string[] output, string[] reference, SearchBudget budget)
    {
        Dictionary<string, int> ranks = Ranks(output.Concat(reference));
        int[] words = [.. output.Select(w => ranks[w])], target = [.. reference.Select(w => ranks[w])];
        ILookup<int, int> places = Enumerable.Range(0, target.Length).ToLookup(i => target[i]);
        EditDistance distance = new(target, ranks.Count);
        int done = 0, left = distance.To(words), least = LeastEdits(output, reference);
        while (left > least)
        {
            List<Shift> shifts = Shifts(words, target, places, budget);
            if (BestShift(words, shifts, distance, left, budget) is not (int after, int[] shifted)) break;
            (words, left) = (shifted, after);
            done++;
        }
        return done + left;
    }

    // Of the shifts that lower the distance, the one that lowers it most.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static (int Distance, int[] Words)? BestShift(
        int[] words, List<Shift> shifts, EditDistance distance, int left, SearchBudget budget)
    {
        int[] shifted = new int[words.Length], best = new int[words.Length];
        int most = left - 1;
        bool found = false;
        // Where much can be gained comes first, so that those that can gain less need not be tried.
        shifts.Sort((a, b) => b.Gain.CompareTo(a.Gain));
        foreach (Shift shift in shifts)
        {
            if (left - shift.Gain > most) break;
            Move(words, shift, shifted);
            // A word between its equals can be moved without a change.
            if (shifted.AsSpan().SequenceEqual(words)) continue;
            budget.Spend(distance.Steps(words.Length));
            int after = distance.To(shifted);
            if (after > most || (found && after == most && shifted.AsSpan().SequenceCompareTo(best) < 0)) continue;
            (most, found) = (after, true);
            (best, shifted) = (shifted, best);
        }
        return found ? (most, best) : null;
    }

    // Every phrase that is in the reference too, as long as they agree, to each place that it has there.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static List<Shift> Shifts(int[] words, int[] target, ILookup<int, int> places, SearchBudget budget)
    {
        List<Shift> shifts = [];
        for (int from = 0; from < words.Length; from++)
            foreach (int to in places[words[from]])
            {
                int length = words.AsSpan(from).CommonPrefixLength(target.AsSpan(to));
                budget.Spend(StepsOfShift + (words.Length + length) / 8);
                Shift shift = new(from, Math.Min(to, words.Length - length), length);
                if (shift.Gain > 0) shifts.Add(shift);
            }
        return shifts;
    }

    // Takes a phrase out and puts it back.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Move(int[] words, Shift shift, int[] result)
    {
        (int from, int to, int length) = shift;
        words.CopyTo(result, 0);
        // What is between the two places makes room.
        if (to < from) words.AsSpan(to..from).CopyTo(result.AsSpan(to + length));
        else words.AsSpan((from + length)..(to + length)).CopyTo(result.AsSpan(from));
        words.AsSpan(from, length).CopyTo(result.AsSpan(to));
    }

    /// <summary>Words numbered in the order of their code points, so that numbers compare as words do.</summary>
    private static Dictionary<string, int> Ranks(IEnumerable<string> words)
    {
        string[] sorted = [.. words.Distinct()];
        Array.Sort(sorted, (a, b) => ComparePoints(a, b));
        return sorted.Select((word, rank) => (word, rank)).ToDictionary(w => w.word, w => w.rank);
    }

    private static int ComparePoints(string a, string b)
    {
        for (int i = 0; i < Math.Min(a.Length, b.Length); i++)
            if (a[i] != b[i])
                return char.IsSurrogate(a[i]) != char.IsSurrogate(b[i])
                    ? char.IsSurrogate(a[i]).CompareTo(char.IsSurrogate(b[i]))
                    : a[i].CompareTo(b[i]);
        return a.Length.CompareTo(b.Length);
    }

    /// <summary>A phrase that is moved.</summary>
    /// <param name="From">Where it begins.</param>
    /// <param name="To">Where it begins afterwards.</param>
    /// <param name="Length">Its words.</param>
    private readonly record struct Shift(int From, int To, int Length)
    {
        /// <summary>By how much it can lower the distance: it is undone by that many edits, of the phrase or of what it passes.</summary>
        public int Gain => 2 * Math.Min(Length, Math.Abs(To - From));
    }
}
