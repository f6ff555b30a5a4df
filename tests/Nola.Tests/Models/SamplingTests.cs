using FsCheck.Xunit;
using Nola.Autograd;
using Nola.Models;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>What sequences of one call draw: each its own numbers, a function of seed, sequence and step.</summary>
public sealed class SamplingTests : IDisposable
{
    private const int Vocabulary = 11;

    private readonly CpuDevice device = new(2);

    public void Dispose() => device.Dispose();

    [Theory]
    [InlineData(0, 1f, 1f)]
    [InlineData(0, 1f, 0.7f)]
    [InlineData(4, 1f, 1.3f)]
    [InlineData(0, 0.8f, 1f)]
    public void Many_samples_of_one_prompt_follow_the_distribution(int topK, float topP, float temperature)
    {
        const int Count = 20_000;
        using LanguageModel model = Model(new Random(8));
        int[] prompt = [3, 1, 4];
        GenerateOptions once = new() { NumSamples = Count, MaxNewTokens = 1, StopTokens = [] };
        GenerateOptions options = once with { Temperature = temperature, TopK = topK, TopP = topP, Seed = 5 };
        int[] counts = new int[Vocabulary];
        foreach (int[] sample in model.GenerateAll([prompt], null, options)) counts[Assert.Single(sample)]++;
        double[] wanted = Distribution(model.Logits(prompt)[^Vocabulary..], topK, topP, temperature);
        double chi = 0;
        for (int i = 0; i < Vocabulary; i++)
        {
            if (wanted[i] == 0) Assert.Equal(0, counts[i]);
            else chi += Math.Pow(counts[i] - Count * wanted[i], 2) / (Count * wanted[i]);
        }
        // Chi-square of at most 10 degrees of freedom is above 46 once in a million times.
        Assert.InRange(chi, 0, 46);
    }

    [Fact]
    public void Sequences_of_a_call_are_independent()
    {
        const int Count = 4000;
        using LanguageModel model = Model(new Random(1), spread: 0);
        // All tokens are equally likely, so that equal numbers would be equal tokens, whatever the prompts.
        GenerateOptions options = new() { Temperature = 1, Seed = 9, MaxNewTokens = 2, StopTokens = [] };
        int[][] texts = model.GenerateAll([.. Enumerable.Range(0, Count).Select(i => (int[])[i % Vocabulary])], null, options);
        int[,] neighbors = new int[Vocabulary, Vocabulary], steps = new int[Vocabulary, Vocabulary];
        for (int i = 0; i < Count; i++)
        {
            neighbors[texts[i][0], texts[(i + 1) % Count][0]]++;
            steps[texts[i][0], texts[i][1]]++;
        }
        double each = Count / (double)(Vocabulary * Vocabulary);
        // Chi-square of 120 degrees of freedom is above 212 about once in a million times.
        Assert.InRange(neighbors.Cast<int>().Sum(n => (n - each) * (n - each) / each), 0, 212);
        Assert.InRange(steps.Cast<int>().Sum(n => (n - each) * (n - each) / each), 0, 212);
    }

    [Property(MaxTest = 10)]
    public void Each_sequence_of_a_batch_is_what_it_is_alone_by_its_number(int seed)
    {
        Random r = new(seed);
        using LanguageModel model = Model(r);
        int[][] prompts = [.. Enumerable.Range(0, 5).Select(_ => TinyModels.Ids(r, 1 + r.Next(5), Vocabulary))];
        prompts[4] = [.. prompts[1]];
        GenerateOptions each = new() { NumSamples = 3, MaxNewTokens = 8, StopTokens = [3], FirstSequence = r.Next(100) };
        GenerateOptions options = each with { Temperature = 1, TopK = r.Next(6), TopP = 0.9f, Seed = (ulong)r.Next() };
        Dictionary<int, int[]> told = [];
        int[][] together = model.GenerateAll(prompts, null, options with { BatchTokens = 1 + r.Next(60) }, told.Add);
        Assert.Equal(Enumerable.Range(0, 15), told.Keys.Order());
        for (int i = 0; i < 15; i++)
        {
            GenerateOptions alone = options with { NumSamples = 1, FirstSequence = options.FirstSequence + i };
            Assert.Equal(model.Generate(prompts[i / 3], null, alone), together[i]);
            Assert.Equal(together[i], told[i]);
        }
    }

    [Fact]
    public void Equal_prompts_are_decoded_once_only_when_nothing_is_drawn()
    {
        using LanguageModel model = Model(new Random(3), spread: 0);
        int[][] prompts = [.. Enumerable.Repeat((int[])[1, 2], 6)];
        GenerateOptions options = new() { MaxNewTokens = 12, StopTokens = [] };
        List<int> told = [];
        int[][] once = model.GenerateAll(prompts, null, options with { RepetitionPenalty = 1.5f }, (i, _) => told.Add(i));
        Assert.All(once, tokens => Assert.Same(once[0], tokens));
        // Each is told, so that nobody waits for one.
        Assert.Equal([0, 1, 2, 3, 4, 5], told);
        int[][] drawn = model.GenerateAll(prompts, null, options with { Temperature = 1, Seed = 1 });
        Assert.Equal(6, drawn.Distinct(TokenSequences.Comparer).Count());
    }

    [Fact]
    public void Without_a_seed_each_call_has_another_one()
    {
        using LanguageModel model = Model(new Random(3), spread: 0);
        GenerateOptions options = new() { Temperature = 1, MaxNewTokens = 30, StopTokens = [] };
        Assert.NotEqual(model.Generate([1], null, options), model.Generate([1], null, options));
        Assert.Equal(model.Generate([1], null, options with { Seed = 4 }), model.Generate([1], null, options with { Seed = 4 }));
    }

    [Fact]
    public void An_option_of_sampling_alone_samples_at_temperature_one()
    {
        using LanguageModel model = Model(new Random(3));
        GenerateOptions greedy = new() { MaxNewTokens = 30, StopTokens = [] }, drawn = greedy with { Temperature = 1, Seed = 6 };
        Assert.False(greedy.Samples);
        Assert.Equal(model.Generate([1], null, drawn), model.Generate([1], null, greedy with { Seed = 6 }));
        Assert.Equal(model.Generate([1], null, drawn with { TopK = 3 }), model.Generate([1], null, greedy with { Seed = 6, TopK = 3 }));
        Assert.NotEqual(model.Generate([1], null, greedy), model.Generate([1], null, drawn));
        GenerateOptions[] sampling = [new() { TopK = 5 }, new() { TopP = 0.9f }, new() { NumSamples = 2 }, new() { Seed = 0 }];
        Assert.All(sampling, options => Assert.True(options.Samples));
        // What is drawn at 0 is the likeliest token under every seed.
        Assert.Equal(model.Generate([1], null, greedy), model.Generate([1], null, greedy with { Temperature = 0, Seed = 6 }));
    }

    [Theory]
    [InlineData("temperature is 0, which takes the most likely token each time, and top-k 5 is for sampling", 0f, 5, 1f, 1, 1, null)]
    [InlineData("temperature is 0, which takes the most likely token each time, and top-p 0.5 is for sampling", 0f, 0, 0.5f, 1, 1, null)]
    [InlineData("temperature is 0, which takes the most likely token each time, and num-samples 2 is for sampling", 0f, 0, 1f, 2, 1, null)]
    [InlineData("beams is 4 and top-k 5; a beam search does not sample", null, 5, 1f, 1, 4, null)]
    [InlineData("beams is 4 and num-samples 3; a beam search does not sample", null, 0, 1f, 3, 4, null)]
    [InlineData("beams is 4 and seed 8; a beam search does not sample", null, 0, 1f, 1, 4, 8)]
    [InlineData("beams is 4 and temperature 0.5; a beam search does not sample", 0.5f, 0, 1f, 1, 4, null)]
    [InlineData("num-samples is 0; expected 1 to 100000", null, 0, 1f, 0, 1, null)]
    [InlineData("temperature is NaN", float.NaN, 0, 1f, 1, 1, null)]
    public void Options_that_contradict_each_other_are_refused(
        string complaint, float? temperature, int topK, float topP, int samples, int beams, int? seed)
    {
        GenerateOptions limits = new() { TopK = topK, TopP = topP };
        GenerateOptions options = limits with { Temperature = temperature, NumSamples = samples, Beams = beams, Seed = (ulong?)seed };
        Assert.StartsWith(complaint, Assert.Throws<NolaException>(options.Validate).Message);
    }

    [Fact]
    public void Several_samples_are_not_returned_as_one_text()
    {
        using LanguageModel model = Model(new Random(3));
        GenerateOptions two = new() { NumSamples = 2 }, last = new() { Seed = 1, FirstSequence = int.MaxValue - 1 };
        Assert.Contains("call GenerateAll", Assert.Throws<NolaException>(() => model.Generate([1], null, two)).Message);
        Assert.Contains("too many", Assert.Throws<NolaException>(() => model.GenerateAll([[1], [2]], null, last)).Message);
    }

    [Fact]
    public void Nothing_asked_is_told_of_every_prompt()
    {
        using LanguageModel model = Model(new Random(3));
        List<int> told = [];
        Assert.Equal(
            [[], [], []], model.GenerateAll([[1], [2], [1]], null, new GenerateOptions { MaxNewTokens = 0 }, (i, _) => told.Add(i)));
        Assert.Equal([0, 1, 2], told.Order());
    }

    [Fact]
    public void The_reason_of_an_end_is_told()
    {
        using LanguageModel model = Model(new Random(3), spread: 0);
        // Of equally likely tokens, 0 is taken each time.
        GenerateOptions options = new() { MaxNewTokens = 5, StopTokens = [3] };
        Assert.Equal(FinishReason.Length, Reason([1], options));
        Assert.Equal(FinishReason.Length, Reason([1], options with { MaxNewTokens = 0 }));
        Assert.Equal(FinishReason.Stop, Reason([1], options with { StopTokens = [0] }));
        Assert.Equal(FinishReason.Stop, Reason([1], options with { MaxNewTokens = 1, StopTokens = [0] }));
        Assert.Equal(FinishReason.Context, Reason(new int[38], options));
        Assert.Equal(FinishReason.Length, Reason(new int[38], options with { MaxNewTokens = 3 }));
        Assert.Equal(FinishReason.Banned, Reason([1], options with { NoRepeatNgram = 1, MaxNewTokens = 30, StopTokens = [] }));
        Assert.Equal(FinishReason.Context, Reason(new int[38], options with { Beams = 3 }));
        Assert.Equal("context", FinishReasons.NameOf(FinishReason.Context));

        FinishReason Reason(int[] prompt, GenerateOptions how) =>
            FinishReasons.Of(prompt.Length, model.Generate(prompt, null, how), how, model.Shape.Positions);
    }

    private static double[] Distribution(float[] logits, int topK, float topP, float temperature)
    {
        int[] order = [.. Enumerable.Range(0, Vocabulary).OrderByDescending(i => logits[i])];
        double[] p = [.. order.Select(i => Math.Exp((logits[i] - logits[order[0]]) / temperature))];
        int kept = topK > 0 ? topK : Vocabulary;
        double sum = p.Take(kept).Sum(), reached = 0;
        int nucleus = 0;
        while (nucleus < kept && reached < topP * sum) reached += p[nucleus++];
        double[] distribution = new double[Vocabulary];
        for (int i = 0; i < nucleus; i++) distribution[order[i]] = p[i] / reached;
        return distribution;
    }

    // With embeddings that make tokens differ in likelihood; with a spread of 0, all are equally likely.
    private LanguageModel Model(Random r, double spread = 0.8)
    {
        LanguageModel model = TinyModels.Create(device, trainable: true, vocabulary: Vocabulary, seed: (ulong)r.Next());
        Parameter table = model.Parameters.First(p => p.Name == "wte.weight");
        device.Upload(OpCheck.Values(r, table.Shape.Length, spread), table.Value);
        return model;
    }
}
