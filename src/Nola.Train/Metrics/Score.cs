namespace Nola.Train.Metrics;

/// <summary>What a metric found.</summary>
/// <param name="Metric">Its name.</param>
/// <param name="Value">Value of the whole corpus, in the unit of the original tool.</param>
/// <param name="Segments">Values of each output, where the metric has such values; else empty.</param>
/// <param name="Signature">How it was computed.</param>
public sealed record Score(string Metric, double Value, IReadOnlyList<double> Segments, Signature Signature);
