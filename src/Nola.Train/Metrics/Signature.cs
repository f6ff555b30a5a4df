using Nola.Tensors;

namespace Nola.Train.Metrics;

/// <summary>
/// How a score was computed, in one line like sacreBLEU's:
/// <c>nrefs:1-43|case:lc|tok:13a|…|as:pymteval|version:nola-0.1.0</c>. Scores compare only where their signatures are equal.
/// </summary>
public sealed class Signature
{
    private readonly string text;

    /// <summary>A signature for scores on a corpus.</summary>
    /// <param name="corpus">Gives the number of references, and what was done to the texts.</param>
    /// <param name="original">The tool whose values these are.</param>
    /// <param name="options">Further settings.</param>
    internal Signature(Corpus corpus, string original, params IReadOnlyList<(string Key, string Value)> options) =>
        text = string.Join(
            '|',
            [
                $"nrefs:{corpus.ReferenceRange}",
                .. corpus.Text == default ? [] : (string[])[$"text:{corpus.Text}"],
                .. options.Select(o => $"{o.Key}:{o.Value}"),
                $"as:{original}",
                $"version:nola-{BuildVersion.Number}",
            ]);

    /// <inheritdoc/>
    public override string ToString() => text;
}
