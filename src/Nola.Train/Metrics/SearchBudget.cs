using Nola.Tensors;

namespace Nola.Train.Metrics;

/// <summary>
/// How many steps a search may take for one output and its references. The searches of TER and METEOR take the third or fourth
/// power of the length where words come again and again; such texts are refused in place of being searched for hours.
/// </summary>
/// <param name="metric">Who searches, for the message.</param>
/// <param name="hypothesis">Index of the output.</param>
/// <param name="steps">How many it may take.</param>
internal sealed class SearchBudget(string metric, int hypothesis, long steps)
{
    private long left = steps;

    /// <summary>Takes some of it.</summary>
    /// <exception cref="NolaException">There is not so much left.</exception>
    public void Spend(long taken)
    {
        left -= taken;
        if (left >= 0) return;
        throw new NolaException($"Hypothesis {hypothesis + 1:N0} is too long for {metric}: it and its references have so many words in "
            + $"common that the search would not end in seconds; score shorter texts, or choose metrics without {metric}.");
    }
}
