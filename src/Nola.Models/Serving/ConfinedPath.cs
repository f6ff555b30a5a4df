using Nola.Tensors;

namespace Nola.Models;

/// <summary>Paths that others name, which must not lead out of a directory, neither by dots nor by links.</summary>
/// <param name="directory">The directory.</param>
internal sealed class ConfinedPath(string directory)
{
    // More links than a path has without being made to have no end.
    private const int MostLinks = 40;

    private readonly string real = Real(Path.GetFullPath(directory), 0);

    /// <summary>The directory, as it was given.</summary>
    public string Directory { get; } = Path.TrimEndingDirectorySeparator(Path.GetFullPath(directory));

    /// <summary>The whole path of one that is relative to the directory, or below it.</summary>
    /// <exception cref="NolaException">It leads out of the directory.</exception>
    public string Resolve(string path)
    {
        string full = Path.TrimEndingDirectorySeparator(Path.GetFullPath(path, Directory));
        return IsBelow(full, Directory) && IsBelow(Real(full, 0), real)
            ? full
            : throw new NolaException(
                $"{Quoted.Of(path)} is not below {Directory}, the directory of adapters; only what is there is read.");
    }

    private static bool IsBelow(string path, string root) =>
        path == root
        || path.StartsWith(Path.EndsInDirectorySeparator(root) ? root : root + Path.DirectorySeparatorChar, StringComparison.Ordinal);

    // The path with every link in it followed, also those of directories on the way.
    private static string Real(string path, int links)
    {
        string reached = Path.GetPathRoot(path)!;
        foreach (string part in path[reached.Length..].Split(Path.DirectorySeparatorChar, StringSplitOptions.RemoveEmptyEntries))
        {
            string next = Path.Combine(reached, part);
            string? target = Target(next);
            if (target is not null && links >= MostLinks) throw new NolaException($"{path}: has too many links in it.");
            reached = target is null ? next : Real(Path.GetFullPath(target, reached), links + 1);
        }
        return reached;
    }

    private static string? Target(string path)
    {
        try
        {
            return new FileInfo(path).LinkTarget;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
