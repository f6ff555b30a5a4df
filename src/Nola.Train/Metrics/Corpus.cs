using Nola.Tensors;

namespace Nola.Train.Metrics;

/// <summary>How references were written down, which tells what scores them traditionally.</summary>
public enum ReferenceForm
{
    /// <summary>Groups of any size, separated by blank lines, as e2e-metrics reads them.</summary>
    Groups,

    /// <summary>
    /// A file for the first references, one for the second and so on;
    /// a blank line where there are fewer. As GenerationEval reads them.
    /// </summary>
    Columns,
}

/// <summary>System outputs beside their references: what every metric scores.</summary>
public sealed class Corpus
{
    private readonly ReferenceSet references;
    private readonly Lazy<TreebankCorpus> treebank;

    /// <summary>Outputs and, for each, its references.</summary>
    /// <exception cref="NolaException">
    /// Different lengths, an output without a reference,
    /// or an empty output without <paramref name="allowEmpty"/>.
    /// </exception>
    public Corpus(
        IReadOnlyList<string> hypotheses, IReadOnlyList<IReadOnlyList<string>> references,
        ReferenceForm form = ReferenceForm.Groups, bool allowEmpty = false, TextForm text = default)
        : this(hypotheses, new ReferenceSet(references, text), form, allowEmpty)
    {
    }

    /// <summary>Outputs of one of several systems beside references that they share.</summary>
    internal Corpus(IReadOnlyList<string> hypotheses, ReferenceSet references, ReferenceForm form, bool allowEmpty)
    {
        if (hypotheses.Count == 0) throw new NolaException("There is no hypothesis to score.");
        if (hypotheses.Count != references.All.Count)
            throw new NolaException($"There are {hypotheses.Count:N0} hypotheses but references for {references.All.Count:N0}; "
                + "one hypothesis per line belongs to one group or line of references.");
        for (int i = 0; i < hypotheses.Count; i++)
        {
            if (!allowEmpty && IsBlank(hypotheses[i])) throw Empty($"Hypothesis {i + 1:N0} is empty");
            if (references.NotBlank[i].Count == 0)
                throw new NolaException($"Hypothesis {i + 1:N0} has no reference; every hypothesis needs at least one that is not blank.");
        }
        (Form, this.references) = (form, references);
        Hypotheses = Text == default ? hypotheses : [.. hypotheses.Select(Text.Of)];
        treebank = new(() => new(TreebankCorpus.Clean(Hypotheses), references.Treebank));
    }

    /// <summary>System outputs.</summary>
    public IReadOnlyList<string> Hypotheses { get; }

    /// <summary>The references of each output that are not blank.</summary>
    public IReadOnlyList<IReadOnlyList<string>> References => references.NotBlank;

    /// <summary>The references of each output with the blank ones that files have where there are fewer; some tools count them.</summary>
    public IReadOnlyList<IReadOnlyList<string>> AllReferences => references.All;

    /// <summary>What each output was made from, for metrics that compare with it; null when nobody gave it.</summary>
    public IReadOnlyList<string>? Contexts
    {
        get;
        init => field = value is null || value.Count == Count
            ? value
            : throw new NolaException(
                $"There are {value.Count:N0} contexts and {Count:N0} hypotheses; one hypothesis belongs to each context.");
    }

    /// <summary>What was done to both sides before they are scored.</summary>
    public TextForm Text => references.Text;

    /// <summary>The same outputs and references with what each output was made from.</summary>
    /// <exception cref="NolaException">There are more or fewer.</exception>
    public Corpus With(IReadOnlyList<string> contexts) => new(Hypotheses, references, Form, allowEmpty: true) { Contexts = contexts };

    /// <summary>How the references were written down.</summary>
    public ReferenceForm Form { get; }

    /// <summary>Number of outputs.</summary>
    public int Count => Hypotheses.Count;

    /// <summary>Number of references that are not blank.</summary>
    public int ReferenceCount => References.Sum(r => r.Count);

    /// <summary>Both sides as coco-caption sees them; made once, when first asked for.</summary>
    internal TreebankCorpus Treebank => treebank.Value;

    /// <summary>Tokens of the references that are not blank, by pymteval: for each output, for each reference.</summary>
    internal string[][][] PymtevalReferences => references.Pymteval;

    /// <summary>References of an output, as signatures say it: <c>6</c>, or <c>1-16</c> where it varies.</summary>
    internal string ReferenceRange
    {
        get
        {
            (int least, int most) = (References.Min(r => r.Count), References.Max(r => r.Count));
            return least == most ? $"{least}" : $"{least}-{most}";
        }
    }

    /// <summary>
    /// Reads one hypothesis per line, and references from one file (groups separated by blank lines, or one reference per
    /// line where there is no blank line) or from several, each with one reference per line. Files may be <c>.gz</c>, and one of
    /// them standard input (<c>-</c>).
    /// </summary>
    /// <exception cref="NolaException">A file is missing or not UTF-8, or lengths differ, or a hypothesis is empty.</exception>
    public static Corpus Read(IReadOnlyList<string> referenceFiles, string hypothesisFile, bool allowEmpty = false, TextForm text = default)
    {
        if (referenceFiles.Count == 0) throw new NolaException("There is no file of references.");
        string[] hypotheses = Lines(hypothesisFile);
        if (hypotheses.Length == 0) throw new NolaException($"{hypothesisFile}: there is no hypothesis; one per line is expected.");
        if (!allowEmpty && Array.FindIndex(hypotheses, IsBlank) is >= 0 and int at)
            throw Empty($"{hypothesisFile}: line {at + 1:N0} is empty, but every line is a hypothesis");
        return referenceFiles.Count == 1
            ? ReadGroups(referenceFiles[0], hypothesisFile, hypotheses, text)
            : ReadColumns(referenceFiles, hypothesisFile, hypotheses, text);
    }

    private static NolaException Empty(string what) =>
        new($"{what}; give a text there, or allow empty hypotheses to score them as the original tools do.") { Options = ["AllowEmpty"] };

    private static Corpus ReadGroups(string path, string hypothesisFile, string[] hypotheses, TextForm text)
    {
        List<List<string>> groups = [[]];
        foreach (string line in Lines(path))
            if (!IsBlank(line)) groups[^1].Add(UnicodeText.Strip(line));
            else if (groups[^1].Count > 0) groups.Add([]);
        if (groups[^1].Count == 0) groups.RemoveAt(groups.Count - 1);
        if (groups.Count == 0) throw new NolaException($"{path}: there is no reference.");
        // Without a blank line every line is the one reference of its hypothesis.
        bool single = groups.Count == 1 && hypotheses.Length > 1;
        string[][] references = single ? [.. groups[0].Select(r => new[] { r })] : [.. groups.Select(g => g.ToArray())];
        if (references.Length != hypotheses.Length)
            throw new NolaException($"{path} has {references.Length:N0} {(single ? "references" : "groups of references")} but "
                + $"{hypothesisFile} has {hypotheses.Length:N0} hypotheses; they must be as many.");
        return new([.. hypotheses.Select(UnicodeText.Strip)], references, ReferenceForm.Groups, allowEmpty: true, text);
    }

    private static Corpus ReadColumns(IReadOnlyList<string> paths, string hypothesisFile, string[] hypotheses, TextForm text)
    {
        TextLines[] files = [.. paths.Select(Read)];
        // Files whose lines are joined, so that the last is not ended: there a last line that is blank looks like none.
        TextLines[] complete = [.. files.Where(f => f.Lines.Length == hypotheses.Length)];
        bool joined = complete.Length > 0 && !complete.Any(f => f.Ended);
        string[][] columns = new string[files.Length][];
        for (int i = 0; i < files.Length; i++)
        {
            string[] lines = files[i].Lines;
            bool blankLast = joined && files[i].Ended && lines.Length == hypotheses.Length - 1 && lines is [.., ""];
            columns[i] = blankLast ? [.. lines, ""] : lines;
            if (columns[i].Length != hypotheses.Length)
                throw new NolaException($"{paths[i]} has {lines.Length:N0} lines but {hypothesisFile} has {hypotheses.Length:N0} "
                    + "hypotheses; they must be as many, with a blank line where there is no reference.");
        }
        string[][] references = [.. hypotheses.Select((_, i) => columns.Select(c => c[i]).ToArray())];
        if (Array.FindIndex(references, group => group.All(IsBlank)) is >= 0 and int at)
            throw new NolaException(
                $"{string.Join(", ", paths)}: line {at + 1:N0} is blank in all of them; every hypothesis needs at least one reference.");
        return new(hypotheses, references, ReferenceForm.Columns, allowEmpty: true, text);
    }

    private static string[] Lines(string path) => Read(path).Lines;

    private static TextLines Read(string path)
    {
        using TextInput reader = DataInput.Open(path);
        string text = reader.ReadToEnd();
        bool ended = text.EndsWith('\n');
        if (ended) text = text[..^1];
        return new(text.Length == 0 && !ended ? [] : [.. text.Split('\n').Select(line => line.TrimEnd('\r'))], ended);
    }

    internal static bool IsBlank(string text) => text.All(UnicodeText.IsSpace);

    // The lines of a file, and whether the last of them has an end.
    private sealed record TextLines(string[] Lines, bool Ended);
}
