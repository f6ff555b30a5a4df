using System.Diagnostics;
using System.Text;
using System.Text.Json;
using Xunit;

namespace Nola.Tests;

/// <summary>The tool as its users start it: a process, its output, its exit code.</summary>
internal static class Tool
{
    /// <summary>Runs a command to its end, with bytes on its standard input.</summary>
    public static (int Code, string Output, string Error) Run(string[] arguments, byte[]? input = null)
    {
        string program = Path.Combine(AppContext.BaseDirectory, "nola.dll");
        using Process process = Process.Start(new ProcessStartInfo("dotnet", [program, .. arguments])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            StandardOutputEncoding = Encoding.UTF8,
            StandardErrorEncoding = Encoding.UTF8,
            UseShellExecute = false,
        })!;
        if (input is not null) process.StandardInput.BaseStream.Write(input);
        process.StandardInput.Close();
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output, error.Result);
    }

    /// <summary>The lines that a command prints on standard output.</summary>
    public static string[] Lines(params string[] arguments)
    {
        (int code, string output, string error) = Run(arguments);
        Assert.True(code == 0, error);
        return output.TrimEnd('\n').Split('\n');
    }

    /// <summary>The JSON objects that a command prints, one a line.</summary>
    public static JsonElement[] Json(params string[] arguments) =>
        [.. Lines([.. arguments, "--json"]).Select(line => JsonDocument.Parse(line).RootElement)];

    /// <summary>The one sentence of a command that fails.</summary>
    public static string Fails(int exit, params string[] arguments)
    {
        (int code, string output, string error) = Run(arguments);
        Assert.Equal((exit, ""), (code, output));
        string sentence = Assert.Single(error.TrimEnd('\n').Split('\n'));
        Assert.StartsWith("nola: ", sentence);
        Assert.InRange(sentence.Length, 10, 520);
        return sentence;
    }
}
