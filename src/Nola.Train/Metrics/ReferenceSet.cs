namespace Nola.Train.Metrics;

/// <summary>
/// References, and what tokenizers make of them: made when first asked for, and once for all the systems whose outputs are scored
/// beside them.
/// </summary>
internal sealed class ReferenceSet
{
    private readonly Lazy<string[][]> treebank;
    private readonly Lazy<string[][][]> pymteval;

    /// <summary>References of each output, with or without blank ones, put into the form that they are scored in.</summary>
    public ReferenceSet(IReadOnlyList<IReadOnlyList<string>> all, TextForm text = default)
    {
        Text = text;
        All = text == default ? all : [.. all.Select(group => (IReadOnlyList<string>)[.. group.Select(text.Of)])];
        NotBlank = [.. All.Select(group => (IReadOnlyList<string>)[.. group.Where(r => !Corpus.IsBlank(r))])];
        treebank = new(() => TreebankCorpus.Clean(NotBlank));
        pymteval = new(() => [.. NotBlank.Select(group => group.Select(MtevalTokenizer.Pymteval).ToArray())]);
    }

    /// <summary>The form of these references, which outputs are put into as well.</summary>
    public TextForm Text { get; }

    /// <summary>The references of each output with the blank ones that files have where there are fewer.</summary>
    public IReadOnlyList<IReadOnlyList<string>> All { get; }

    /// <summary>Those that are not blank.</summary>
    public IReadOnlyList<IReadOnlyList<string>> NotBlank { get; }

    /// <summary>Those that are not blank as coco-caption sees them.</summary>
    public string[][] Treebank => treebank.Value;

    /// <summary>Their tokens by pymteval: for each output, for each reference.</summary>
    public string[][][] Pymteval => pymteval.Value;
}
