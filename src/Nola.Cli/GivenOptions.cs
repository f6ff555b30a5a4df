using System.CommandLine;

namespace Nola.Cli;

/// <summary>What a person has given on the command line.</summary>
internal static class GivenOptions
{
    /// <summary>Whether an option was given, and has not its default.</summary>
    public static bool IsGiven(this ParseResult result, Option option) => result.GetResult(option) is { Implicit: false };
}
