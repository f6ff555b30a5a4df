using System.CommandLine;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using Nola.Tensors;

namespace Nola.Cli;

/// <summary>What all commands share: facts on standard output, everything else on standard error, one sentence for an error.</summary>
internal static class Terminal
{
    /// <summary>Exit code of a command that was interrupted: the shell's for Ctrl-C, or for the signal that came.</summary>
    public static int Interrupted => Signals.ExitCode is > 0 and int code ? code : 130;

    /// <summary>
    /// JSON with text as it reads, not escaped beyond need;
    /// what is beyond every number is "Infinity", as in an experiment's results.
    /// </summary>
    public static readonly JsonSerializerOptions Readable = new()
    {
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
    };

    /// <summary>Exit code of a fault in this program, as sysexits.h has it.</summary>
    private const int InternalError = 70;

    // Far more than a line ever has, unless it repeats what somebody made to be long.
    private const int LongestLine = 2000;

    /// <summary>Prints a line for people, printable whatever it repeats of files, arguments and the system.</summary>
    public static void Say(string line) => Console.Error.WriteLine(NolaException.OneLine(line, LongestLine));

    /// <summary>Prints one JSON object.</summary>
    public static void Json(object value) => Console.Out.WriteLine(JsonSerializer.Serialize(value, Readable));

    /// <summary>Sets a command's action, turning errors of the outside world into one sentence and exit code 1.</summary>
    public static void Does(this Command command, Func<ParseResult, CancellationToken, int> action)
    {
        command.SetAction(result => Signals.After(Guarded(() => action(result, Signals.Stop), command)));
    }

    /// <summary>Refuses a directory that a file of this command is in already.</summary>
    /// <exception cref="NolaException">It is.</exception>
    public static void RefuseUsed(string directory, string file)
    {
        if (File.Exists(Path.Combine(directory, file)))
            throw new NolaException($"{directory}: has a {file} already; choose another --out.");
    }

    /// <summary>Reports a directory that was written, and how much of what was asked for it misses, where that is something.</summary>
    public static int Wrote(bool json, string directory, string what, double? missed = null)
    {
        long bytes = Directory.EnumerateFiles(directory).Sum(f => new FileInfo(f).Length);
        if (json && missed is { } share) Json(new { @out = directory, bytes, relative_error = share });
        else if (json) Json(new { @out = directory, bytes });
        else Say($"Wrote the {what} to {directory} ({bytes / 1024.0:N0} KB).");
        return 0;
    }

    // Everything that goes wrong is one sentence. With NOLA_DEBUG=1, a fault of the program shows where it happened besides.
    internal static int Guarded(Func<int> action, Command? command = null)
    {
        try
        {
            return action();
        }
        catch (NolaException error)
        {
            Say($"nola: {error.Message}{Hints.For(error, command)}");
        }
        catch (OperationCanceledException)
        {
            Say("nola: interrupted.");
            return Interrupted;
        }
        catch (OutOfMemoryException)
        {
            Say("nola: out of memory. Lower --batch-tokens or choose a smaller model.");
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            string sentence = AtomicFile.IsFull(error) ? "the disk is full; free some space and run the command again." : error.Message;
            Say($"nola: {NolaException.OneLine(sentence)}");
        }
        catch (Exception error)
        {
            string what = $"{error.GetType().Name}: {NolaException.OneLine(error.Message, 200)}";
            Say($"nola: internal error ({what}); please report it. NOLA_DEBUG=1 shows where it happened.");
            if (Environment.GetEnvironmentVariable("NOLA_DEBUG") == "1") Console.Error.WriteLine(error);
            return InternalError;
        }
        return 1;
    }
}
