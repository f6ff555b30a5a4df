using System.Runtime.CompilerServices;

namespace Nola.Train.Metrics;

/// <summary>A partial alignment: which words have a match so far, and how good that is.</summary>
internal sealed class MeteorPath(int outputWords, int referenceWords)
{
    // Bits: words of the output, then words of the reference.
    private readonly ulong[] used = new ulong[(outputWords + referenceWords + 63) / 64];

    /// <summary>How far it is, which is changed in place.</summary>
    public MeteorProgress Progress = new();

    /// <summary>Words of the reference that its beam was behind when the path was last in it.</summary>
    public int Words { get; set; }

    /// <summary>The matches chosen, last first, beside the certain ones.</summary>
    public Link? Chosen { get; private set; }

    /// <summary>Becomes another path with one match more.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Become(MeteorPath path, MeteorMatch match)
    {
        path.used.CopyTo(used, 0);
        Chosen = new(match, path.Chosen);
        Use(match);
    }

    /// <summary>Whether a word of the reference has a match.</summary>
    public bool UsesReference(int word) => IsUsed(outputWords + word);

    /// <summary>Whether a word of a match has another one.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public bool Conflicts(MeteorMatch match)
    {
        for (int i = 0; i < match.ReferenceLength; i++)
            if (IsUsed(outputWords + match.ReferenceStart + i)) return true;
        for (int i = 0; i < match.OutputLength; i++)
            if (IsUsed(match.OutputStart + i)) return true;
        return false;
    }

    /// <summary>Gives the words of a match to it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Use(MeteorMatch match)
    {
        for (int i = 0; i < match.ReferenceLength; i++) SetUsed(outputWords + match.ReferenceStart + i);
        for (int i = 0; i < match.OutputLength; i++) SetUsed(match.OutputStart + i);
    }

    private bool IsUsed(int bit) => (used[bit / 64] >> (bit % 64) & 1) != 0;

    private void SetUsed(int bit) => used[bit / 64] |= 1UL << (bit % 64);

    /// <summary>A list that paths share up to where they part.</summary>
    public sealed record Link(MeteorMatch Match, Link? Previous);
}
