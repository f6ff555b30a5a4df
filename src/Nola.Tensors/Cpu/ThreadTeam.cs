namespace Nola.Tensors;

/// <summary>
/// A fixed team of threads for fork and join of short work (from about 20 µs). Helpers spin for a moment before they
/// sleep, so that the kernels of one step find them awake. Which thread runs which piece is not fixed: kernels must
/// give the same bits whatever the answer, that is, they never split a reduction by thread.
/// </summary>
internal sealed class ThreadTeam : IDisposable
{
    // 30 µs and 0.6 ms of spinning. To wake a thread that sleeps costs 50 µs and more, as much as a small product, and decoding has
    // fifty of them a token; but where work comes seldom, or cores are shared, spinning takes them from others.
    private const int FewSpins = 1500, MostSpins = 30000;

    private readonly Thread[] helpers;
    private readonly object wake = new();
    private readonly DriverTurn turn = new();
    private Action<int, int> body = (_, _) => { };
    private int count, grain, next, running, generation, sleepers;
    private Exception? failure;
    private bool closed;

    public ThreadTeam(int threads)
    {
        Threads = threads;
        helpers = new Thread[threads - 1];
        for (int i = 0; i < helpers.Length; i++)
        {
            helpers[i] = new Thread(Help) { IsBackground = true, Name = $"nola {i + 1}" };
            helpers[i].Start();
        }
    }

    /// <summary>Threads that work, the caller's included.</summary>
    public int Threads { get; }

    /// <summary>
    /// Calls <paramref name="work"/>(start, end) for pieces of 0 … <paramref name="items"/> − 1 of at most
    /// <paramref name="pieceSize"/> items, on all threads, and returns when all are done.
    /// </summary>
    public void For(int items, int pieceSize, Action<int, int> work)
    {
        if (items <= 0) return;
        if (helpers.Length == 0 || items <= pieceSize)
        {
            for (int start = 0; start < items; start += pieceSize) work(start, Math.Min(items, start + pieceSize));
            return;
        }
        using DriverTurn.Held held = turn.Take();
        Share(items, pieceSize, work);
    }

    public void Dispose()
    {
        Volatile.Write(ref closed, true);
        Interlocked.Increment(ref generation);
        WakeAll();
        foreach (Thread helper in helpers) helper.Join();
    }

    private void Share(int items, int pieceSize, Action<int, int> work)
    {
        body = work;
        count = items;
        grain = pieceSize;
        next = 0;
        failure = null;
        Volatile.Write(ref running, helpers.Length);
        Interlocked.Increment(ref generation);
        if (Volatile.Read(ref sleepers) > 0) WakeAll();
        TakePieces();
        SpinWait wait = default;
        while (Volatile.Read(ref running) > 0) wait.SpinOnce(sleep1Threshold: -1);
        if (failure is { } error) System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(error);
    }

    private void Help()
    {
        int seen = 0, spins = FewSpins;
        while (true)
        {
            seen = NextGeneration(seen, ref spins);
            if (Volatile.Read(ref closed)) return;
            TakePieces();
            Interlocked.Decrement(ref running);
        }
    }

    // Spins longer where that was worth it, and less where it was not.
    private int NextGeneration(int seen, ref int spins)
    {
        for (int spin = 0; spin < spins; spin++)
        {
            int now = Volatile.Read(ref generation);
            if (now != seen)
            {
                spins = Math.Min(2 * spins, MostSpins);
                return now;
            }
            Thread.SpinWait(8);
        }
        spins = Math.Max(spins / 2, FewSpins);
        // The count of sleepers is raised before the last look at the generation, and the caller raises the generation
        // before it reads the count: one of the two always sees the other.
        lock (wake)
        {
            Interlocked.Increment(ref sleepers);
            while (Volatile.Read(ref generation) == seen) Monitor.Wait(wake);
            Interlocked.Decrement(ref sleepers);
        }
        return Volatile.Read(ref generation);
    }

    private void WakeAll()
    {
        lock (wake) Monitor.PulseAll(wake);
    }

    private void TakePieces()
    {
        try
        {
            while (true)
            {
                int start = Interlocked.Add(ref next, grain) - grain;
                if (start >= count || start < 0) return;
                body(start, Math.Min(count, start + grain));
            }
        }
        catch (Exception error)
        {
            Interlocked.CompareExchange(ref failure, error, null);
            Interlocked.Exchange(ref next, count);
        }
    }
}
