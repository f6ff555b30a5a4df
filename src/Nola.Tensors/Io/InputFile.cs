namespace Nola.Tensors;

/// <summary>
/// Opening files that are read. Links are followed, as the Hugging Face cache is made of them: lengths and dates are those of
/// the file at the end, never of the link. What fails is one sentence with the file's name.
/// </summary>
internal static class InputFile
{
    /// <summary>The largest file that is read into memory in one piece, in bytes: configurations, vocabularies, indexes, tables.</summary>
    public const long LargestWhole = 1L << 28;

    /// <summary>Opens a file for reading.</summary>
    /// <exception cref="NolaException">It is missing, a directory, a link to nothing, or may not be read.</exception>
    public static FileStream Open(string path) =>
        Try(path, () => new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, 1 << 16));

    /// <summary>The bytes of a file that is small by its kind.</summary>
    /// <exception cref="NolaException">As <see cref="Open"/>, or it is larger than <paramref name="largest"/> bytes.</exception>
    public static byte[] ReadAll(string path, long largest = LargestWhole)
    {
        using FileStream stream = Open(path);
        return Try(path, () =>
        {
            // A pipe has no length; what it gives is counted instead.
            if (stream.CanSeek && stream.Length > largest) throw TooLarge(path, largest);
            using MemoryStream whole = new(stream.CanSeek ? (int)stream.Length : 0);
            byte[] buffer = new byte[1 << 16];
            while (stream.Read(buffer) is > 0 and int read)
            {
                if (whole.Length + read > largest) throw TooLarge(path, largest);
                whole.Write(buffer, 0, read);
            }
            return whole.ToArray();
        });
    }

    /// <summary>Bytes of the file, of the one that a link leads to.</summary>
    /// <exception cref="NolaException">As <see cref="Open"/>.</exception>
    public static long Length(string path)
    {
        using FileStream stream = Open(path);
        return Try(path, () => stream.Length);
    }

    /// <summary>What to tell the user about a file that cannot be read.</summary>
    public static NolaException Unreadable(string path, Exception error)
    {
        if (Directory.Exists(path)) return new($"{path}: is a directory; expected a file.", error);
        if (error is FileNotFoundException or DirectoryNotFoundException)
        {
            return new FileInfo(path).LinkTarget is { } target
                ? new($"{path}: is a link to {target}, which is not there; download the file again.", error)
                : new($"{path}: there is no such file.", error);
        }
        return new($"{path}: cannot be read ({error.Message.TrimEnd('.')}).", error);
    }

    private static T Try<T>(string path, Func<T> read)
    {
        try
        {
            return read();
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw Unreadable(path, error);
        }
    }

    private static NolaException TooLarge(string path, long largest) =>
        new($"{path}: has more than {largest >> 20} MiB, far more than a file of its kind; is it the right one?");
}
