using FsCheck.Xunit;
using Nola.Models;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

public sealed class SamplerTests
{
    [Fact]
    public void Temperature_one_draws_from_the_softmax()
    {
        float[] logits = [0, 1, 2, -30];
        double sum = logits.Sum(z => Math.Exp(z));
        int[] counts = new int[4];
        GenerateOptions options = new() { Temperature = 1, Seed = 5 };
        for (int step = 0; step < 40000; step++) counts[Sampler.Choose(logits, options, step)]++;
        // Four standard errors of a frequency of 40,000 draws.
        for (int i = 0; i < 4; i++) Assert.InRange(counts[i] / 40000.0 - Math.Exp(logits[i]) / sum, -0.01, 0.01);
    }

    [Property(MaxTest = 100)]
    public void Limits_keep_only_the_likeliest(int seed)
    {
        Random r = new(seed);
        float[] logits = OpCheck.Values(r, 20, 5);
        int[] order = [.. Enumerable.Range(0, 20).OrderByDescending(i => logits[i])];
        int k = 1 + r.Next(20), step = r.Next(1000);
        Assert.Contains(Sampler.Choose(logits, new GenerateOptions { Temperature = 2, TopK = k, Seed = 1 }, step), order[..k]);
        double[] p = [.. order.Select(i => Math.Exp(logits[i] / 2.0))];
        double limit = 0.05 + 0.9 * r.NextDouble(), sum = p.Sum(), reached = 0;
        int nucleus = 0;
        while (reached < limit * sum) reached += p[nucleus++];
        Assert.Contains(
            Sampler.Choose(logits, new GenerateOptions { Temperature = 2, TopP = (float)limit, Seed = 2 }, step),
            order[..Math.Min(20, nucleus + 1)]);
        Assert.Equal(order[0], Sampler.Choose(logits, new GenerateOptions(), step));
        Assert.Equal(order[0], Sampler.Choose(logits, new GenerateOptions { Temperature = 1, TopP = 1e-6f }, step));
    }

    [Theory]
    [InlineData(-1, 0f, 0, 1f, "max-new")]
    [InlineData(1, -1f, 0, 1f, "temperature")]
    [InlineData(1, 0f, -1, 1f, "top-k")]
    [InlineData(1, 0f, 0, 0f, "top-p")]
    public void Values_out_of_range_are_named(int maxNew, float temperature, int topK, float topP, string key) =>
        Assert.StartsWith(key, Assert.Throws<NolaException>(new GenerateOptions
        {
            MaxNewTokens = maxNew,
            Temperature = temperature,
            TopK = topK,
            TopP = topP,
        }.Validate).Message);
}
