using System.CommandLine;
using System.Globalization;
using Nola.Train;
using Nola.Train.Metrics;

namespace Nola.Cli;

/// <summary><c>nola score</c>: system outputs against references, with the scores of the original tools.</summary>
internal static class ScoreCommand
{
    public static Command Create()
    {
        CommonOptions common = new();
        Option<string[]> references = new("--refs")
        {
            Description = "One file with groups of references separated by blank lines (or one reference per line), "
                + "or several files, each with one reference per line",
            Required = true,
            AllowMultipleArgumentsPerToken = true,
            Arity = ArgumentArity.OneOrMore,
        };
        Option<string> hypotheses = new("--hyp") { Description = "System outputs, one per line; - for standard input", Required = true };
        Option<string[]> metrics = new("--metrics")
        {
            Description = $"Some of {string.Join(", ", Scorer.Names)}, separated by commas or spaces; "
                + "by default all of them (multi-bleu only for several files)",
            AllowMultipleArgumentsPerToken = true,
        };
        Option<string> mteval = new ChoiceOption("--mteval", "pymteval", "v13a")
        {
            Description = "BLEU and NIST as pymteval computes them (LoRA's and NOLA's numbers), or as mteval-v13a.pl",
        };
        Option<string> wordNet = WordNetOption(), paraphrases = ParaphrasesOption();
        Option<string> prompts = new("--prompts")
        {
            Description = "The data set that was decoded, such as e2e:test: its distinct contexts, with which SER compares",
        };
        Option<bool> lower = new("--lower")
        {
            Description = "Convert both sides to lower case first; with --tokenize, as LoRA and NOLA score WebNLG and DART",
        };
        Option<bool> tokenize = new("--tokenize")
        {
            Description = "Make every character except letters, digits and _ a separate word first",
        };
        Option<bool> allowEmpty = new("--allow-empty")
        {
            Description = "Score empty hypotheses as the original tools do instead of refusing them",
        };
        Command command = new("score", "Score system outputs: BLEU, NIST, ROUGE-L, "
            + "CIDEr, METEOR, TER, chrF++ as e2e-metrics and GenerationEval compute them.")
        {
            references, hypotheses, metrics, mteval, wordNet, paraphrases, lower, tokenize, allowEmpty, prompts, common.Json,
        };
        command.Does((r, _) =>
        {
            Corpus corpus = Corpus.Read(
                r.GetValue(references)!, r.GetValue(hypotheses)!, r.GetValue(allowEmpty), new(r.GetValue(lower), r.GetValue(tokenize)));
            if (r.GetValue(prompts) is { } decoded)
                corpus = corpus.With([.. Contexts(decoded).Select(pair => pair.Context)]);
            IReadOnlyList<Score> scores = Scorer.Score(corpus, Meteor(r.GetValue(wordNet), r.GetValue(paraphrases)) with
            {
                Metrics = [.. (r.GetValue(metrics) ?? [])
                    .SelectMany(m => m.Split([',', ' '], StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))],
                V13a = r.GetValue(mteval) == "v13a",
            });
            Show(corpus, scores, r.GetValue(common.Json));
            return 0;
        });
        return command;
    }

    /// <summary><c>--wordnet</c>.</summary>
    public static Option<string> WordNetOption() => new("--wordnet")
    {
        Description = "WordNet's or METEOR's synonym directory, for METEOR's synonyms",
        DefaultValueFactory = _ => FromEnvironment(),
    };

    /// <summary><c>--paraphrases</c>.</summary>
    public static Option<string> ParaphrasesOption() =>
        new("--paraphrases") { Description = "METEOR's paraphrase table (data/paraphrase-en.gz)" };

    /// <summary>What METEOR is given.</summary>
    public static ScoreOptions Meteor(string? wordNet, string? paraphrases) => new()
    {
        WordNet = wordNet is { Length: > 0 } ? wordNet : null,
        Paraphrases = paraphrases,
    };

    private static IReadOnlyList<TextPair> Contexts(string source) =>
        TextPairs.IsEmbedded(source) ? Prompts.Distinct(TextPairs.Open(source)) : Prompts.Read(source);

    // WordNet's own variables: its database, or the directory above it.
    private static string FromEnvironment() =>
        Environment.GetEnvironmentVariable("WNSEARCHDIR")
            ?? (Environment.GetEnvironmentVariable("WNHOME") is { Length: > 0 } home ? Path.Combine(home, "dict") : "");

    private static void Show(Corpus corpus, IReadOnlyList<Score> scores, bool json)
    {
        if (json)
        {
            Dictionary<string, object> facts = scores.ToDictionary(s => s.Metric, s => (object)s.Value);
            facts["hypotheses"] = corpus.Count;
            facts["references"] = corpus.ReferenceCount;
            facts["signatures"] = scores.ToDictionary(s => s.Metric, s => s.Signature.ToString());
            Terminal.Json(facts);
            return;
        }
        Terminal.Say($"{corpus.Count:N0} hypotheses, {corpus.ReferenceCount:N0} references");
        int width = scores.Max(s => s.Metric.Length);
        foreach (Score score in scores)
            Console.Out.WriteLine(
                $"{score.Metric.PadRight(width)}  {score.Value.ToString("F6", CultureInfo.InvariantCulture),9}  {score.Signature}");
    }
}
