using System.Globalization;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// A directory taken for one process: <c>.running</c>, locked by the system while the process lives, however it ends. The file
/// stays when the lock is given back, since a file that is removed could be locked by two processes at once, one of them under
/// no name. <c>.running.pid</c> says who holds it, and by a number that no other process has, so that a directory that was removed and
/// made again by another is told from this one's.
/// </summary>
internal sealed class RunLock : IDisposable
{
    private readonly string directory;
    private readonly string? number;
    private readonly FileStream held;

    private RunLock(string directory, FileStream held, string? number) =>
        (this.directory, this.held, this.number) = (directory, held, number);

    private static string FileIn(string directory) => Path.Combine(directory, ".running");

    private static string HolderIn(string directory) => Path.Combine(directory, ".running.pid");

    /// <summary>
    /// Whether the file that is locked is still in its place; false once the directory was removed or moved away, or made by another.
    /// </summary>
    public bool IsInPlace =>
        File.Exists(FileIn(directory)) && (number is null || HolderLine(directory) is not [_, var named] || named == number);

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
            string other = Holder(directory) is { } holder ? $"another process ({holder})" : "another process";
            throw new NolaException($"{directory}: {other} {does}; wait for it, or choose another directory.", error);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new NolaException(AtomicFile.Sentence(directory, error), error);
        }
        string number = Guid.NewGuid().ToString("N"), process = Environment.ProcessId.ToString(CultureInfo.InvariantCulture);
        bool named = Try(() => File.WriteAllText(HolderIn(directory), $"{process} {number}"));
        return new RunLock(directory, held, named ? number : null);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        // Once it is given back, the directory may be another's.
        if (held.CanWrite && IsInPlace) Try(() => File.Delete(HolderIn(directory)));
        held.Dispose();
    }

    private static int? Holder(string directory) =>
        HolderLine(directory) is [var text, ..] && int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int process)
            ? process : null;

    // The process and its number; nothing where that cannot be read.
    private static string[] HolderLine(string directory)
    {
        string text = "";
        Try(() => text = File.ReadAllText(HolderIn(directory)));
        return text.Split(' ');
    }

    // The lock holds without the file that says whose it is.
    private static bool Try(Action action)
    {
        try
        {
            action();
            return true;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }
}
