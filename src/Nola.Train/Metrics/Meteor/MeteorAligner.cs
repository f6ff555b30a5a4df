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
    private readonly List<MeteorMatch>[] candidates;
    private readonly int[] outputCoverage, referenceCoverage;

    public MeteorAligner(MeteorWord[] output, MeteorWord[] reference, ParaphraseTable? paraphrases)
    {
        (Output, Reference) = (output, reference);
        candidates = [.. reference.Select(_ => new List<MeteorMatch>())];
        (outputCoverage, referenceCoverage) = (new int[output.Length], new int[reference.Length]);
        Find(MeteorStage.Exact);
        if (!output.AsSpan().SequenceEqual(reference))
        {
            Find(MeteorStage.Stem);
            Find(MeteorStage.Synonym);
            if (paraphrases is not null) FindParaphrases(paraphrases);
        }
        Matches = Search();
    }

    public MeteorWord[] Output { get; }

    public MeteorWord[] Reference { get; }

    /// <summary>The match that begins at each word of the reference, if any.</summary>
    public MeteorMatch?[] Matches { get; }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Find(MeteorStage stage)
    {
        for (int r = 0; r < Reference.Length; r++)
            for (int o = 0; o < Output.Length; o++)
                if (Match(stage, Output[o], Reference[r])) Add(new(stage, r, 1, o, 1));
    }

    // Equal words are one object; the later stages match different ones.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static bool Match(MeteorStage stage, MeteorWord a, MeteorWord b) => stage switch
    {
        MeteorStage.Exact => ReferenceEquals(a, b),
        MeteorStage.Stem => !ReferenceEquals(a, b) && a.Stem == b.Stem,
        _ => !ReferenceEquals(a, b) && a.SharesSet(b),
    };

    private void FindParaphrases(ParaphraseTable table)
    {
        foreach ((int start, int length, int otherStart, int otherLength) in table.Find(Reference, Output)) Add(new(MeteorStage.Paraphrase, start, length, otherStart, otherLength));
        foreach ((int start, int length, int otherStart, int otherLength) in table.Find(Output, Reference)) Add(new(MeteorStage.Paraphrase, otherStart, otherLength, start, length));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Add(MeteorMatch match)
    {
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
        MeteorBeam beam = new();
        beam.Add(start);
        for (int at = 0; at < candidates.Length; at++)
        {
            MeteorBeam next = new();
            foreach (MeteorPath path in beam.Paths) Extend(path, at, certain, next);
            if (next.Paths.Count == 0) next.Add(beam.Paths[0]);
            beam = next;
        }
        MeteorBeam complete = new();
        foreach (MeteorPath path in beam.Paths)
        {
            path.EndChunk();
            complete.Add(path);
        }
        MeteorPath best = complete.Paths[0];
        MeteorMatch?[] matches = [.. certain];
        for (MeteorPath.Link? link = best.Chosen; link is not null; link = link.Previous) matches[link.Match.ReferenceStart] = link.Match;
        return matches;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private bool IsAlone(MeteorMatch match) =>
        !outputCoverage.AsSpan(match.OutputStart, match.OutputLength).ContainsAnyExcept(1) && !referenceCoverage.AsSpan(match.ReferenceStart, match.ReferenceLength).ContainsAnyExcept(1);

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Extend(MeteorPath path, int at, MeteorMatch?[] certain, MeteorBeam next)
    {
        if (path.UsesReference(at))
        {
            if (at < path.Index) next.Add(path);
            else if (certain[path.Index] is { } match)
            {
                path.Count(match);
                path.Distance += Math.Abs(match.ReferenceStart - match.OutputStart);
                next.Add(path);
            }
            return;
        }
        foreach (MeteorMatch match in candidates[at])
        {
            if (path.Conflicts(match)) continue;
            MeteorPath branch = path.Branch(match);
            branch.Count(match);
            next.Add(branch);
            path.Distance += Math.Abs(match.ReferenceStart - match.OutputStart);
        }
        path.Skip();
        next.Add(path);
    }
}
