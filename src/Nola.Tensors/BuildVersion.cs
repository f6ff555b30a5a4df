using System.Reflection;

namespace Nola.Tensors;

/// <summary>What this library was built as.</summary>
internal static class BuildVersion
{
    /// <summary>
    /// Version and commit, as the build writes them: <c>0.1.0+1ee09ed…</c>;
    /// the version alone where there was no repository.
    /// </summary>
    public static string Whole { get; } =
        typeof(BuildVersion).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? "";

    /// <summary>The version alone.</summary>
    public static string Number => Whole.Split('+')[0];

    /// <summary>The commit; the version where there was no repository.</summary>
    public static string Commit => Whole.Split('+')[^1];
}
