namespace Nola.Train.Metrics;

/// <summary>How two phrases were found to match.</summary>
internal enum MeteorStage
{
    Exact,
    Stem,
    Synonym,
    Paraphrase,
}

internal static class MeteorStages
{
    /// <summary>What a match of a stage is worth in the score.</summary>
    public static double Weight(this MeteorStage stage) => stage switch { MeteorStage.Exact => 1, MeteorStage.Synonym => 0.8, _ => 0.6 };

    /// <summary>What a match of a stage is worth in the search for the best alignment.</summary>
    public static double SearchWeight(this MeteorStage stage) => stage == MeteorStage.Exact ? 1 : 0.5;
}

/// <summary>A phrase of the reference and one of the output that match.</summary>
internal sealed record MeteorMatch(MeteorStage Stage, int ReferenceStart, int ReferenceLength, int OutputStart, int OutputLength);
