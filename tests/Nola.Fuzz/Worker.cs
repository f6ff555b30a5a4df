using System.Diagnostics;
using System.IO.Compression;
using Nola.Tensors;

namespace Nola.Fuzz;

/// <summary>What became of one input.</summary>
/// <param name="Accepted">Whether its files were read; else they were refused.</param>
/// <param name="Message">What was said of them.</param>
/// <param name="Failure">What is wrong with the outcome; null when nothing is.</param>
/// <param name="Elapsed">Time of the fastest try.</param>
/// <param name="Bytes">Memory: what the thread allocated, and the most that its device held.</param>
internal sealed record Outcome(bool Accepted, string Message, Failure? Failure, TimeSpan Elapsed, long Bytes);

/// <summary>Runs inputs on one thread, each with files of its own, and judges their outcomes.</summary>
internal sealed class Worker : IDisposable
{
    /// <summary>The longest that an input may take, of its thread's time.</summary>
    public static readonly TimeSpan LongestTime = TimeSpan.FromSeconds(2);

    /// <summary>The most memory that an input may take, in bytes.</summary>
    public const long MostBytes = 512L << 20;

    // The pool keeps what a large input needed; the next is measured without it.
    private const long MostPooled = 64L << 20;

    private readonly string root;
    private Bench bench;
    private long started;

    /// <summary>Makes a bench in a directory of its own.</summary>
    public Worker(string root)
    {
        this.root = root;
        bench = new Bench(root);
        _ = bench.Model;
    }

    /// <summary>The input that is being read, for the watchdog.</summary>
    public (FuzzKind Kind, long Seed, long Number)? Current { get; private set; }

    /// <summary>When the reading of it began, as a number of its own; 0 between two inputs.</summary>
    public long Started => Volatile.Read(ref started);

    /// <summary>The bench, for making examples.</summary>
    public Bench Bench => bench;

    /// <summary>Makes an input and reads it.</summary>
    public Outcome Run(FuzzKind kind, long seed, long number) => Run(kind, seed, number, kind.Make(Dice.Of(kind.Name, seed, number)));

    /// <summary>Reads an input.</summary>
    public Outcome Run(FuzzKind kind, long seed, long number, FuzzInput input)
    {
        Outcome outcome = Try(kind, seed, number, input);
        // What is compiled at its first use, or collected by chance, is not the input's.
        for (int again = 0; again < 2 && outcome.Elapsed > LongestTime + OfSize(input); again++)
        {
            Outcome next = Try(kind, seed, number, input);
            if (next.Elapsed < outcome.Elapsed) outcome = next;
        }
        return outcome;
    }

    /// <inheritdoc/>
    public void Dispose() => bench.Dispose();

    private Outcome Try(FuzzKind kind, long seed, long number, FuzzInput input)
    {
        string directory = Path.Combine(root, kind.Name);
        Clean(bench.Output);
        Clean(directory);
        foreach ((string name, byte[] bytes) in input.Files)
        {
            string path = Path.Combine(directory, name);
            if (name.Contains('/')) Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            File.WriteAllBytes(path, bytes);
        }
        MemoryPool pool = bench.Device.Pool;
        pool.ResetPeak();
        long live = pool.LiveBytes, allocated = GC.GetAllocatedBytesForCurrentThread();
        bench.Accepted = false;
        Exception? error = null;
        Current = (kind, seed, number);
        Volatile.Write(ref started, Stopwatch.GetTimestamp());
        TimeSpan start = ThreadTime.Now;
        try
        {
            kind.Run(bench, directory, Dice.Of(kind.Name + "/run", seed, number));
            bench.Accepted = true;
        }
        catch (Exception caught)
        {
            error = caught;
        }
        TimeSpan elapsed = ThreadTime.Now - start;
        Volatile.Write(ref started, 0);
        long used = Math.Max(GC.GetAllocatedBytesForCurrentThread() - allocated, pool.PeakBytes - live);
        string? wrong = Wrong(error, input, directory)
            ?? (elapsed > LongestTime + OfSize(input) ? "takes longer than 2 s, and 1 s for each megabyte" : null)
            ?? (used > MostBytes ? "takes more than 512 MB" : null)
            ?? (pool.LiveBytes != live ? "leaves memory on the device" : null);
        string detail = $"{elapsed.TotalSeconds:F2} s, {used >> 20} MB; {error?.ToString() ?? "no exception"}";
        Failure? failure = wrong is null ? null : new(kind.Name, seed, number, wrong, detail);
        Outcome outcome = new(bench.Accepted, error?.Message ?? "", failure, elapsed, used);
        if (pool.LiveBytes != live) Renew();
        if (pool.PooledBytes > MostPooled) pool.Trim();
        return outcome;
    }

    // Repetition can make a file of many megabytes, which takes its time to be read.
    private static TimeSpan OfSize(FuzzInput input) => TimeSpan.FromSeconds(input.Files.Sum(file => Size(file.Name, file.Bytes)) / 1e6);

    // Of what is compressed, what is read: up to where it is damaged.
    private static long Size(string name, byte[] bytes)
    {
        if (!name.EndsWith(".gz", StringComparison.Ordinal)) return bytes.Length;
        long size = 0;
        try
        {
            using GZipStream stream = new(new MemoryStream(bytes), CompressionMode.Decompress);
            byte[] buffer = new byte[1 << 16];
            while (stream.Read(buffer) is > 0 and int read) size += read;
        }
        catch (InvalidDataException)
        {
            // What was read before counts.
        }
        return Math.Max(size, bytes.Length);
    }

    private string? Wrong(Exception? error, FuzzInput input, string directory)
    {
        if (error is FuzzException) return error.Message;
        if (error is null) return null;
        if (error is not NolaException) return $"{error.GetType().Name} {Origin(error)}";
        string message = error.Message;
        if (input.IsWhole && !bench.Accepted) return $"a whole example is refused: {message.Replace(directory, "")}";
        if (string.IsNullOrWhiteSpace(message) || message.Length >= 400 || message.AsSpan().ContainsAny('\n', '\r', '\0'))
            return $"the message is not one sentence {Origin(error)}";
        // Very long messages have lost their middle, which a name may stand in.
        bool named = message.Contains(directory, StringComparison.Ordinal) || message.Contains('…');
        if (!bench.Accepted && !named) return $"the message does not name the file {Origin(error)}";
        return null;
    }

    // Where in the library an exception comes from.
    private static string Origin(Exception error)
    {
        string[] frames = (error.StackTrace ?? "").Split('\n');
        string frame = frames.FirstOrDefault(f => f.Contains(" Nola.") && !f.Contains("InputFile") && !f.Contains("JsonInput"))
            ?? frames[0];
        int file = frame.IndexOf(" in /", StringComparison.Ordinal);
        return (file < 0 ? frame : frame[..file]).Trim();
    }

    private void Renew()
    {
        // The device with what was left on it is given up whole.
        bench.Device.Pool.Trim();
        bench = new Bench(root);
        _ = bench.Model;
    }

    private static void Clean(string directory)
    {
        if (Directory.Exists(directory))
        {
            bool plain = true;
            foreach (FileSystemInfo entry in new DirectoryInfo(directory).EnumerateFileSystemInfos())
            {
                if (entry is FileInfo) entry.Delete();
                else plain = false;
            }
            if (plain) return;
            Directory.Delete(directory, recursive: true);
        }
        Directory.CreateDirectory(directory);
    }
}
