using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// The likeliest next tokens of every sequence of a step. Penalties and bans are put into the logits on their device, and only
/// what the searches look at is copied to the host.
/// </summary>
internal sealed class NextTokens
{
    private readonly float[] all, ranked;                                         // (S, V) or empty, (S, columns)
    private readonly int[] ids;                                                   // (S, columns)
    private readonly float[] logSums;                                             // (S)
    private readonly int columns, vocabulary;

    private NextTokens(float[] all, float[] ranked, int[] ids, float[] logSums, int columns, int vocabulary) =>
        (this.all, this.ranked, this.ids, this.logSums, this.columns, this.vocabulary) = (all, ranked, ids, logSums, columns, vocabulary);

    /// <summary>Ranks the next tokens of each row, as many as the search that looks at most of them wants.</summary>
    /// <param name="logits">After each sequence; further rows are of no interest. Changed. (S or more, V)</param>
    /// <param name="sequences">What each row continues.</param>
    public static NextTokens Rank(Tensor logits, IReadOnlyList<(Search Search, int[] Generated)> sequences)
    {
        Device device = logits.Device;
        int rows = logits.Shape.Rows, vocabulary = logits.Shape.Columns;
        bool[] after = [.. sequences.Select(s => TokenRules.AfterNormalizing(s.Search.Options))];
        using Tensor before = device.Empty([rows]), changed = device.Empty([rows]);
        // Hugging Face's beam search normalizes first, so that what is banned keeps its share of the probability.
        bool first = after.Contains(true), last = after.Contains(false);
        if (first) device.LogSumExp(logits, before);
        TokenRules.Apply(logits, sequences, before);
        if (last) device.LogSumExp(logits, changed);
        int wanted = sequences.Max(s => Math.Max(s.Search.Wanted, Math.Min(vocabulary, s.Search.Listener?.Top ?? 0)));
        bool whole = sequences.Any(s => s.Search.Wanted == 0);
        using Tensor values = device.Empty([rows, wanted]), ids = device.Empty([rows, wanted], DType.Int32);
        if (wanted > 0) device.TopK(logits, values, ids);
        float[] sumsBefore = new float[rows], sumsAfter = new float[rows];
        float[] top = new float[rows * wanted], all = new float[whole ? logits.Length : 0];
        int[] tokens = new int[rows * wanted];
        List<(Tensor, Array)> downloads = [];
        if (first) downloads.Add((before, sumsBefore));
        if (last) downloads.Add((changed, sumsAfter));
        if (wanted > 0) downloads.AddRange([(values, top), (ids, tokens)]);
        if (whole) downloads.Add((logits, all));
        device.DownloadAll([.. downloads]);
        float[] sums = [.. after.Select((earlier, s) => earlier ? sumsBefore[s] : sumsAfter[s])];
        return new NextTokens(all, top, tokens, sums, wanted, vocabulary);
    }

    /// <summary>Whether what the model gives for some rows are numbers.</summary>
    public bool AreNumbers(int row, int count) => !Array.Exists(logSums[row..(row + count)], float.IsNaN);

    /// <summary>The likeliest tokens of a row with their log-probabilities, the likeliest first.</summary>
    public IEnumerable<TokenLogProbability> Of(int row, int count)
    {
        for (int i = row * columns; i < row * columns + Math.Min(count, columns) && ids[i] >= 0; i++)
            yield return new(ids[i], LogProbability(ranked[i], row));
    }

    /// <summary>One token of a row by the sampler, with its log-probability; null when all are banned.</summary>
    public (int Token, double LogProbability)? Choose(int row, Search search, int step)
    {
        if (float.IsNegativeInfinity(logSums[row])) return null;
        if (search.Wanted == 0)
        {
            ReadOnlySpan<float> own = all.AsSpan(row * vocabulary, vocabulary);
            int chosen = Sampler.Choose(own, search.Options, step, search.Sequence);
            return (chosen, LogProbability(own[chosen], row));
        }
        int wanted = Math.Min(search.Wanted, columns);
        ReadOnlySpan<int> tokens = ids.AsSpan(row * columns, wanted);
        int none = tokens.IndexOf(-1), count = none < 0 ? wanted : none;
        ReadOnlySpan<float> values = ranked.AsSpan(row * columns, count);
        int token = Sampler.Choose(values, tokens[..count], search.Options, step, search.Sequence);
        return (token, LogProbability(values[tokens.IndexOf(token)], row));
    }

    // A probability is not above 1, whatever rounding says.
    private double LogProbability(float value, int row) => Math.Min(0, (double)value - logSums[row]);
}
