using System.CommandLine;
using Nola.Tensors;
using Nola.Train;

namespace Nola.Cli;

/// <summary><c>nola data convert</c>: any form of pairs as JSONL.</summary>
internal static class DataConvertCommand
{
    public static Command Create()
    {
        CommonOptions common = new();
        Argument<string> input = new("input")
        {
            Description = "Pairs in any form that train reads, - for standard input, or e2e:train, e2e:dev, e2e:test",
        };
        Option<string> output = new("--out") { Description = "File to write; its extension is .jsonl", Required = true };
        Option<string> subset = Subset();
        Command command = new("convert", "Write pairs as JSONL: one {\"context\": …, \"completion\": …} per line, or {\"text\": …}.")
        {
            input, output, subset, common.Json,
        };
        command.Does((r, _) =>
        {
            string path = r.GetValue(output)!;
            if (Path.GetExtension(path) != ".jsonl")
                throw new NolaException($"--out is '{path}'; give a name that ends in .jsonl, so that it can be read back.");
            TextPairs pairs = TextPairs.Open(r.GetValue(input)!, Read(r.GetValue(subset)!));
            pairs.SaveLines(path);
            if (r.GetValue(common.Json)) Terminal.Json(new { @out = path, pairs = pairs.Count, bytes = new FileInfo(path).Length });
            else Terminal.Say($"Wrote {pairs.Count:N0} pairs to {path}.{EmptyCompletions(pairs)}");
            return 0;
        });
        return command;
    }

    // They are allowed, since published sets have some, but are more often a mistake in the file.
    private static string EmptyCompletions(TextPairs pairs)
    {
        int empty = pairs.Count(pair => pair.Completion.Length == 0 && pair.CompletionIds is not { Length: > 0 });
        return empty == 0 ? "" : $" Of these {empty:N0} {(empty == 1 ? "has" : "have")} an empty completion, which teaches to say nothing.";
    }

    /// <summary>The option that chooses WebNLG's seen or unseen categories.</summary>
    public static Option<string> Subset() => new ChoiceOption("--subset", "all", "seen", "unseen")
    {
        Description = "Of data with categories (WebNLG): all, or only the categories that are in its training set (seen) or not (unseen)",
    };

    /// <summary>What the option's word means.</summary>
    public static DataSubset Read(string word) => Enum.Parse<DataSubset>(word, ignoreCase: true);
}
