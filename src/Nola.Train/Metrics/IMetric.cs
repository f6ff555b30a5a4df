namespace Nola.Train.Metrics;

/// <summary>A measure of system outputs against references.</summary>
public interface IMetric
{
    /// <summary>Its usual name, and its key in JSON.</summary>
    string Name { get; }

    /// <summary>Scores a corpus, in the unit of the original tool.</summary>
    Score Score(Corpus corpus);
}
