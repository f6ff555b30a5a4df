using System.Diagnostics;

namespace Nola.Bench;

/// <summary>Other processes: what has to be measured from a cold start.</summary>
internal static class Child
{
    /// <summary>What the own executable needs before its arguments: the assembly, when it runs under <c>dotnet</c>.</summary>
    public static string[] SelfArguments =>
        Path.GetFileNameWithoutExtension(Environment.ProcessPath) == "dotnet" ? [typeof(Child).Assembly.Location] : [];

    /// <summary>Runs a program and returns its standard output.</summary>
    public static string Run(string program, string[] arguments)
    {
        ProcessStartInfo info = new(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        using Process process = Process.Start(info)!;
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode == 0
            ? output
            : throw new InvalidOperationException($"{program} {string.Join(' ', arguments)}: {errors.Result}");
    }
}
