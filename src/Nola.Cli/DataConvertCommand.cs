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
        Option<string> template = new("--template")
        {
            Description = "Write each context into this text, in the place of {context}; \\n is a line break",
        };
        Option<bool> asText = new("--as-text")
        {
            Description = "Write {\"text\": …}: context and completion as one text, all of which is learned, with nothing between them",
        };
        WholeOption<int> longest = new("--longest")
        {
            Description = "Leave out pairs of more characters, a space between the two sides counted [no limit]",
        };
        WholeOption<int> first = new("--first") { Description = "Only so many of the pairs that are not left out [all]" };
        Command command = new("convert", "Write pairs as JSONL: one {\"context\": …, \"completion\": …} per line, or {\"text\": …}.")
        {
            input, output, subset, template, asText, longest, first, common.Json,
        };
        command.Does((r, _) =>
        {
            string path = r.GetValue(output)!;
            if (Path.GetExtension(path) != ".jsonl")
                throw new NolaException($"--out is '{path}'; give a name that ends in .jsonl, so that it can be read back.");
            TextPairs all = TextPairs.Open(r.GetValue(input)!, Read(r.GetValue(subset)!));
            PairRewriting how = new(
                r.GetValue(template)?.Replace("\\n", "\n", StringComparison.Ordinal), r.GetValue(asText),
                r.GetResult(longest) is null ? null : r.GetValue(longest), r.GetResult(first) is null ? null : r.GetValue(first));
            TextPairs pairs = how.Rewrite(all);
            pairs.SaveLines(path);
            int left = all.Count - pairs.Count;
            if (r.GetValue(common.Json))
                Terminal.Json(new { @out = path, pairs = pairs.Count, left_out = left, bytes = new FileInfo(path).Length });
            else
                Terminal.Say(
                    $"Wrote {pairs.Count:N0} pairs to {path}{(left > 0 ? $", and left out {left:N0}" : "")}.{EmptyCompletions(pairs)}");
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
