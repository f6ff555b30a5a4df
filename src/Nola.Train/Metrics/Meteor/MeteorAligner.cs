using System.Runtime.CompilerServices;

namespace Nola.Train.Metrics;

/// <summary>
/// METEOR's alignment of an output with a reference: of all matches, those that together cover most words (a match that is
/// not exact counts half), in fewest chunks, over the shortest distance, as its beam search of 40 paths finds them.
/// </summary>
/// <remarks>
/// The search is the original's, with what its integers and its order of statements do: halves are cut off at every
/// step, and a path's distance grows by all of its branches'.
/// </remarks>
internal sealed class MeteorAligner
{
    // Every path of the beam looks at every match of a word; a path is copied by this many bytes in the same time.
    private const int StepsOfMatch = 40, BytesOfStep = 64;

    private readonly SearchBudget budget;
    private readonly List<MeteorMatch>[] candidates;
    private readonly int[] outputCoverage, referenceCoverage;

    public MeteorAligner(MeteorWord[] output, MeteorWord[] reference, ParaphraseTable? paraphrases, SearchBudget budget)
    {
        (Output, Reference, this.budget) = (output, reference, budget);
        candidates = [.. reference.Select(_ => new List<MeteorMatch>())];
        (outputCoverage, referenceCoverage) = (new int[output.Length], new int[reference.Length]);
        ILookup<MeteorWord, int> words = Enumerable.Range(0, output.Length).ToLookup(o => output[o]);
        Find(MeteorStage.Exact, word => words[word]);
        if (!output.AsSpan().SequenceEqual(reference))
        {
            ILookup<string, int> stems = Enumerable.Range(0, output.Length).ToLookup(o => output[o].Stem);
            Find(MeteorStage.Stem, word => stems[word.Stem]);
            Find(MeteorStage.Synonym, Synonyms(words));
            if (paraphrases is not null) FindParaphrases(paraphrases);
        }
        Matches = Search();
    }

    public MeteorWord[] Output { get; }

    public MeteorWord[] Reference { get; }

    /// <summary>The match that begins at each word of the reference, if any.</summary>
    public MeteorMatch?[] Matches { get; }

    // Equal words are one object; the later stages match different ones.
    private void Find(MeteorStage stage, Func<MeteorWord, IEnumerable<int>> places)
    {
        for (int r = 0; r < Reference.Length; r++)
            foreach (int o in places(Reference[r]))
                if (stage == MeteorStage.Exact || !ReferenceEquals(Output[o], Reference[r])) Add(new(stage, r, 1, o, 1));
    }

    // Where the output has words of the same set, found once for each word of the reference.
    private Func<MeteorWord, IEnumerable<int>> Synonyms(ILookup<MeteorWord, int> places)
    {
        MeteorWord[] words = [.. places.Select(group => group.Key).Where(word => word.HasSets)];
        Dictionary<MeteorWord, int[]> known = [];
        return word =>
        {
            if (!word.HasSets) return [];
            if (known.TryGetValue(word, out int[]? found)) return found;
            budget.Spend(words.Length);
            return known[word] = [.. words.Where(word.SharesSet).SelectMany(w => places[w]).Order()];
        };
    }

    private void FindParaphrases(ParaphraseTable table)
    {
        foreach ((int start, int length, int otherStart, int otherLength) in table.Find(Reference, Output, budget))
            Add(new(MeteorStage.Paraphrase, start, length, otherStart, otherLength));
        foreach ((int start, int length, int otherStart, int otherLength) in table.Find(Output, Reference, budget))
            Add(new(MeteorStage.Paraphrase, otherStart, otherLength, start, length));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Add(MeteorMatch match)
    {
        budget.Spend(StepsOfMatch);
        candidates[match.ReferenceStart].Add(match);
        foreach (ref int coverage in outputCoverage.AsSpan(match.OutputStart, match.OutputLength)) coverage++;
        foreach (ref int coverage in referenceCoverage.AsSpan(match.ReferenceStart, match.ReferenceLength)) coverage++;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private MeteorMatch?[] Search()
    {
        // A match that competes with no other is certain.
        MeteorMatch?[] certain = [.. candidates.Select(c => c is [MeteorMatch only] && IsAlone(only) ? only : null)];
        MeteorPath start = new(Output.Length, Reference.Length);
        foreach (MeteorMatch? match in certain)
            if (match is not null) start.Use(match);
        MeteorBeam beam = new(start, Output.Length, Reference.Length);
        int stepsOfCopy = 1 + (Output.Length + Reference.Length) / 8 / BytesOfStep;
        for (int at = 0; at < candidates.Length; at++)
        {
            foreach (MeteorPath path in beam.Paths) Extend(path, at, certain, beam);
            budget.Spend(beam.Paths.Count + beam.Advance() * stepsOfCopy);
        }
        foreach (MeteorPath path in beam.Paths)
        {
            path.Progress.EndChunk();
            beam.Add(path, null, path.Progress);
        }
        beam.Advance();
        MeteorPath best = beam.Paths[0];
        MeteorMatch?[] matches = [.. certain];
        for (MeteorPath.Link? link = best.Chosen; link is not null; link = link.Previous) matches[link.Match.ReferenceStart] = link.Match;
        return matches;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private bool IsAlone(MeteorMatch match) =>
        !outputCoverage.AsSpan(match.OutputStart, match.OutputLength).ContainsAnyExcept(1)
            && !referenceCoverage.AsSpan(match.ReferenceStart, match.ReferenceLength).ContainsAnyExcept(1);

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Extend(MeteorPath path, int at, MeteorMatch?[] certain, MeteorBeam beam)
    {
        ref MeteorProgress progress = ref path.Progress;
        if (path.UsesReference(at))
        {
            if (at < progress.Index) beam.Add(path, null, progress);
            else if (certain[progress.Index] is { } match)
            {
                progress.Count(match);
                progress.Distance += Math.Abs(match.ReferenceStart - match.OutputStart);
                beam.Add(path, null, progress);
            }
            return;
        }
        foreach (MeteorMatch match in candidates[at])
        {
            if (path.Conflicts(match)) continue;
            MeteorProgress branch = progress;
            branch.Count(match);
            beam.Add(path, match, branch);
            progress.Distance += Math.Abs(match.ReferenceStart - match.OutputStart);
        }
        progress.Skip();
        beam.Add(path, null, progress);
    }
}
