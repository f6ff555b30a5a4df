using System.CommandLine;
using Nola.Tensors;

namespace Nola.Cli;

/// <summary>What the command line has for the options that a message of the library advises to change.</summary>
internal static class Hints
{
    // Flags by the library's names, and for what is no option of a command, the command that helps.
    private static readonly Dictionary<string, string> flagOf = new(StringComparer.OrdinalIgnoreCase)
    {
        ["AllowEmpty"] = "--allow-empty",
        ["BatchTokens"] = "--batch-tokens",
        ["ClipNorm"] = "--clip",
        ["Device"] = "--device",
        ["Directory"] = "--out",
        ["LearningRate"] = "--lr",
        ["NearestRank"] = "--nearest-rank",
        ["Prompts"] = "--prompts",
        ["Resume"] = "--resume",
        ["Truncate"] = "--truncate",
        ["WarmupSteps"] = "--warmup",
    };

    private static readonly Dictionary<string, string> commandOf = new(StringComparer.OrdinalIgnoreCase)
    {
        ["Device"] = "nola devices",
        ["quantize-bits"] = "nola quantize",
        ["Settings"] = "nola train --help",
    };

    /// <summary>
    /// A sentence to put behind the message, with a space before it: the flags that the running command has (all, when it is
    /// null), and the command to see. Empty when there is nothing to add.
    /// </summary>
    public static string For(NolaException error, Command? command)
    {
        IReadOnlyList<string> names = NamesIn(error);
        string[] flags = [.. names.Where(flagOf.ContainsKey).Select(name => flagOf[name]).Where(flag => Has(command, flag))];
        string[] others = [.. names.Where(commandOf.ContainsKey).Select(name => $"'{commandOf[name]}'")];
        string options = flags.Length > 0 ? $" Options: {string.Join(", ", flags)}." : "";
        return others.Length > 0 ? $"{options} See {string.Join(", ", others)}." : options;
    }

    // A message around another repeats its advice.
    private static IReadOnlyList<string> NamesIn(Exception? error)
    {
        for (; error is not null; error = error.InnerException)
            if (error is NolaException { Options: { Count: > 0 } names }) return names;
        return [];
    }

    private static bool Has(Command? command, string flag) => command is null || command.Options.Any(option => option.Name == flag);
}
