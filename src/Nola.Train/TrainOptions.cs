using Nola.Tensors;

namespace Nola.Train;

/// <summary>How the learning rate goes on after the warm-up.</summary>
public enum Schedule
{
    /// <summary>Stays.</summary>
    Constant,

    /// <summary>Falls in a straight line to zero at the last step (published for NOLA and LoRA).</summary>
    Linear,

    /// <summary>Falls along half a cosine to a tenth at the last step (published for GPT-3).</summary>
    Cosine,
}

/// <summary>Settings of a training run. Defaults are the ones that <c>nola train</c> uses on the embedded model and E2E.</summary>
public sealed record TrainOptions
{
    // Of a batch, so that counting it needs no more than 31 bits.
    private const int Largest = 1_000_000_000;

    /// <summary>
    /// Passes over the data; may be a fraction. Null, the default: as many as <see cref="MaxSteps"/> takes, or one when that is 0.
    /// When both are given, the run ends with the first that is reached.
    /// </summary>
    public double? Epochs { get; init; }

    /// <summary>Stop after this many optimizer steps; 0 for no limit beside the epochs.</summary>
    public int MaxSteps { get; init; }

    /// <summary>Most tokens in a batch; 0 for no limit.</summary>
    public int BatchTokens { get; init; } = 2048;

    /// <summary>Most sequences in a batch; 0 for no limit. 8 as published.</summary>
    public int BatchSize { get; init; }

    /// <summary>Batches added up for one optimizer step. The loss is divided by the positions of all of them together.</summary>
    public int Accumulation { get; init; } = 1;

    /// <summary>
    /// Parts that the sequences of a step are dealt to. The gradients of each are computed by themselves, and added up in the order of the
    /// parts: what is trained depends on their number, as on the other settings, and not on how many ranks or threads compute them. 1 is a
    /// step in one piece. At least as many as there are ranks.
    /// </summary>
    public int Shards { get; init; } = 1;

    /// <summary>Highest learning rate.</summary>
    public float LearningRate { get; init; } = 0.01f;

    /// <summary>Highest learning rate of a head that is trained beside an adapter; 0 for the same.</summary>
    public float HeadLearningRate { get; init; }

    /// <summary>What follows the warm-up.</summary>
    public Schedule Schedule { get; init; } = Schedule.Linear;

    /// <summary>Steps over which the rate rises from zero.</summary>
    public int WarmupSteps { get; init; } = 20;

    /// <summary>Decoupled decay of matrices.</summary>
    public float WeightDecay { get; init; }

    /// <summary>β₁ of AdamW.</summary>
    public float Beta1 { get; init; } = 0.9f;

    /// <summary>β₂ of AdamW.</summary>
    public float Beta2 { get; init; } = 0.999f;

    /// <summary>ε of AdamW; 1e-6 as published.</summary>
    public float Epsilon { get; init; } = 1e-6f;

    /// <summary>Clip the gradient to this norm; 0 for no clipping.</summary>
    public float ClipNorm { get; init; } = 1;

    /// <summary>ε of label smoothing over the whole vocabulary; 0.1 as published.</summary>
    public float LabelSmoothing { get; init; }

    /// <summary>Seed of the shuffle. The random basis has a seed of its own.</summary>
    public ulong Seed { get; init; } = 42;

    /// <summary>Steps between evaluations; 0 for one at each epoch's end. There is one at the start and at the end besides.</summary>
    public int EvalEvery { get; init; }

    /// <summary>Evaluate on this many sequences, evenly spaced; 0 for all.</summary>
    public int EvalPairs { get; init; } = 500;

    /// <summary>Stop after this many evaluations without a new best; 0 for never.</summary>
    public int Patience { get; init; }

    /// <summary>Steps between writings of the last checkpoint.</summary>
    public int CheckpointEvery { get; init; } = 100;

    /// <summary>Compute the inside of blocks again in the backward pass: less memory, a third more work.</summary>
    public bool CheckpointBlocks { get; init; }

    /// <summary>Checks every range.</summary>
    /// <exception cref="NolaException">A value is out of its range; the message names the key and the range.</exception>
    public void Validate()
    {
        Check(Epochs is null or (> 0 and <= 100_000), "epochs", Epochs ?? 0, "above 0, at most 100000");
        Check(MaxSteps >= 0, "max-steps", MaxSteps, "0 (no limit) or more");
        Check(BatchTokens is >= 0 and <= Largest, "batch-tokens", BatchTokens, $"0 (no limit) to {Largest}");
        Check(BatchSize is >= 0 and <= Largest, "batch-size", BatchSize, $"0 (no limit) to {Largest}");
        Check(BatchTokens > 0 || BatchSize > 0, "batch-tokens", BatchTokens, "above 0 when batch-size is 0");
        Check(Accumulation is >= 1 and <= 100_000, "accumulation", Accumulation, "1 to 100000");
        Check(Shards is >= 1 and <= 65_536, "shards", Shards, "1 to 65536");
        Check(LearningRate is > 0 and <= 100, "lr", LearningRate, "above 0, at most 100");
        Check(HeadLearningRate is >= 0 and <= 100, "head-lr", HeadLearningRate, "0 (the same as lr) to 100");
        Check(WarmupSteps >= 0, "warmup", WarmupSteps, "0 or more");
        Check(WeightDecay is >= 0 and <= 1, "weight-decay", WeightDecay, "0 to 1");
        Check(Beta1 is >= 0 and < 1, "beta1", Beta1, "0 up to, not including, 1");
        Check(Beta2 is >= 0 and < 1, "beta2", Beta2, "0 up to, not including, 1");
        Check(Epsilon is > 0 and <= 1, "epsilon", Epsilon, "above 0, at most 1");
        Check(ClipNorm is >= 0 and < float.PositiveInfinity, "clip", ClipNorm, "0 (no clipping) or more");
        Check(LabelSmoothing is >= 0 and < 1, "label-smoothing", LabelSmoothing, "0 up to, not including, 1");
        Check(EvalEvery >= 0, "eval-every", EvalEvery, "0 (each epoch) or more");
        Check(EvalPairs >= 0, "eval-pairs", EvalPairs, "0 (all) or more");
        Check(Patience >= 0, "patience", Patience, "0 (never stop early) or more");
        Check(CheckpointEvery >= 1, "checkpoint-every", CheckpointEvery, "1 or more");
    }

    private static void Check(bool fits, string key, object value, string range)
    {
        if (!fits) throw new NolaException(FormattableString.Invariant($"{key} is {value}; expected {range}."));
    }
}
