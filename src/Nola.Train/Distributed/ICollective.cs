namespace Nola.Train;

/// <summary>
/// Several processes (ranks) that run the same program and meet at each of these calls, all of them in the same order. A rank that is
/// waited for and does not come any more ends the wait with a <see cref="Tensors.NolaException"/> that names it.
/// </summary>
internal interface ICollective : IDisposable
{
    /// <summary>Which rank this is, from 0.</summary>
    int Rank { get; }

    /// <summary>How many there are.</summary>
    int Size { get; }

    /// <summary>Which rank of this machine this is, from 0.</summary>
    int LocalRank { get; }

    /// <summary>How many ranks are on this machine.</summary>
    int LocalSize { get; }

    /// <summary>How many ranks may use the same processors as this one, itself included.</summary>
    int Sharing { get; }

    /// <summary>One line for people: what the ranks talk through.</summary>
    string Description { get; }

    /// <summary>Gives every rank the bytes of all, those of rank 0 first. All give equally many.</summary>
    void AllGather(ReadOnlySpan<byte> mine, Span<byte> all);

    /// <summary>Gives every rank the bytes of rank 0.</summary>
    void Broadcast(Span<byte> data);

    /// <summary>Returns when all are there.</summary>
    void Barrier();

    /// <summary>
    /// Ends it where all ranks have done their work; without this call, <see cref="IDisposable.Dispose"/> leaves the others.
    /// </summary>
    void Complete();

    /// <summary>Tells the others that this rank cannot go on.</summary>
    /// <param name="sentence">Why.</param>
    /// <returns>Whether a person is told by another rank, so that this one need not.</returns>
    bool Fail(string sentence);
}

/// <summary>One process by itself: nothing waits, and nothing is sent.</summary>
internal sealed class Alone : ICollective
{
    public static readonly Alone Instance = new();

    private Alone() { }

    public int Rank => 0;

    public int Size => 1;

    public int LocalRank => 0;

    public int LocalSize => 1;

    public int Sharing => 1;

    public string Description => "one process";

    public void AllGather(ReadOnlySpan<byte> mine, Span<byte> all) => mine.CopyTo(all);

    public void Broadcast(Span<byte> data) { }

    public void Barrier() { }

    public void Complete() { }

    public bool Fail(string sentence) => false;

    public void Dispose() { }
}
