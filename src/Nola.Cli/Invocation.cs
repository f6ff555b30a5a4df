using System.Diagnostics.CodeAnalysis;

namespace Nola.Cli;

/// <summary>How the user runs this program, for commands that a message asks them to type.</summary>
internal static class Invocation
{
    private const string Installed = "nola";

    /// <summary>What comes before the command: <c>nola</c>, or <c>dotnet run … --</c> where the program runs from its sources.</summary>
    public static string Tool { get; } = Of(AppContext.BaseDirectory, Environment.CurrentDirectory);

    /// <summary>
    /// For a program in a directory: <c>dotnet run</c> with the path of its project from the current directory when the program
    /// is below that project's <c>bin</c>, else the name of the installed tool.
    /// </summary>
    /// <param name="program">The directory of the program.</param>
    /// <param name="current">The directory in which the user types.</param>
    public static string Of(string program, string current) =>
        TryFindProject(program, out string? project)
            ? $"dotnet run -c Release --project {Quoted(Path.GetRelativePath(current, project))} --"
            : Installed;

    /// <summary>A path as a shell takes it: in quotes when it has a space.</summary>
    public static string Quoted(string path) => path.Contains(' ') ? $"\"{path}\"" : path;

    private static bool TryFindProject(string program, [NotNullWhen(true)] out string? project)
    {
        DirectoryInfo? directory = new(Path.TrimEndingDirectorySeparator(program));
        while (directory is not null && directory.Name != "bin") directory = directory.Parent;
        project = directory?.Parent?.FullName;
        return project is not null && File.Exists(Path.Combine(project, "Nola.Cli.csproj"));
    }
}
