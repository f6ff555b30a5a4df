using Nola.Tensors;

namespace Nola.Models;

/// <summary>Chooses tokens from logits; a pure function of the options' seed, the step and the logits.</summary>
public static class Sampler
{
    /// <summary>The next token.</summary>
    /// <param name="logits">Of every token. (V)</param>
    /// <param name="options">Temperature, top-k, top-p and seed.</param>
    /// <param name="step">Number of the new token, from 0.</param>
    public static int Choose(ReadOnlySpan<float> logits, GenerateOptions options, int step)
    {
        if (options.Temperature == 0 || options.TopK == 1) return ArgMax(logits);
        int[] order = new int[logits.Length];
        float[] descending = logits.ToArray();
        for (int i = 0; i < order.Length; i++) order[i] = i;
        foreach (ref float value in descending.AsSpan()) value = -value;
        // The index breaks ties, so that equal logits do not depend on the sort.
        Array.Sort(descending, order, Comparer<float>.Default);
        foreach (ref float value in descending.AsSpan()) value = -value;
        return Choose(descending, order, options, step);
    }

    /// <summary>The next token, from the likeliest tokens: as many as the options ask for, or all.</summary>
    /// <param name="descending">Their logits, the largest first.</param>
    /// <param name="tokens">Which tokens they are.</param>
    /// <param name="options">Temperature, top-k, top-p and seed.</param>
    /// <param name="step">Number of the new token, from 0.</param>
    internal static int Choose(ReadOnlySpan<float> descending, ReadOnlySpan<int> tokens, GenerateOptions options, int step)
    {
        if (options.Temperature == 0) return tokens[0];
        int count = options.TopK > 0 ? Math.Min(options.TopK, tokens.Length) : tokens.Length;
        double[] weights = new double[count];
        double sum = 0;
        for (int i = 0; i < count; i++) sum += weights[i] = Math.Exp((descending[i] - descending[0]) / options.Temperature);
        count = Nucleus(weights, sum, options.TopP, out double kept);
        (uint word, uint more, _, _) = Philox.Block((uint)step, 0, 0, 0x53414D50, (uint)options.Seed, (uint)(options.Seed >> 32));
        double point = (((ulong)word << 21) | (more >> 11)) * (1.0 / (1UL << 53)) * kept;
        for (int i = 0; i < count; i++)
        {
            point -= weights[i];
            if (point < 0) return tokens[i];
        }
        return tokens[count - 1];
    }

    /// <summary>Index of the largest logit, the first of equal ones.</summary>
    public static int ArgMax(ReadOnlySpan<float> logits)
    {
        int best = 0;
        for (int i = 1; i < logits.Length; i++)
            if (logits[i] > logits[best]) best = i;
        return best;
    }

    // How many of the weights, in falling order, reach the fraction p of their sum.
    private static int Nucleus(double[] weights, double sum, float p, out double kept)
    {
        kept = 0;
        for (int i = 0; i < weights.Length; i++)
        {
            kept += weights[i];
            if (kept >= p * sum) return i + 1;
        }
        return weights.Length;
    }
}
