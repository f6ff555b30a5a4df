using System.Runtime.CompilerServices;

namespace Nola.Train.Metrics;

/// <summary>A partial alignment: what is matched so far, and how good that is.</summary>
internal sealed class MeteorPath
{
    private readonly ulong[] used;              // bits: words of the output, then words of the reference
    private readonly int outputWords;
    private int outputMatches, referenceMatches, chunks, lastEnd = -1;

    public MeteorPath(int outputWords, int referenceWords)
    {
        this.outputWords = outputWords;
        used = new ulong[(outputWords + referenceWords + 63) / 64];
    }

    private MeteorPath(MeteorPath path, MeteorMatch match)
    {
        used = [.. path.used];
        (outputWords, outputMatches, referenceMatches, chunks, lastEnd) = (path.outputWords, path.outputMatches, path.referenceMatches, path.chunks, path.lastEnd);
        (Index, Distance, Chosen) = (path.Index, path.Distance, new(match, path.Chosen));
    }

    /// <summary>More words matched, else fewer chunks, else the shorter distance.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public bool IsBetterThan(MeteorPath other)
    {
        int more = outputMatches + referenceMatches - other.outputMatches - other.referenceMatches;
        if (more != 0) return more > 0;
        return chunks != other.chunks ? chunks < other.chunks : Distance < other.Distance;
    }

    /// <summary>The reference's first word that is not decided yet.</summary>
    public int Index { get; private set; }

    public int Distance { get; set; }

    /// <summary>The matches chosen, last first, beside the certain ones.</summary>
    public Link? Chosen { get; }

    /// <summary>This path with one match more.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public MeteorPath Branch(MeteorMatch match)
    {
        MeteorPath branch = new(this, match);
        branch.Use(match);
        return branch;
    }

    public bool UsesReference(int word) => IsUsed(outputWords + word);

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public bool Conflicts(MeteorMatch match)
    {
        for (int i = 0; i < match.ReferenceLength; i++)
            if (IsUsed(outputWords + match.ReferenceStart + i)) return true;
        for (int i = 0; i < match.OutputLength; i++)
            if (IsUsed(match.OutputStart + i)) return true;
        return false;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Use(MeteorMatch match)
    {
        for (int i = 0; i < match.ReferenceLength; i++) SetUsed(outputWords + match.ReferenceStart + i);
        for (int i = 0; i < match.OutputLength; i++) SetUsed(match.OutputStart + i);
    }

    /// <summary>Counts a match and moves behind it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Count(MeteorMatch match)
    {
        // Cut to integers each time, so that a single half is worth nothing.
        outputMatches = (int)(outputMatches + match.OutputLength * match.Stage.SearchWeight());
        referenceMatches = (int)(referenceMatches + match.ReferenceLength * match.Stage.SearchWeight());
        if (lastEnd != -1 && match.OutputStart != lastEnd) chunks++;
        Index = match.ReferenceStart + match.ReferenceLength;
        lastEnd = match.OutputStart + match.OutputLength;
    }

    /// <summary>Leaves the current word of the reference without a match.</summary>
    public void Skip()
    {
        EndChunk();
        Index++;
    }

    public void EndChunk()
    {
        if (lastEnd == -1) return;
        chunks++;
        lastEnd = -1;
    }

    private bool IsUsed(int bit) => (used[bit / 64] >> (bit % 64) & 1) != 0;

    private void SetUsed(int bit) => used[bit / 64] |= 1UL << (bit % 64);

    /// <summary>A list that paths share up to where they part.</summary>
    public sealed record Link(MeteorMatch Match, Link? Previous);
}
