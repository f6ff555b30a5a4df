using System.CommandLine;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Cli;

/// <summary>The options of <c>nola generate</c> that are about drawing tokens at random.</summary>
internal sealed class SamplingOptions
{
    private static readonly GenerateOptions defaults = new();

    private readonly Option<float> temperature = new RealOption<float>("--temperature")
    {
        Description = "Draw tokens at random: 1 from the model's own distribution, below 1 sharper, above 1 flatter; "
            + "0 for the most likely token each time [0; 1 with any other sampling option]",
    };

    private readonly Option<int> topK = new WholeOption<int>("--top-k")
    {
        Description = "Sample from this many of the most likely tokens; 0 for all",
    };

    private readonly Option<float> topP = new RealOption<float>("--top-p")
    {
        Description = "Sample from the most likely tokens whose probabilities add up to this",
        DefaultValueFactory = _ => defaults.TopP,
    };

    private readonly Option<int> samples = new WholeOption<int>("--num-samples")
    {
        Description = "Sample this many texts for each prompt, one per line",
        DefaultValueFactory = _ => defaults.NumSamples,
    };

    private readonly Option<ulong> seed = new WholeOption<ulong>("--seed")
    {
        Description = "Seed of the sampling: the same seed gives the same texts [a new one for each run, which is printed]",
    };

    private readonly Option<int> first = new WholeOption<int>("--first-sequence")
    {
        Description = "Number of the first sequence that is sampled; with the seed and the number of a text from an earlier run, "
            + "that text alone is sampled again",
    };

    private Option[] All => [temperature, topK, topP, samples, seed, first];

    /// <summary>Adds the options.</summary>
    public void AddTo(Command command)
    {
        foreach (Option option in All) command.Add(option);
    }

    /// <summary>
    /// The options of decoding with those of sampling, which are checked. Whatever is given of sampling without a temperature means
    /// a temperature of 1; what samples has a seed.
    /// </summary>
    /// <exception cref="NolaException">A value is out of its range, or does not fit another one.</exception>
    public GenerateOptions Read(ParseResult result, GenerateOptions decoding)
    {
        bool heated = result.IsGiven(temperature);
        Option? given = All.FirstOrDefault(option => option != temperature && result.IsGiven(option));
        if (given is not null && decoding.Beams > 1)
        {
            string both = $"{given.Name} is given together with --beams {decoding.Beams}";
            throw new NolaException($"{both}; a beam search does not sample, so give one of them.");
        }
        GenerateOptions options = decoding with
        {
            Temperature = heated ? result.GetValue(temperature) : given is null ? null : 1,
            TopK = result.GetValue(topK),
            TopP = result.GetValue(topP),
            NumSamples = result.GetValue(samples),
            Seed = result.IsGiven(seed) ? result.GetValue(seed) : null,
            FirstSequence = result.GetValue(first),
        };
        options.Validate();
        return options.Samples && options.Seed is null ? options with { Seed = GenerateOptions.NewSeed() } : options;
    }

    /// <summary>Says by which seed texts are sampled, so that they can be sampled again.</summary>
    public static void SaySeed(GenerateOptions options)
    {
        if (options.Samples) Terminal.Say($"Sampling with seed {options.Seed}; --seed {options.Seed} gives the same again.");
    }
}
