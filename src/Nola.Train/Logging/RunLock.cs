using System.Globalization;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// A directory taken for one process: <c>.running</c>, locked by the system while the process lives, however it ends. The file
/// stays when the lock is given back, since a file that is removed could be locked by two processes at once, one of them under
/// no name. <c>.running.pid</c> says who holds it.
/// </summary>
internal sealed class RunLock : IDisposable
{
    private readonly string directory;
    private readonly FileStream held;

    private RunLock(string directory, FileStream held) => (this.directory, this.held) = (directory, held);

    private static string FileIn(string directory) => Path.Combine(directory, ".running");

    private static string HolderIn(string directory) => Path.Combine(directory, ".running.pid");

    /// <summary>Whether the file that is locked is still in its place; false once the directory was removed or moved away.</summary>
    public bool IsInPlace => File.Exists(FileIn(directory));

    /// <summary>Takes a directory that is there.</summary>
    /// <param name="directory">The directory.</param>
    /// <param name="does">What another process does there, for the message: "is training in this directory".</param>
    /// <exception cref="NolaException">Another process has it, or it cannot be written.</exception>
    public static RunLock Take(string directory, string does)
    {
        FileStream held;
        try
        {
            held = new FileStream(FileIn(directory), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, 1);
        }
        catch (IOException error) when (error is not (DirectoryNotFoundException or PathTooLongException) && !AtomicFile.IsFull(error))
        {
            string process = Holder(directory) is { } number ? $"another process ({number})" : "another process";
            throw new NolaException($"{directory}: {process} {does}; wait for it, or choose another directory.", error);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new NolaException(AtomicFile.Sentence(directory, error), error);
        }
        Try(() => File.WriteAllText(HolderIn(directory), Environment.ProcessId.ToString(CultureInfo.InvariantCulture)));
        return new RunLock(directory, held);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        // Once it is given back, the directory may be another's.
        if (held.CanWrite && IsInPlace) Try(() => File.Delete(HolderIn(directory)));
        held.Dispose();
    }

    private static int? Holder(string directory)
    {
        string text = "";
        Try(() => text = File.ReadAllText(HolderIn(directory)));
        return int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int process) ? process : null;
    }

    // The number of the process is for people; the lock does not need it.
    private static void Try(Action action)
    {
        try
        {
            action();
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
        }
    }
}
