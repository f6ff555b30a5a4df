using System.Diagnostics;
using System.Globalization;

namespace Nola.Tensors;

/// <summary>
/// Files that are whole or not there: written beside the target as <c>target.PROCESS.tmp</c>, flushed to the disk, then renamed
/// over it. The file beside it is held by a lock that readers share while it is written; one that a killed process left is removed
/// by the next write of its target.
/// </summary>
internal static class AtomicFile
{
    private const string Suffix = ".tmp", Probe = ".probe.";

    private const int NoSpaceUnix = 28, QuotaUnix = 122, NoSpaceWindows = unchecked((int)0x80070070);

    // Between the creation of a file and its locking lie microseconds; nobody's file that is older than this is of a killed process.
    private static readonly TimeSpan settled = TimeSpan.FromMinutes(1);

    /// <summary>Writes <paramref name="path"/> through <paramref name="write"/>. On any failure the old file stays as it was.</summary>
    /// <exception cref="NolaException">The disk is full, or the place cannot be written.</exception>
    public static void Write(string path, Action<Stream> write)
    {
        string target = Path.GetFullPath(path);
        string? beside = null;
        RefuseDirectory(path);
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(target) ?? ".");
            RemoveStale(target);
            using (FileStream stream = Create(target))
            {
                beside = stream.Name;
                write(stream);
                stream.Flush(flushToDisk: true);
                // Renamed while it is still held where the system allows that, so that nobody takes it for a killed process's; who
                // opens the target before the file is closed finds a lock that readers share.
                if (!OperatingSystem.IsWindows()) File.Move(beside, target, overwrite: true);
            }
            if (OperatingSystem.IsWindows()) File.Move(beside, target, overwrite: true);
        }
        catch (Exception error) when (IsFailure(error))
        {
            Remove(beside);
            throw new NolaException(Sentence(path, error), error);
        }
        catch
        {
            Remove(beside);
            throw;
        }
    }

    // No two writes have one file, of this process or of another one: the lock would not keep them apart.
    private static FileStream Create(string target)
    {
        for (int number = 0; ; number++)
        {
            string path = $"{target}.{Environment.ProcessId}{(number == 0 ? "" : $"-{number}")}{Suffix}";
            try
            {
                // Reading is asked for because a lock that is shared is only given with it on network disks.
                return new FileStream(path, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.Read, 1 << 16);
            }
            catch (IOException) when (File.Exists(path))
            {
                // Another thread's; or another machine's, or of a process that was killed a moment ago.
            }
        }
    }

    /// <summary>Writes text as UTF-8.</summary>
    /// <exception cref="NolaException">The disk is full, or the place cannot be written.</exception>
    public static void WriteText(string path, string text) =>
        Write(path, stream => stream.Write(System.Text.Encoding.UTF8.GetBytes(text)));

    /// <summary>Creates a directory and checks that files can be made in it.</summary>
    /// <exception cref="NolaException">They cannot.</exception>
    public static void EnsureDirectory(string path)
    {
        try
        {
            Directory.CreateDirectory(path);
            string probe = Path.Combine(path, $"{Probe}{Environment.ProcessId}");
            File.WriteAllBytes(probe, []);
            File.Delete(probe);
            RemoveStale(path, Probe, "");
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new NolaException(Sentence(path, error), error);
        }
    }

    /// <summary>Checks before long work that its file can be written.</summary>
    /// <exception cref="NolaException">It cannot.</exception>
    public static void EnsureWritable(string path)
    {
        RefuseDirectory(path);
        EnsureDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
    }

    /// <summary>Removes a file if it is there.</summary>
    /// <exception cref="NolaException">It cannot be removed.</exception>
    public static void Delete(string path) => Remove(path, () => File.Delete(path));

    /// <summary>Removes a directory with all that is in it, if it is there.</summary>
    /// <exception cref="NolaException">It cannot be removed.</exception>
    public static void DeleteDirectory(string path) => Remove(path, () => Directory.Delete(path, recursive: true));

    private static void Remove(string path, Action remove)
    {
        try
        {
            remove();
        }
        catch (DirectoryNotFoundException)
        {
            // Then it is not there.
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new NolaException($"{path}: cannot be removed ({error.Message.TrimEnd('.')}); remove it yourself.", error);
        }
    }

    /// <summary>Removes what killed processes left beside a target, never the file of a process that is writing it.</summary>
    public static void RemoveStale(string target)
    {
        string full = Path.GetFullPath(target);
        RemoveStale(Path.GetDirectoryName(full) ?? ".", Path.GetFileName(full) + ".", Suffix);
    }

    /// <summary>What to tell the user about a failed write.</summary>
    public static string Sentence(string path, Exception error)
    {
        if (IsFull(error))
            return $"{path}: the disk is full; free some space and run the command again. What was there before is unchanged.";
        return error is ArgumentOutOfRangeException
            ? $"{path}: would be larger than this process may write a file (ulimit -f); raise the limit and run the command again."
            : $"{path}: cannot be written ({error.Message.TrimEnd('.')}); choose a path in a directory that you may write to.";
    }

    /// <summary>Whether a write failed because there is no more room on the disk, or in a quota.</summary>
    internal static bool IsFull(Exception error) => error is IOException
        && (error.HResult == NoSpaceWindows || (!OperatingSystem.IsWindows() && error.HResult is NoSpaceUnix or QuotaUnix));

    /// <summary>
    /// Whether the system refused a write. What is above a limit of a file's size comes as an argument that is out of range.
    /// </summary>
    internal static bool IsFailure(Exception error) =>
        error is IOException or UnauthorizedAccessException or ArgumentOutOfRangeException { ParamName: "value" };

    // Files of the directory that are called prefix, a process's number, suffix.
    private static void RemoveStale(string directory, string prefix, string suffix)
    {
        try
        {
            foreach (string path in Directory.EnumerateFiles(directory, prefix + "*" + suffix))
                if (ProcessOf(Path.GetFileName(path), prefix, suffix) is { } process) RemoveStale(path, process);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // A directory that cannot be listed is not swept; whether it can be written, the write says.
        }
    }

    private static int? ProcessOf(string name, string prefix, string suffix)
    {
        if (!name.StartsWith(prefix, StringComparison.Ordinal) || !name.EndsWith(suffix, StringComparison.Ordinal)) return null;
        int length = name.Length - prefix.Length - suffix.Length;
        if (length <= 0) return null;
        ReadOnlySpan<char> number = name.AsSpan(prefix.Length, length);
        int dash = number.IndexOf('-');
        if (dash > 0 && int.TryParse(number[(dash + 1)..], NumberStyles.None, CultureInfo.InvariantCulture, out _)) number = number[..dash];
        return int.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out int process) ? process : null;
    }

    private static void RemoveStale(string path, int process)
    {
        try
        {
            // Opening for oneself fails while a process writes it, on this machine or on another one that shares the disk; Windows
            // lets go of what is opened so only when it is closed, and must be told that it may be deleted before.
            FileShare alone = OperatingSystem.IsWindows() ? FileShare.Delete : FileShare.None;
            using FileStream held = new(path, FileMode.Open, FileAccess.ReadWrite, alone);
            if (!IsRunning(process) || DateTime.UtcNow - File.GetLastWriteTimeUtc(held.SafeFileHandle) > settled) File.Delete(path);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // Somebody's; or it has gone by itself.
        }
    }

    // The number may be another process's by now: then the file stays until it has settled.
    private static bool IsRunning(int process)
    {
        try
        {
            using Process found = Process.GetProcessById(process);
            return true;
        }
        catch (Exception error) when (error is ArgumentException or InvalidOperationException)
        {
            return false;
        }
    }

    private static void RefuseDirectory(string path)
    {
        if (Directory.Exists(path))
            throw new NolaException($"{path}: cannot be written as a file, because it is a directory; choose another path.");
    }

    private static void Remove(string? path)
    {
        try
        {
            if (path is not null) File.Delete(path);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // The failure that brought us here is the one to report.
        }
    }
}
