using Nola.Tensors;

namespace Nola.Models;

/// <summary>What a model says of the tokens that a prompt has.</summary>
internal static class PromptScores
{
    /// <summary>
    /// The log-probability of the token that follows each row, and the likeliest in its place. That of a token is the same number in
    /// both.
    /// </summary>
    /// <param name="logits">After some tokens of prompts. (P, V)</param>
    /// <param name="targets">The token that follows each. (P)</param>
    /// <param name="top">How many of the likeliest.</param>
    public static TokenReport[] Of(Tensor logits, int[] targets, int top)
    {
        Device device = logits.Device;
        int rows = targets.Length, vocabulary = logits.Shape.Columns, wanted = Math.Min(top, vocabulary);
        using Tensor sums = device.Empty([rows]);
        using Tensor best = device.Empty([rows, wanted]), ids = device.Empty([rows, wanted], DType.Int32);
        device.LogSumExp(logits, sums);
        if (wanted > 0) device.TopK(logits, best, ids);
        float[] all = logits.ToArray(), logSums = sums.ToArray(), values = best.ToArray();
        int[] tokens = ids.ToInt32Array();
        return [.. targets.Select(Report)];

        TokenReport Report(int target, int row) =>
            new(target, Of(all[row * vocabulary + target], row), Top(row), IsPrompt: true);

        IReadOnlyList<TokenLogProbability> Top(int row) =>
            [.. Enumerable.Range(row * wanted, wanted).Select(i => new TokenLogProbability(tokens[i], Of(values[i], row)))];

        double Of(float value, int row) => Math.Min(0, (double)value - logSums[row]);
    }
}
