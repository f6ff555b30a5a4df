using Nola.Train;

namespace Nola.Tests;

/// <summary>Ranks that are threads of this process, for what does not need processes.</summary>
internal sealed class ThreadRanks : ICollective
{
    private readonly Meeting meeting;

    private ThreadRanks(Meeting meeting, int rank) => (this.meeting, Rank) = (meeting, rank);

    public int Rank { get; }

    public int Size => meeting.Given.Length;

    public int LocalRank => Rank;

    public int LocalSize => Size;

    public int Sharing => Size;

    public string Description => $"{Size} threads";

    /// <summary>Runs the same on several ranks; what goes wrong in one is thrown.</summary>
    public static T[] Run<T>(int size, Func<ICollective, T> work)
    {
        Meeting meeting = new(size);
        T[] results = new T[size];
        Exception?[] errors = new Exception?[size];
        Thread[] threads = [.. Enumerable.Range(0, size).Select(rank => new Thread(() =>
        {
            try
            {
                results[rank] = work(new ThreadRanks(meeting, rank));
            }
            catch (Exception error)
            {
                errors[rank] = error;
                // Nobody waits for one that is gone.
                meeting.Barrier.RemoveParticipant();
            }
        }))];
        foreach (Thread thread in threads) thread.Start();
        foreach (Thread thread in threads) thread.Join();
        if (Array.Find(errors, error => error is not null) is { } first)
            throw new AggregateException(errors.OfType<Exception>());
        return results;
    }

    public void AllGather(ReadOnlySpan<byte> mine, Span<byte> all)
    {
        meeting.Given[Rank] = mine.ToArray();
        meeting.Barrier.SignalAndWait();
        for (int r = 0; r < Size; r++) meeting.Given[r].CopyTo(all[(r * mine.Length)..]);
        meeting.Barrier.SignalAndWait();
    }

    public void Broadcast(Span<byte> data)
    {
        if (Rank == 0) meeting.Given[0] = data.ToArray();
        meeting.Barrier.SignalAndWait();
        meeting.Given[0].CopyTo(data);
        meeting.Barrier.SignalAndWait();
    }

    void ICollective.Barrier() => meeting.Barrier.SignalAndWait();

    public void Complete() => meeting.Barrier.SignalAndWait();

    public bool Fail(string sentence) => false;

    public void Dispose() { }

    private sealed class Meeting(int size)
    {
        public byte[][] Given { get; } = new byte[size][];

        public Barrier Barrier { get; } = new(size);
    }
}
