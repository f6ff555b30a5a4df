using System.CommandLine;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Cli;

/// <summary><c>nola join</c>: the adapters of several tasks in one file.</summary>
internal static class JoinCommand
{
    public static Command Create()
    {
        CommonOptions common = new();
        Argument<string[]> adapters = new("adapters")
        {
            Description = "Adapter files of Nola, each alone or as NAME=FILE; else the name is that of the run's directory or the file",
            Arity = ArgumentArity.OneOrMore,
        };
        Option<string> output = new("--out") { Description = "File to write", Required = true };
        Command command = new("join", "Put the adapters of several tasks with one base, one seed and equal settings into one file. "
            + "Afterwards, --adapter FILE:NAME names one of them.")
        {
            adapters, output, common.Json,
        };
        command.Does((r, _) =>
        {
            (string Name, string Path)[] tasks = [.. r.GetValue(adapters)!.Select(Named)];
            string file = r.GetValue(output)!;
            TaskFile.Join(tasks, file);
            long before = tasks.Sum(task => InputFile.Length(task.Path)), after = InputFile.Length(file);
            if (r.GetValue(common.Json))
            {
                Terminal.Json(new { @out = file, tasks = tasks.Select(task => task.Name), bytes_before = before, bytes_after = after });
                return 0;
            }
            Terminal.Say(
                $"{tasks.Length} tasks: {before / 1024.0:F1} KB → {after / 1024.0:F1} KB. "
                + $"Wrote {file}; name one with --adapter {file}:{tasks[0].Name}.");
            return 0;
        });
        return command;
    }

    // What stands before '=' where the whole is no file; else the directory of a run, or the file without its extension.
    private static (string Name, string Path) Named(string text)
    {
        int equals = text.IndexOf('=');
        if (equals > 0 && !File.Exists(text)) return (text[..equals], text[(equals + 1)..]);
        string file = Path.GetFileNameWithoutExtension(text);
        string? directory = Path.GetFileName(Path.GetDirectoryName(Path.GetFullPath(text)));
        return (file == "adapter" && !string.IsNullOrEmpty(directory) ? directory : file, text);
    }
}
