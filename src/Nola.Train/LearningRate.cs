namespace Nola.Train;

/// <summary>The learning rate of each step: a straight rise over the warm-up, then the schedule.</summary>
internal static class LearningRate
{
    /// <summary>Rate of optimizer step <paramref name="step"/> (from 0) of <paramref name="total"/>.</summary>
    public static float At(int step, int total, TrainOptions options)
    {
        if (step < options.WarmupSteps) return options.LearningRate * (step + 1) / options.WarmupSteps;
        double left = total <= options.WarmupSteps ? 1 : (double)(total - step) / (total - options.WarmupSteps);
        left = Math.Clamp(left, 0, 1);
        return options.Schedule switch
        {
            Schedule.Linear => (float)(options.LearningRate * left),
            Schedule.Cosine => (float)(options.LearningRate * (0.1 + 0.9 * 0.5 * (1 - Math.Cos(Math.PI * left)))),
            _ => options.LearningRate,
        };
    }
}
