using System.Diagnostics;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// Ranks that MPI started. A wait looks again and again whether its call is done, and so sees as well that another rank is gone; at first
/// without giving up its processor, then with, and after a while it sleeps, since others may have work.
/// </summary>
internal sealed unsafe class MpiCollective : ICollective
{
    // Bytes of one call; larger ones are cut, since MPI counts in 31 bits and others wait as long.
    private const int Most = 1 << 26;

    private static readonly TimeSpan spins = TimeSpan.FromMicroseconds(50), yields = TimeSpan.FromMilliseconds(20);

    private readonly MpiLibrary mpi;
    private readonly Lifeline lifeline;
    private readonly string version;
    private bool failed, completed;

    private MpiCollective(MpiLibrary mpi, int rank, int size, Action<string?> onStuck)
    {
        (this.mpi, Rank, Size, version) = (mpi, rank, size, mpi.Version());
        string[] places = this.Gather($"{Environment.MachineName}\t{Processors()}");
        string[] hosts = [.. places.Select(place => place.Split('\t')[0])];
        LocalRank = hosts.Take(rank).Count(host => host == hosts[rank]);
        LocalSize = hosts.Count(host => host == hosts[rank]);
        Sharing = places.Count(place => place == places[rank]);
        lifeline = Lifeline.Open(this, hosts, onStuck);
    }

    /// <summary>
    /// The ranks that this process was started among; where the environment promises none, one process, and no library is looked for.
    /// </summary>
    /// <param name="onStuck">
    /// Ends the process with a sentence, when another rank is gone and this one does not come to a wait; without one (null) where all was
    /// done before, and MPI does not come to its end.
    /// </param>
    /// <param name="say">Told what should be known.</param>
    /// <exception cref="NolaException">There is no MPI, or it is not that of the launcher.</exception>
    public static ICollective Open(Action<string?> onStuck, Action<string> say)
    {
        if (Launch.Read(Environment.GetEnvironmentVariable) is not { } launch) return Alone.Instance;
        MpiLibrary library = MpiLibrary.Load(Launch.Libraries(Environment.GetEnvironmentVariable), out string tried)
            ?? throw launch.Missing(tried);
        (int rank, int size) = library.Start();
        if (size < launch.Ranks)
        {
            NolaException mismatch = launch.Mismatch(size, library.Version());
            if (size == 1) library.Finish();
            throw mismatch;
        }
        MpiCollective ranks = new(library, rank, size, onStuck);
        if (!ranks.lifeline.IsWhole)
            say($"Rank {rank} cannot reach the others by TCP, so that only the launcher ends it when one of them is gone.");
        return ranks;
    }

    public int Rank { get; }

    public int Size { get; }

    public int LocalRank { get; }

    public int LocalSize { get; }

    public int Sharing { get; }

    public string Description => $"{Size} ranks by {version}";

    public void AllGather(ReadOnlySpan<byte> mine, Span<byte> all)
    {
        if (all.Length != (long)mine.Length * Size)
            throw new ArgumentException($"AllGather: {all.Length} bytes for {Size} ranks of {mine.Length}.");
        int piece = Math.Max(1, Most / Size);
        if (mine.Length <= piece)
        {
            Gather(mine, all);
            return;
        }
        byte[] own = new byte[piece], gathered = new byte[piece * Size];
        for (int start = 0; start < mine.Length; start += piece)
        {
            int count = Math.Min(piece, mine.Length - start);
            Gather(mine.Slice(start, count), gathered.AsSpan(0, count * Size));
            for (int r = 0; r < Size; r++) gathered.AsSpan(r * count, count).CopyTo(all[(r * mine.Length + start)..]);
        }
    }

    public void Broadcast(Span<byte> data)
    {
        for (; data.Length > 0; data = data[Math.Min(Most, data.Length)..])
            fixed (byte* bytes = data)
            {
                nint request = 0;
                mpi.Broadcast(bytes, Math.Min(Most, data.Length), &request);
                Wait(&request);
            }
    }

    public void Barrier()
    {
        nint request = 0;
        mpi.Barrier(&request);
        Wait(&request);
    }

    public void Complete()
    {
        Barrier();
        lifeline.Complete();
        completed = true;
    }

    public bool Fail(string sentence)
    {
        failed = true;
        bool told = lifeline.Fail(sentence);
        // Whom it does not reach would wait for ever.
        if (!lifeline.IsWhole) mpi.Abort();
        return told;
    }

    public void Dispose()
    {
        if (completed) mpi.Finish();
        // Who leaves without a word is missed.
        if (completed || failed) lifeline.Dispose();
    }

    private void Gather(ReadOnlySpan<byte> mine, Span<byte> all)
    {
        fixed (byte* from = mine, to = all)
        {
            nint request = 0;
            mpi.AllGather(from, to, mine.Length, &request);
            Wait(&request);
        }
    }

    private void Wait(nint* request)
    {
        long start = Stopwatch.GetTimestamp();
        while (!mpi.Test(request))
        {
            lifeline?.Check();
            TimeSpan waited = Stopwatch.GetElapsedTime(start);
            if (waited < spins) Thread.SpinWait(10);
            else if (waited < yields) Thread.Yield();
            else Thread.Sleep(1);
        }
    }

    // Which processors this process may use; launchers give each rank its own, or all the same.
    private static string Processors()
    {
        const string Key = "Cpus_allowed_list:";
        try
        {
            return File.ReadLines("/proc/self/status").FirstOrDefault(line => line.StartsWith(Key, StringComparison.Ordinal)) ?? "";
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return "";
        }
    }
}
