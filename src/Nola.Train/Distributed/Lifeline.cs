using System.Globalization;
using System.Net;
using System.Net.NetworkInformation;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// A connection of every rank to rank 0, by which all learn within moments that one of them is gone: the system closes what a process
/// had open, however it ended, while a call of MPI would wait for it for ever. Nothing else goes over it. Where it cannot be made, as
/// behind a firewall, the launcher is all that ends the others.
/// </summary>
internal sealed class Lifeline : IDisposable
{
    // A rank that learns of another's end while it computes has this long to come to its next wait, and to say so itself.
    private static readonly TimeSpan grace = TimeSpan.FromSeconds(15);

    // For all to connect, and for a rank to wait until its last words are heard.
    private static readonly TimeSpan patience = TimeSpan.FromSeconds(10);

    private const string Ended = "end", Failed = "fail", Lost = "lost";

    // Of Linux: the protocol, and its option for the milliseconds that what was sent may wait for an answer.
    private const int Tcp = 6, UserTimeout = 18;

    private readonly Lock door = new();
    private readonly Dictionary<int, StreamWriter> peers = [];
    private readonly HashSet<int> ended = [];
    private readonly ManualResetEventSlim closed = new();
    private readonly string[] hosts;
    private readonly int rank;
    private readonly Action<string?> onStuck;
    private volatile string? lost;
    private volatile bool over, complete, disposed;

    private Lifeline(int rank, string[] hosts, Action<string?> onStuck) => (this.rank, this.hosts, this.onStuck) = (rank, hosts, onStuck);

    /// <summary>What is to be said of a rank that is gone; null while there is none.</summary>
    public string? Loss => lost;

    /// <summary>Whether it is rank 0 that is gone.</summary>
    public bool LostFirst { get; private set; }

    /// <summary>Whether it reaches rank 0, or from there every rank.</summary>
    public bool IsWhole => peers.Count == (rank == 0 ? hosts.Length - 1 : 1);

    /// <summary>Connects all ranks with rank 0; they call it together.</summary>
    /// <param name="ranks">The ranks.</param>
    /// <param name="hosts">The machine of each.</param>
    /// <param name="onStuck">
    /// Told what <see cref="Loss"/> is when the process did not end by itself; null where a rank was lost after all was done. It must end
    /// the process.
    /// </param>
    public static Lifeline Open(ICollective ranks, string[] hosts, Action<string?> onStuck)
    {
        Lifeline line = new(ranks.Rank, hosts, onStuck);
        bool single = hosts.Distinct().Count() == 1;
        using TcpListener? listener = ranks.Rank == 0 ? new(single ? IPAddress.Loopback : IPAddress.Any, 0) : null;
        string token = Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(16));
        listener?.Start(hosts.Length);
        string port = listener is null ? "" : ((IPEndPoint)listener.LocalEndpoint).Port.ToString(CultureInfo.InvariantCulture);
        string[] where = ranks.Share(string.Join(' ', [token, port, .. ranks.Rank == 0 ? Addresses() : []])).Split(' ');
        if (listener is not null) line.Accept(listener, token);
        else line.Connect(where[0], int.Parse(where[1], CultureInfo.InvariantCulture), hosts[0] == hosts[line.rank], where[2..]);
        ranks.Barrier();
        return line;
    }

    /// <summary>Throws where a rank is gone.</summary>
    /// <exception cref="NolaException">It is.</exception>
    public void Check()
    {
        if (lost is { } sentence) throw new NolaException(sentence);
    }

    /// <summary>Says that this rank ends because of an error, and waits until rank 0 has heard it.</summary>
    /// <returns>Whether it has, or is rank 0 itself and ends with the same.</returns>
    public bool Fail(string sentence)
    {
        over = true;
        if (rank == 0)
        {
            Tell(peers.Keys, $"{Lost} 0 {sentence}");
            return false;
        }
        if (lost is not null) return !LostFirst;
        Tell(peers.Keys, $"{Failed} {sentence}");
        return peers.Count > 0 && closed.Wait(grace + patience);
    }

    /// <summary>Says that this rank ends since all is done.</summary>
    public void Complete()
    {
        over = complete = true;
        Tell(peers.Keys, Ended);
    }

    public void Dispose()
    {
        over = disposed = true;
        lock (door)
            foreach (StreamWriter peer in peers.Values) Quietly(peer.Dispose);
        closed.Dispose();
    }

    private static IEnumerable<string> Addresses() => NetworkInterface.GetAllNetworkInterfaces()
        .Where(one => one.OperationalStatus == OperationalStatus.Up && one.NetworkInterfaceType != NetworkInterfaceType.Loopback)
        .SelectMany(one => one.GetIPProperties().UnicastAddresses)
        .Select(one => one.Address)
        .Where(address => address.AddressFamily == AddressFamily.InterNetwork)
        .Select(address => address.ToString());

    // Rank 0. What knows no token is not one of ours.
    private void Accept(TcpListener listener, string token)
    {
        using CancellationTokenSource late = new(patience);
        try
        {
            while (peers.Count < hosts.Length - 1)
            {
                TcpClient client = listener.AcceptTcpClientAsync(late.Token).AsTask().GetAwaiter().GetResult();
                StreamReader reader = new(client.GetStream(), Encoding.UTF8);
                string[] hello = Hello(reader, late.Token).Split(' ');
                if (hello is [var word, var number] && word == token && StrictNumber.TryWhole(number, out int peer)
                    && peer > 0 && peer < hosts.Length && !peers.ContainsKey(peer))
                    Listen(peer, client, reader);
                else client.Dispose();
            }
        }
        catch (Exception error) when (error is OperationCanceledException or IOException or SocketException)
        {
        }
    }

    // The first line of a connection; nothing where it says nothing for long, as what looks for open ports does.
    private static string Hello(StreamReader reader, CancellationToken late)
    {
        using CancellationTokenSource soon = CancellationTokenSource.CreateLinkedTokenSource(late);
        soon.CancelAfter(patience / 2);
        try
        {
            return reader.ReadLineAsync(soon.Token).AsTask().GetAwaiter().GetResult() ?? "";
        }
        catch (Exception error) when (error is IOException || (error is OperationCanceledException && !late.IsCancellationRequested))
        {
            return "";
        }
    }

    private void Connect(string token, int port, bool here, string[] addresses)
    {
        foreach (string address in here ? ["127.0.0.1", .. addresses] : addresses)
        {
            TcpClient client = new();
            try
            {
                using CancellationTokenSource late = new(patience / 4);
                client.ConnectAsync(IPAddress.Parse(address), port, late.Token).AsTask().GetAwaiter().GetResult();
                Listen(0, client, new StreamReader(client.GetStream(), Encoding.UTF8));
                Tell([0], $"{token} {rank}");
                return;
            }
            catch (Exception error) when (error is OperationCanceledException or IOException or SocketException)
            {
                client.Dispose();
            }
        }
    }

    private void Listen(int peer, TcpClient client, StreamReader reader)
    {
        client.NoDelay = true;
        // A machine that loses its power closes nothing: three questions without an answer, five seconds apart.
        client.Client.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, true);
        client.Client.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveTime, 5);
        client.Client.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveInterval, 5);
        client.Client.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveRetryCount, 3);
        // No question is asked while something that was said has no answer, for which Linux would wait a quarter of an hour.
        if (OperatingSystem.IsLinux()) client.Client.SetRawSocketOption(Tcp, UserTimeout, BitConverter.GetBytes(20_000));
        lock (door) peers[peer] = new StreamWriter(client.GetStream(), new UTF8Encoding(false)) { AutoFlush = true, NewLine = "\n" };
        Thread thread = new(() => Read(peer, reader)) { IsBackground = true, Name = $"nola rank {peer}" };
        thread.Start();
    }

    private void Read(int peer, StreamReader reader)
    {
        bool broke = false;
        try
        {
            while (reader.ReadLine() is { } line) Hear(peer, line);
        }
        catch (Exception error) when (error is IOException or ObjectDisposedException)
        {
            broke = error is IOException;
        }
        if (peer == 0) Quietly(closed.Set);
        if (complete)
        {
            // MPI waits for all ranks when it ends, and one of them will not come; what there was to do is done.
            if (!broke) return;
            Thread.Sleep(grace);
            if (!disposed) onStuck(null);
        }
        else
        {
            bool hasEnded;
            lock (door) hasEnded = ended.Contains(peer);
            if (!hasEnded) Lose(peer, "");
        }
    }

    private void Hear(int peer, string line)
    {
        string[] words = line.Split(' ', 3);
        switch (words[0])
        {
            case Ended:
                lock (door) ended.Add(peer);
                break;
            case Failed:
                Lose(peer, line[(Failed.Length + 1)..]);
                break;
            case Lost when words.Length == 3 && StrictNumber.TryWhole(words[1], out int other) && other < hosts.Length:
                Lose(other, words[2]);
                break;
        }
    }

    private void Lose(int peer, string sentence)
    {
        lock (door)
        {
            if (lost is not null || over) return;
            LostFirst = peer == 0;
            lost = sentence.Length > 0
                ? $"Rank {peer} on {hosts[peer]} ended: {sentence}"
                : $"Rank {peer} on {hosts[peer]} is gone: it was killed, ran out of memory, or lost its network. The last checkpoint is "
                    + "whole; resume from it, with any number of ranks.";
        }
        if (rank == 0) Tell([.. peers.Keys.Where(other => other != peer)], $"{Lost} {peer} {sentence}");
        Thread.Sleep(grace);
        if (!over) onStuck(lost);
    }

    private void Tell(IEnumerable<int> others, string line)
    {
        lock (door)
            foreach (int peer in others.ToArray()) Quietly(() => peers[peer].WriteLine(line));
    }

    // Who is told may be gone already.
    private static void Quietly(Action action)
    {
        try
        {
            action();
        }
        catch (Exception error) when (error is IOException or ObjectDisposedException)
        {
        }
    }
}
