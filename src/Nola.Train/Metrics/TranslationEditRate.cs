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
/// alphabetical order.
/// </remarks>
public sealed class TranslationEditRate : IMetric
{
    /// <inheritdoc/>
    public string Name => "TER";

    /// <inheritdoc/>
    public Score Score(Corpus corpus)
    {
        double[] segments = new double[corpus.Count];
        Parallel.For(0, segments.Length, i => segments[i] = Segment(corpus.Hypotheses[i], corpus.AllReferences[i]));
        return new(Name, segments.Average(), segments, new(corpus, "pyter-0.3", ("case", "mixed"), ("tok", "none"), ("refs", "best"), ("avg", "segments")));
    }

    private static double Segment(string hypothesis, IReadOnlyList<string> references)
    {
        string[] output = UnicodeText.Words(hypothesis);
        double best = double.PositiveInfinity;
        foreach ((string[] words, double least) in references.Select(r => WithLeast(output, UnicodeText.Words(r))).OrderBy(r => r.Least))
            if (least < best) best = Math.Min(best, words.Length == 0 ? 1 : (double)Edits(output, words) / words.Length);
        return best;
    }

    // No shift changes which words there are, so that a reference needs an edit at least for every word not in common.
    private static (string[] Words, double Least) WithLeast(string[] output, string[] reference)
    {
        Dictionary<string, int> left = output.CountBy(w => w).ToDictionary();
        int common = 0;
        foreach (string word in reference)
            if (left.TryGetValue(word, out int count) && count > 0)
            {
                left[word] = count - 1;
                common++;
            }
        return (reference, reference.Length == 0 ? 1 : (double)(Math.Max(output.Length, reference.Length) - common) / reference.Length);
    }

    private static int Edits(string[] output, string[] reference)
    {
        Dictionary<string, int> ranks = Ranks(output.Concat(reference));
        int[] words = [.. output.Select(w => ranks[w])], target = [.. reference.Select(w => ranks[w])];
        EditDistance distance = new(target, ranks.Count);
        int shifts = 0, left = distance.To(words);
        while (BestShift(words, target, distance) is (int after, int[] shifted) && after < left)
        {
            shifts++;
            (words, left) = (shifted, after);
        }
        return shifts + left;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static (int Distance, int[] Words)? BestShift(int[] words, int[] target, EditDistance distance)
    {
        (int Distance, int[] Words)? best = null;
        int[] shifted = new int[words.Length];
        for (int from = 0; from < words.Length; from++)
            for (int to = 0; to < target.Length; to++)
            {
                if (from == to || words[from] != target[to]) continue;
                int length = 1;
                while (from + length < words.Length && to + length < target.Length && words[from + length] == target[to + length]) length++;
                Move(words, from, Math.Min(to, words.Length - length), length, shifted);
                int after = distance.To(shifted);
                if (best is not { } b || after < b.Distance || (after == b.Distance && shifted.AsSpan().SequenceCompareTo(b.Words) > 0)) best = (after, [.. shifted]);
            }
        return best;
    }

    /// <summary>Takes a phrase out and puts it back so that it begins at <paramref name="to"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Move(int[] words, int from, int to, int length, int[] result)
    {
        int kept = 0;
        for (int i = 0; i < words.Length; i++)
        {
            if (i >= from && i < from + length) continue;
            result[kept < to ? kept : kept + length] = words[i];
            kept++;
        }
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
            if (a[i] != b[i]) return char.IsSurrogate(a[i]) != char.IsSurrogate(b[i]) ? char.IsSurrogate(a[i]).CompareTo(char.IsSurrogate(b[i])) : a[i].CompareTo(b[i]);
        return a.Length.CompareTo(b.Length);
    }
}
