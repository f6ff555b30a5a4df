using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// Chooses tokens from logits: a pure function of the seed, the sequence's number, the step and the logits. The random words of
/// step t of sequence s are Philox4x32-10 with the seed as key and the counter (t, s, 0, 0x53414D50). The last word, "SAMP", is
/// the layer in the counters of random bases, a number that no model has, so that they share no word under the same seed.
/// </summary>
internal static class Sampler
{
    // "SAMP", in the place of a basis's layer.
    private const uint Stream = 0x53414D50;

    /// <summary>The next token.</summary>
    /// <param name="logits">The logits of every token. (V)</param>
    /// <param name="options">Temperature, top-k, top-p and seed; a seed that is null counts as 0 here.</param>
    /// <param name="step">Number of the new token, from 0.</param>
    /// <param name="sequence">Number of the sequence, from 0; each draws numbers of its own.</param>
    public static int Choose(ReadOnlySpan<float> logits, GenerateOptions options, int step, int sequence = 0)
    {
        if (!options.Samples || options.TopK == 1) return ArgMax(logits);
        int[] order = new int[logits.Length];
        float[] descending = logits.ToArray();
        for (int i = 0; i < order.Length; i++) order[i] = i;
        foreach (ref float value in descending.AsSpan()) value = -value;
        // The index breaks ties, so that equal logits do not depend on the sort.
        Array.Sort(descending, order, Comparer<float>.Default);
        foreach (ref float value in descending.AsSpan()) value = -value;
        return Choose(descending, order, options, step, sequence);
    }

    /// <summary>The next token, from the likeliest tokens: as many as the options ask for, or all.</summary>
    /// <param name="descending">Their logits, the largest first.</param>
    /// <param name="tokens">Which tokens they are.</param>
    /// <param name="options">Temperature, top-k, top-p and seed.</param>
    /// <param name="step">Number of the new token, from 0.</param>
    /// <param name="sequence">Number of the sequence, from 0.</param>
    internal static int Choose(ReadOnlySpan<float> descending, ReadOnlySpan<int> tokens, GenerateOptions options, int step, int sequence)
    {
        if (!options.Samples) return tokens[0];
        float temperature = options.DrawnTemperature;
        int count = options.TopK > 0 ? Math.Min(options.TopK, tokens.Length) : tokens.Length;
        double[] weights = new double[count];
        double sum = 0;
        for (int i = 0; i < count; i++) sum += weights[i] = Math.Exp((descending[i] - descending[0]) / temperature);
        count = Nucleus(weights, sum, options.TopP, out double kept);
        double point = Uniform(options.Seed ?? 0, sequence, step) * kept;
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

    // A number of [0, 1) with 53 random bits.
    private static double Uniform(ulong seed, int sequence, int step)
    {
        (uint word, uint more, _, _) = Philox.Block((uint)step, (uint)sequence, 0, Stream, (uint)seed, (uint)(seed >> 32));
        return (((ulong)word << 21) | (more >> 11)) * (1.0 / (1UL << 53));
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
