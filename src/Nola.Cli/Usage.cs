using System.CommandLine;
using System.CommandLine.Parsing;
using Nola.Tensors;
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
        string name = NameOf(parsed.CommandResult);
        Terminal.Say($"nola: {Sentence(parsed, command, name)} See '{name} --help'.");
        return WrongUsage;
    }

    /// <summary>A command with those above it, as it is typed: <c>nola data convert</c>.</summary>
    public static string NameOf(CommandResult result) =>
        result.Parent is CommandResult parent ? $"{NameOf(parent)} {result.Command.Name}" : "nola";

    private static string Sentence(ParseResult parsed, Command command, string name)
    {
        if (parsed.UnmatchedTokens.FirstOrDefault() is not { } word) return NolaException.OneLine(parsed.Errors[0].Message);
        string shown = Quoted.Of(word);
        if (word.StartsWith('-'))
            return $"{shown} is not an option of '{name}'; did you mean '{Spelling.Nearest(word, command.Options.Select(o => o.Name))}'?";
        return command.Subcommands.Count > 0
            ? $"{shown} is not a command; did you mean '{Spelling.Nearest(word, command.Subcommands.Select(c => c.Name))}'?"
            : $"{shown} is not expected here.";
    }
}
