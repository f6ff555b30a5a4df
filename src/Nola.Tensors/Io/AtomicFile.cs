namespace Nola.Tensors;

/// <summary>Files that are whole or not there: written beside the target, flushed to the disk, then renamed over it.</summary>
public static class AtomicFile
{
    private const int NoSpaceUnix = 28, NoSpaceWindows = unchecked((int)0x80070070);

    /// <summary>Writes <paramref name="path"/> through <paramref name="write"/>. On any failure the old file stays as it was.</summary>
    /// <exception cref="NolaException">The disk is full, or the place cannot be written.</exception>
    public static void Write(string path, Action<Stream> write)
    {
        string target = Path.GetFullPath(path), beside = target + $".{Environment.ProcessId}.tmp";
        RefuseDirectory(path);
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(target) ?? ".");
            using (FileStream stream = new(beside, FileMode.Create, FileAccess.Write, FileShare.None, 1 << 16))
            {
                write(stream);
                stream.Flush(flushToDisk: true);
            }
            File.Move(beside, target, overwrite: true);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
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
            string probe = Path.Combine(path, $".probe.{Environment.ProcessId}");
            File.WriteAllBytes(probe, []);
            File.Delete(probe);
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

    /// <summary>What to tell the user about a failed write.</summary>
    public static string Sentence(string path, Exception error)
    {
        if (error is IOException && (error.HResult is NoSpaceWindows || (error.HResult & 0xFFFF) == NoSpaceUnix))
            return $"{path}: the disk is full; free some space and run the command again. What was there before is unchanged.";
        return $"{path}: cannot be written ({error.Message.TrimEnd('.')}); choose a path in a directory that you may write to.";
    }

    private static void RefuseDirectory(string path)
    {
        if (Directory.Exists(path)) throw new NolaException($"{path}: cannot be written as a file, because it is a directory; choose another path.");
    }

    private static void Remove(string path)
    {
        try
        {
            File.Delete(path);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // The failure that brought us here is the one to report.
        }
    }
}
