using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// The likeliest next tokens of every sequence of a step. Penalties and bans are put into the logits on their device, and only
/// what the searches look at is copied to the host.
/// </summary>
internal sealed class NextTokens
{
    private readonly float[] values, normalisers;
    private readonly int[] ids;
    private readonly int columns;

    private NextTokens(float[] values, int[] ids, float[] normalisers) =>
        (this.values, this.ids, this.normalisers, columns) = (values, ids, normalisers, values.Length / normalisers.Length);

    /// <summary>Ranks the next tokens of each row.</summary>
    /// <param name="logits">After each sequence; further rows are of no interest. Changed. (S or more, V)</param>
    /// <param name="rules">What is banned and penalised.</param>
    /// <param name="sequences">What each row continues.</param>
    /// <param name="wanted">How many tokens of each row; 0 for all of them, unsorted.</param>
    /// <exception cref="NolaException">The model gives values that are not numbers.</exception>
    public static NextTokens Rank(Tensor logits, TokenRules rules, IReadOnlyList<(int[] Prompt, int[] Generated)> sequences, int wanted)
    {
        Device device = logits.Device;
        int rows = logits.Shape.Rows;
        using Tensor normalisers = device.Empty([rows]);
        // Hugging Face's beam search normalises first, so that what is banned keeps its share of the probability.
        if (rules.AfterNormalising) device.LogSumExp(logits, normalisers);
        rules.Apply(logits, sequences, normalisers);
        if (!rules.AfterNormalising) device.LogSumExp(logits, normalisers);
        using Tensor values = device.Empty([rows, wanted]), ids = device.Empty([rows, wanted], DType.Int32);
        if (wanted > 0) device.TopK(logits, values, ids);
        float[] sums = new float[rows], top = new float[wanted > 0 ? rows * wanted : logits.Length];
        int[] tokens = new int[rows * wanted];
        device.DownloadAll((normalisers, sums), (wanted > 0 ? values : logits, top), (ids, tokens));
        if (Array.Exists(sums[..sequences.Count], float.IsNaN)) throw new NolaException("The model's logits are not numbers; its weights or the adapter's are damaged, or do not fit each other.");
        return new NextTokens(top, tokens, sums);
    }

    /// <summary>The tokens of a row with their log-probabilities, the likeliest first.</summary>
    public IEnumerable<(int Token, double LogProbability)> Of(int row)
    {
        for (int i = row * columns; i < (row + 1) * columns && ids[i] >= 0; i++)
            // A probability is not above 1, whatever rounding says.
            yield return (ids[i], Math.Min(0, (double)values[i] - normalisers[row]));
    }

    /// <summary>One token of a row by the sampler; null when all are banned.</summary>
    public int? Choose(int row, GenerateOptions options, int step, int sequence)
    {
        if (float.IsNegativeInfinity(normalisers[row])) return null;
        ReadOnlySpan<float> own = values.AsSpan(row * columns, columns);
        if (ids.Length == 0) return Sampler.Choose(own, options, step, sequence);
        ReadOnlySpan<int> tokens = ids.AsSpan(row * columns, columns);
        int none = tokens.IndexOf(-1), count = none < 0 ? columns : none;
        return Sampler.Choose(own[..count], tokens[..count], options, step, sequence);
    }
}
