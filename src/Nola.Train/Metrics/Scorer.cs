using Nola.Tensors;

namespace Nola.Train.Metrics;

/// <summary>Which metrics, and what they need.</summary>
public sealed record ScoreOptions
{
    /// <summary>Names of metrics (<see cref="Scorer.Names"/>), in any case; empty for the usual ones.</summary>
    public IReadOnlyList<string> Metrics { get; init; } = [];

    /// <summary>BLEU and NIST as mteval-v13a.pl computes them, not as pymteval does.</summary>
    public bool V13a { get; init; }

    /// <summary>A WordNet directory for METEOR's synonyms (<see cref="WordNet.Read"/>).</summary>
    public string? WordNet { get; init; }

    /// <summary>A paraphrase table for METEOR (<see cref="ParaphraseTable.Read"/>).</summary>
    public string? Paraphrases { get; init; }
}

/// <summary>Runs several metrics on a corpus, side by side.</summary>
public static class Scorer
{
    /// <summary>The name of the metric that asks for references in columns.</summary>
    internal const string MultiBleu = "multi-bleu";

    /// <summary>The name of the metric that asks for contexts.</summary>
    internal const string Slots = "SER";

    /// <summary>All metrics.</summary>
    public static IReadOnlyList<string> Names { get; } = ["BLEU", "NIST", "ROUGE_L", "CIDEr", "METEOR", "TER", "chrF++", MultiBleu, Slots];

    /// <summary>Scores in the order of the names; the usual ones are all, but multi-bleu only for references in columns, and SER only
    /// where there are contexts.</summary>
    /// <exception cref="NolaException">
    /// There is no such metric, what METEOR needs is missing, or a text is too long for TER or METEOR.
    /// </exception>
    public static IReadOnlyList<Score> Score(Corpus corpus, ScoreOptions? options = null)
    {
        ScoreOptions chosen = options ?? new();
        IEnumerable<string> names = chosen.Metrics.Count > 0 ? chosen.Metrics : Names.Where(IsUsual);
        IMetric[] metrics = [.. names.Select(n => Create(n, chosen)).DistinctBy(m => m.Name)];
        return SideBySide.Of(metrics.Length, i => metrics[i].Score(corpus));

        bool IsUsual(string name) => name switch
        {
            MultiBleu => corpus.Form == ReferenceForm.Columns,
            Slots => corpus.Contexts is not null,
            _ => true,
        };
    }

    /// <summary>One metric, with what it needs.</summary>
    /// <exception cref="NolaException">There is no such metric, or what METEOR needs is missing.</exception>
    internal static IMetric Create(string name, ScoreOptions options) => name.ToUpperInvariant() switch
    {
        "BLEU" => options.V13a ? new MtevalBleu() : new Bleu(),
        "NIST" => options.V13a ? new MtevalNist() : new Nist(),
        "ROUGE_L" or "ROUGE-L" => new RougeL(),
        "CIDER" => new Cider(),
        "METEOR" => new Meteor(
            options.WordNet is { } directory ? WordNet.Read(directory) : null,
            options.Paraphrases is { } table ? ParaphraseTable.Read(table) : null),
        "TER" => new TranslationEditRate(),
        "CHRF++" => new ChrF(),
        "MULTI-BLEU" => new MultiBleu(),
        Slots => new SlotErrorRate(),
        _ => throw new NolaException(
            $"'{name}' is not a metric; did you mean '{Spelling.Nearest(name, Names)}'? There are {string.Join(", ", Names)}."),
    };
}
