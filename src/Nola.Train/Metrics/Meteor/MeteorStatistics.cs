using System.Runtime.CompilerServices;

namespace Nola.Train.Metrics;

/// <summary>Counts of one output beside one reference, or summed over a corpus. Content and function words are apart.</summary>
internal sealed class MeteorStatistics
{
    private const double Alpha = 0.85, Beta = 0.20, Gamma = 0.60, Delta = 0.75;

    private double outputContent, outputFunction, referenceContent, referenceFunction;  // words
    private double outputWeighted, referenceWeighted;                                   // matches by stage and kind
    private double outputMatches, referenceMatches, chunks;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static MeteorStatistics Of(MeteorAligner alignment)
    {
        MeteorStatistics statistics = new();
        statistics.outputFunction = alignment.Output.Count(w => w.IsFunction);
        statistics.outputContent = alignment.Output.Length - statistics.outputFunction;
        statistics.referenceFunction = alignment.Reference.Count(w => w.IsFunction);
        statistics.referenceContent = alignment.Reference.Length - statistics.referenceFunction;
        int expected = -1;
        for (int i = 0; i < alignment.Matches.Length; i++)
        {
            if (alignment.Matches[i] is not { } match)
            {
                expected = -1;
                continue;
            }
            double weight = match.Stage.Weight();
            for (int j = 0; j < match.OutputLength; j++)
                statistics.outputWeighted += weight * Kind(alignment.Output[match.OutputStart + j]);
            for (int j = 0; j < match.ReferenceLength; j++)
                statistics.referenceWeighted += weight * Kind(alignment.Reference[match.ReferenceStart + j]);
            statistics.outputMatches += match.OutputLength;
            statistics.referenceMatches += match.ReferenceLength;
            if (match.OutputStart != expected) statistics.chunks++;
            expected = match.OutputStart + match.OutputLength;
            i += match.ReferenceLength - 1;
        }
        return statistics;
    }

    /// <summary>Sums; an output that is its reference has no chunk to add.</summary>
    public void Add(MeteorStatistics other)
    {
        outputContent += other.outputContent;
        outputFunction += other.outputFunction;
        referenceContent += other.referenceContent;
        referenceFunction += other.referenceFunction;
        outputWeighted += other.outputWeighted;
        referenceWeighted += other.referenceWeighted;
        outputMatches += other.outputMatches;
        referenceMatches += other.referenceMatches;
        if (!other.IsWhole) chunks += other.chunks;
    }

    public double Score()
    {
        double precision = outputWeighted / (Delta * outputContent + (1 - Delta) * outputFunction);
        double recall = referenceWeighted / (Delta * referenceContent + (1 - Delta) * referenceFunction);
        double mean = 1 / ((1 - Alpha) / precision + Alpha / recall);
        double fragmentation = IsWhole ? 0 : chunks / ((outputMatches + referenceMatches) / 2);
        double score = mean * (1 - Gamma * Math.Pow(fragmentation, Beta));
        return double.IsNaN(score) ? 0 : Math.Max(score, 0);
    }

    private bool IsWhole =>
        chunks == 1 && outputMatches == outputContent + outputFunction && referenceMatches == referenceContent + referenceFunction;

    private static double Kind(MeteorWord word) => word.IsFunction ? 1 - Delta : Delta;
}
