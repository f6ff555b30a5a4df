using System.CommandLine;
using System.CommandLine.Parsing;
using Nola.Train;

namespace Nola.Cli;

/// <summary>One sentence about a command line that cannot be read, with the nearest thing that can.</summary>
internal static class Usage
{
    /// <summary>Exit code for a wrong command line.</summary>
    private const int WrongUsage = 2;

    public static int Explain(ParseResult parsed)
    {
        Command command = parsed.CommandResult.Command;
        string name = command is RootCommand ? "nola" : "nola " + command.Name;
        Terminal.Say($"nola: {Sentence(parsed, command, name)} See '{name} --help'.");
        return WrongUsage;
    }

    private static string Sentence(ParseResult parsed, Command command, string name)
    {
        if (parsed.UnmatchedTokens.FirstOrDefault() is not { } word) return parsed.Errors[0].Message;
        if (word.StartsWith('-'))
            return $"'{word}' is not an option of '{name}'; did you mean '{Spelling.Nearest(word, command.Options.Select(o => o.Name))}'?";
        return command.Subcommands.Count > 0
            ? $"'{word}' is not a command; did you mean '{Spelling.Nearest(word, command.Subcommands.Select(c => c.Name))}'?"
            : $"'{word}' is not expected here.";
    }
}
