using System.Globalization;
using System.IO.Enumeration;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>Sequences of one origin, which are mixed with others by a share of the tokens.</summary>
/// <param name="Name">What it is called in the log and in <c>--mix</c>.</param>
/// <param name="Training">What is learned.</param>
/// <param name="Validation">What it is evaluated on; may be empty.</param>
internal sealed record TrainSource(string Name, EncodedPair[] Training, EncodedPair[] Validation)
{
    /// <summary>Tokens that one pass reads; the last one of a sequence is only predicted.</summary>
    public long Tokens { get; } = Training.Sum(sequence => (long)sequence.Length - 1);

    /// <summary>UTF-8 bytes of the tokens that are predicted in <see cref="Validation"/>; 0 where nobody counted them.</summary>
    public long ValidationBytes { get; init; }
}

/// <summary>
/// Sources by share. An epoch reads as many tokens as all sources have together, and each source gives its share of them: it is
/// read on from where the epoch before left it, in a new order for each pass, so that none of its sequences is read again before
/// all others of it were. What an epoch holds is a pure function of the seed and the epoch.
/// </summary>
internal sealed class Mixture
{
    private readonly int[] first;
    private readonly double[] perEpoch;
    private readonly ulong seed;

    /// <summary>Mixes sources.</summary>
    /// <param name="sources">What there is.</param>
    /// <param name="shares">Of each source; they add up to 1.</param>
    /// <param name="seed">Seed of the orders.</param>
    public Mixture(IReadOnlyList<TrainSource> sources, IReadOnlyList<double> shares, ulong seed)
    {
        (Sources, Shares, this.seed) = (sources, shares, seed);
        Sequences = [.. sources.SelectMany(source => source.Training)];
        first = new int[sources.Count];
        for (int i = 1; i < first.Length; i++) first[i] = first[i - 1] + sources[i - 1].Training.Length;
        double tokens = sources.Sum(source => (double)source.Tokens);
        perEpoch = [.. sources.Zip(shares, (s, share) => s.Tokens == 0 ? 0 : share * tokens / s.Tokens * s.Training.Length)];
    }

    /// <summary>A single source, each of whose epochs is a pass.</summary>
    public static Mixture Of(EncodedPair[] training, EncodedPair[] validation) => new([new("data", training, validation)], [1], 0);

    /// <summary>What is mixed.</summary>
    public IReadOnlyList<TrainSource> Sources { get; }

    /// <summary>The share of the tokens of each source; they add up to 1.</summary>
    public IReadOnlyList<double> Shares { get; }

    /// <summary>The sequences of all sources, one source after the other.</summary>
    public EncodedPair[] Sequences { get; }

    /// <summary>How often each source is read whole in an epoch, on average.</summary>
    public double Passes(int source) => perEpoch[source] / Math.Max(1, Sources[source].Training.Length);

    /// <summary>The source of a sequence.</summary>
    public int SourceOf(int sequence)
    {
        int at = Array.BinarySearch(first, sequence);
        return at >= 0 ? at : ~at - 1;
    }

    /// <summary>The sequences of an epoch, as indices into <see cref="Sequences"/>, source by source.</summary>
    public List<int> Epoch(int epoch)
    {
        List<int> order = [];
        for (int source = 0; source < Sources.Count; source++)
        {
            int count = Sources[source].Training.Length;
            long from = Position(source, epoch), to = Position(source, epoch + 1);
            while (from < to)
            {
                long pass = from / count, end = Math.Min(to, (pass + 1) * count);
                // Batches are shuffled anyhow, so that a whole pass needs no order of its own.
                bool whole = end - from == count;
                int[] sequences = whole ? [] : Pass(source, (int)pass);
                for (; from < end; from++) order.Add(first[source] + (whole ? (int)(from % count) : sequences[from % count]));
            }
        }
        return order;
    }

    /// <summary>The sources and their shares, in a line that a run is known by.</summary>
    public override string ToString() => string.Join(
        ' ', Sources.Zip(Shares, (source, share) => string.Create(CultureInfo.InvariantCulture, $"{source.Name}={share:R}")));

    /// <summary>
    /// The share of each source. Each item of <paramref name="mix"/> is <c>NAME=SHARE</c>, of a source or, with <c>*</c> in the name, of
    /// all sources of that pattern which no other item names; those divide it by their tokens. Sources that no item fits divide
    /// what is left of 1 in the same way.
    /// </summary>
    /// <exception cref="NolaException">An item fits no source, or is not of that form, or the shares do not add up.</exception>
    public static double[] SharesOf(IReadOnlyList<TrainSource> sources, IReadOnlyList<string> mix)
    {
        (string Name, double Share)[] items = [.. mix.Select(Item)];
        foreach ((string Name, double Share) item in items)
            if (items.Count(other => other.Name == item.Name) > 1)
                throw new NolaException($"mix: {Quoted.Of(item.Name)} is given twice; give each name one share.");
        double given = items.Sum(item => item.Share);
        if (given > 1 + 1e-9)
            throw new NolaException(FormattableString.Invariant($"mix: the shares add up to {given:G6}; they are parts of 1."));
        int[] itemOf = [.. sources.Select(source => ItemOf(source.Name))];
        double rest = Math.Max(0, 1 - given);
        if (rest > 1e-9 && !itemOf.Contains(-1))
            throw new NolaException(
                FormattableString.Invariant($"mix: the shares add up to {given:G6} and every source has one; let them add up to 1."));
        double[] shares = new double[sources.Count];
        for (int item = -1; item < items.Length; item++)
        {
            int[] fitting = [.. Enumerable.Range(0, sources.Count).Where(source => itemOf[source] == item)];
            if (item >= 0 && fitting.Length == 0)
                throw new NolaException(
                    $"mix: {Quoted.Of(items[item].Name)} fits no source; there are {string.Join(", ", sources.Select(s => s.Name))}.");
            double tokens = fitting.Sum(source => (double)sources[source].Tokens);
            foreach (int source in fitting)
                shares[source] = (item < 0 ? rest : items[item].Share) * sources[source].Tokens / tokens;
        }
        return shares;

        // A name before a pattern, and the first pattern before others.
        int ItemOf(string source)
        {
            int exact = Array.FindIndex(items, item => item.Name == source);
            return exact >= 0 ? exact : Array.FindIndex(items, item => item.Name.Contains('*') && Fits(item.Name, source));
        }
    }

    private static bool Fits(string pattern, string name) =>
        FileSystemName.MatchesSimpleExpression(pattern.Replace("\\", "\\\\"), name, ignoreCase: false);

    private static (string Name, double Share) Item(string text)
    {
        int sign = text.LastIndexOf('=');
        if (sign > 0 && StrictNumber.TryReal(text.AsSpan(sign + 1), out double share) && share is >= 0 and <= 1)
            return (text[..sign], share);
        throw new NolaException($"mix: {Quoted.Of(text)} is not NAME=SHARE with a share from 0 to 1, such as books=0.2.");
    }

    private long Position(int source, int epoch) => (long)Math.Round(epoch * perEpoch[source]);

    // The order of one pass over a source. The purpose keeps it apart from the orders of batches.
    private int[] Pass(int source, int pass)
    {
        int[] order = [.. Enumerable.Range(0, Sources[source].Training.Length)];
        Batches.Shuffle(order, pass, 2 + (uint)source, seed);
        return order;
    }
}
