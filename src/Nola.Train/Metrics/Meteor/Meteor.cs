using System.Collections.Concurrent;

namespace Nola.Train.Metrics;

/// <summary>
/// METEOR 1.5 (Denkowski and Lavie 2014) for English with the parameters of its ranking task, in [0, 1]:
/// (1 − γ·(chunks/matches)^β) · P·R / (αP + (1−α)R), α = 0.85, β = 0.2, γ = 0.6, where P and R weigh content words δ = 0.75
/// and function words 1 − δ, and matches by how they were found: exact 1, by stem 0.6, by synonym 0.8, by paraphrase 0.6.
/// Each output counts beside the reference with which it scores best; the corpus's score is that of the summed counts.
/// </summary>
/// <remarks>
/// References in groups are scored as coco-caption does it, on Penn Treebank tokens without punctuation; references in
/// columns as GenerationEval does it, on the text itself. Both go through METEOR's own normalization (<c>-norm</c>).
/// Without a WordNet or a paraphrase table those stages are left out, and the signature says so: such scores are
/// METEOR's own with fewer modules, not comparable with published ones. Texts of some thousand words that are mostly the same
/// few may be too long for the search, and are refused then.
/// </remarks>
public sealed class Meteor(WordNet? wordNet = null, ParaphraseTable? paraphrases = null) : IMetric
{
    // A step is a look of one path at one match; so many take a second or so.
    private const long MostSteps = 60_000_000;

    private readonly MeteorLexicon lexicon = new(wordNet);

    // References come again, beside the outputs of other systems; outputs do not.
    private readonly ConcurrentDictionary<string, MeteorWord[]> references = new();

    /// <inheritdoc/>
    public string Name => "METEOR";

    /// <summary>How words are matched, in the order of preference.</summary>
    public IReadOnlyList<string> Stages { get; } =
    [
        "exact", "stem", .. wordNet is null ? [] : new[] { "synonym" }, .. paraphrases is null ? [] : new[] { "paraphrase" },
    ];

    /// <inheritdoc/>
    public Score Score(Corpus corpus)
    {
        bool treebank = corpus.Form == ReferenceForm.Groups;
        IReadOnlyList<string> hypotheses = treebank ? corpus.Treebank.Hypotheses : corpus.Hypotheses;
        IReadOnlyList<IReadOnlyList<string>> references = treebank ? corpus.Treebank.References : corpus.AllReferences;
        MeteorStatistics[] segments = SideBySide.Of(corpus.Count, i => Segment(hypotheses[i], references[i], new(Name, i, MostSteps)));
        MeteorStatistics total = new();
        foreach (MeteorStatistics segment in segments) total.Add(segment);
        return new(Name, total.Score(), [.. segments.Select(s => s.Score())], new(corpus, treebank ? "meteor-1.5-coco" : "meteor-1.5",
            ("lang", "en"), ("task", "rank"), ("norm", "yes"),
            ("tok", treebank ? "ptb-3.7.0-nopunct" : "none"), ("stages", string.Join('+', Stages))));
    }

    private MeteorStatistics Segment(string hypothesis, IReadOnlyList<string> references, SearchBudget budget)
    {
        MeteorWord[] output = Words(hypothesis);
        MeteorStatistics? best = null;
        foreach (string reference in references)
        {
            MeteorWord[] words = this.references.GetOrAdd(reference, Words);
            MeteorStatistics here = MeteorStatistics.Of(new MeteorAligner(output, words, paraphrases, budget));
            if (best is null || here.Score() > best.Score()) best = here;
        }
        return best!;
    }

    private MeteorWord[] Words(string text) => [.. MeteorNormalizer.Words(text).Select(lexicon.Get)];
}
