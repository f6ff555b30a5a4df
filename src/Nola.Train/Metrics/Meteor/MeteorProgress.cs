namespace Nola.Train.Metrics;

/// <summary>How far a partial alignment is, and how good.</summary>
internal struct MeteorProgress()
{
    private int outputMatches, referenceMatches, chunks, lastEnd = -1;

    /// <summary>The reference's first word that is not decided yet.</summary>
    public int Index { get; private set; }

    /// <summary>How far the matches go aside, summed.</summary>
    public int Distance { get; set; }

    /// <summary>More words matched, else fewer chunks, else the shorter distance.</summary>
    public readonly bool IsBetterThan(in MeteorProgress other)
    {
        int more = outputMatches + referenceMatches - other.outputMatches - other.referenceMatches;
        if (more != 0) return more > 0;
        return chunks != other.chunks ? chunks < other.chunks : Distance < other.Distance;
    }

    /// <summary>Counts a match and moves behind it.</summary>
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

    /// <summary>Counts the chunk that the last match was in.</summary>
    public void EndChunk()
    {
        if (lastEnd == -1) return;
        chunks++;
        lastEnd = -1;
    }
}
