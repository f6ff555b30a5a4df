using System.Security.Cryptography;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// How text is continued: greedily (the likeliest token each time), by sampling, or by beam search. Without a
/// <see cref="Temperature"/>, any other option of sampling (<see cref="TopK"/>, <see cref="TopP"/>, <see cref="Seed"/>,
/// <see cref="NumSamples"/>) samples at temperature 1.
/// </summary>
public sealed record GenerateOptions
{
    /// <summary>The decoding by which the LoRA and NOLA papers' E2E scores were made: 10 beams, no 4-gram twice.</summary>
    public static GenerateOptions Published { get; } = new() { Beams = 10, NoRepeatNgram = 4 };

    /// <summary>Most new tokens, 64 as published.</summary>
    public int MaxNewTokens { get; init; } = 64;

    /// <summary>Least new tokens: no stop token before.</summary>
    public int MinNewTokens { get; init; }

    /// <summary>Sequences that a beam search keeps at each step; 1 for none, 10 as published.</summary>
    public int Beams { get; init; } = 1;

    /// <summary>p of a beam's score Σ log p / lengthᵖ, 0.8 as published; larger ones favor longer texts.</summary>
    public double LengthPenalty { get; init; } = 0.8;

    /// <summary>Whose beam search.</summary>
    public BeamRules BeamRules { get; init; }

    /// <summary>No sequence of this many tokens twice, 4 as published; 0 for no limit.</summary>
    public int NoRepeatNgram { get; init; }

    /// <summary>Makes tokens that are there already less likely (Keskar et al. 2019); 1 for no penalty.</summary>
    public float RepetitionPenalty { get; init; } = 1;

    /// <summary>Subtracted from the logit of every token that was generated already, as OpenAI's API has it; 0 for none.</summary>
    public float PresencePenalty { get; init; }

    /// <summary>Subtracted from the logit of a token once for each time that it was generated; 0 for none.</summary>
    public float FrequencyPenalty { get; init; }

    /// <summary>Added to the logits of tokens, before penalties; −100 practically bans one. Null for none.</summary>
    public IReadOnlyDictionary<int, float>? LogitBias { get; init; }

    /// <summary>
    /// 0 takes the likeliest token each time; 1 samples from the model's distribution; above 1 flattens it. Null, the default, is 1
    /// where another option of sampling is given, else 0.
    /// </summary>
    public float? Temperature { get; init; }

    /// <summary>Sample from this many likeliest tokens only; 0 for all.</summary>
    public int TopK { get; init; }

    /// <summary>Sample from the fewest tokens whose probabilities reach this sum (Holtzman et al. 2020); 1 for all.</summary>
    public float TopP { get; init; } = 1;

    /// <summary>
    /// Seed of the sampling: what is drawn is a function of the seed, the sequence's number and the step, so that the same seed gives
    /// the same texts. Null, the default, takes another seed at each call, from the operating system.
    /// </summary>
    public ulong? Seed { get; init; }

    /// <summary>
    /// Texts that are sampled for each prompt. Sample s of prompt i is sequence <c>FirstSequence + i · NumSamples + s</c>, and draws
    /// that sequence's numbers, whatever else is in the batch.
    /// </summary>
    public int NumSamples { get; init; } = 1;

    /// <summary>Number of the first sequence of a call, so that one text of an earlier batch can be sampled again alone.</summary>
    public int FirstSequence { get; init; }

    /// <summary>
    /// Tokens that end the text. Null, the default, takes the model's own (<see cref="LanguageModel.StopTokens"/>): for GPT-2 the end
    /// of text, and a blank line as published (50256 and 628), else what the model's files name; none where nothing names any.
    /// </summary>
    public IReadOnlyList<int>? StopTokens { get; init; }

    /// <summary>Texts that end the text when they appear in it; the tokens that complete one are still among the result's.</summary>
    public IReadOnlyList<string> StopStrings { get; init; } = [];

    /// <summary>
    /// Most tokens that the model reads at once when there are many prompts:
    /// one for each beam, and those of new prompts.
    /// </summary>
    public int BatchTokens { get; init; } = 512;

    /// <summary>The bias of options without one.</summary>
    internal static IReadOnlyDictionary<int, float> NoBias { get; } = new Dictionary<int, float>();

    /// <summary>Whether tokens are drawn at random: the temperature is above 0, or null beside another option of sampling.</summary>
    public bool Samples => DrawnTemperature > 0;

    /// <summary>The temperature that counts: the given one, else 1 where another option of sampling is given, else 0.</summary>
    internal float DrawnTemperature => Temperature ?? (TopK > 0 || TopP < 1 || Seed is not null || NumSamples > 1 ? 1 : 0);

    /// <summary>
    /// The options with all that is left to be chosen, checked: the model's own stop tokens, and where they sample a seed, so that all
    /// sequences of a call have the same one.
    /// </summary>
    /// <exception cref="NolaException">A value is out of its range, or two contradict each other.</exception>
    public GenerateOptions For(LanguageModel model) => For(model, chat: false);

    /// <summary>The same; the end of an answer in the model's chat template ends a text too.</summary>
    internal GenerateOptions For(LanguageModel model, bool chat)
    {
        Validate();
        foreach (int token in (LogitBias ?? NoBias).Keys)
            Check(token < model.Shape.Vocabulary, "logit-bias", token, $"token ids below {model.Shape.Vocabulary}, the model's vocabulary");
        return this with
        {
            StopTokens = StopTokens ?? (chat ? [.. model.StopTokens.Union(model.Chat.EndTokens)] : model.StopTokens),
            Seed = Samples && Seed is null ? NewSeed() : Seed,
        };
    }

    /// <summary>A seed from the operating system, of 32 bits, so that it is short enough to be typed again.</summary>
    internal static ulong NewSeed() => BitConverter.ToUInt32(RandomNumberGenerator.GetBytes(sizeof(uint)));

    /// <summary>How many sequences a call with some prompts gives.</summary>
    /// <exception cref="NolaException">They cannot be counted.</exception>
    internal int SequencesOf(int prompts)
    {
        long count = (long)prompts * NumSamples;
        if (FirstSequence + count <= Array.MaxLength) return (int)count;
        string wanted = $"{prompts} prompts with {NumSamples} samples each, from sequence {FirstSequence} on,";
        throw new NolaException($"{wanted} are too many; there are at most {Array.MaxLength} sequences.");
    }

    /// <summary>Checks every range, and that the options fit each other.</summary>
    /// <exception cref="NolaException">A value is out of its range, or two contradict each other; the message names them.</exception>
    public void Validate()
    {
        Check(MaxNewTokens >= 0, "max-new", MaxNewTokens, "0 or more");
        Check(MinNewTokens >= 0 && MinNewTokens <= MaxNewTokens, "min-new", MinNewTokens, $"0 to max-new, which is {MaxNewTokens}");
        Check(Beams is >= 1 and <= 1000, "beams", Beams, "1 (no beam search) to 1000");
        Check(LengthPenalty is >= -10 and <= 10, "length-penalty", LengthPenalty, "-10 to 10");
        Check(Enum.IsDefined(BeamRules), "beam-rules", BeamRules, BeamRulesNames.Known);
        Check(NoRepeatNgram >= 0, "no-repeat-ngram", NoRepeatNgram, "0 (no limit) or more");
        Check(RepetitionPenalty is > 0 and <= 100, "repetition-penalty", RepetitionPenalty, "above 0, at most 100; 1 for no penalty");
        Check(PresencePenalty is >= -100 and <= 100, "presence-penalty", PresencePenalty, "-100 to 100; 0 for none");
        Check(FrequencyPenalty is >= -100 and <= 100, "frequency-penalty", FrequencyPenalty, "-100 to 100; 0 for none");
        foreach ((int token, float bias) in LogitBias ?? NoBias)
        {
            Check(token >= 0, "logit-bias", token, "token ids from 0");
            Check(float.IsFinite(bias), "logit-bias", bias, "finite numbers");
        }
        Check(Temperature is null or (>= 0 and <= 100), "temperature", Temperature!, "0 (most likely token) to 100");
        Check(TopK >= 0, "top-k", TopK, "0 (all tokens) or more");
        Check(TopP is > 0 and <= 1, "top-p", TopP, "above 0, at most 1");
        Check(StopTokens is null || StopTokens.All(token => token >= 0), "stop", string.Join(", ", StopTokens ?? []), "token ids from 0");
        Check(StopStrings.All(text => text.Length > 0), "stop-string", "empty", "a text");
        Check(
            StopStrings.Count == 0 || Beams == 1, "stop-string",
            StopStrings.Count > 0 ? Quoted.Of(StopStrings[0]) : "", "none with several beams");
        Check(BatchTokens >= 1, "batch-tokens", BatchTokens, "1 or more");
        Check(NumSamples is >= 1 and <= 100_000, "num-samples", NumSamples, "1 to 100000");
        Check(FirstSequence >= 0, "first-sequence", FirstSequence, "0 or more");
        CheckSampling();
    }

    // A search that draws nothing would leave an option of sampling without effect.
    private void CheckSampling()
    {
        if (Beams > 1 && Samples)
        {
            string sampling = Temperature is { } t ? FormattableString.Invariant($"temperature {t}")
                : Effective() is { Length: > 0 } option ? option
                : FormattableString.Invariant($"seed {Seed}");
            throw new NolaException($"beams is {Beams} and {sampling}; a beam search does not sample, so give one of them.");
        }
        if (!Samples && Effective() is { Length: > 0 } drawn)
        {
            string both = $"temperature is 0, which takes the most likely token each time, and {drawn} is for sampling";
            throw new NolaException($"{both}; give a temperature above 0, or leave one of them out.");
        }
    }

    // The first option that changes what is sampled, with its value.
    private string Effective() =>
        TopK > 0 ? FormattableString.Invariant($"top-k {TopK}")
        : TopP < 1 ? FormattableString.Invariant($"top-p {TopP}")
        : NumSamples > 1 ? FormattableString.Invariant($"num-samples {NumSamples}")
        : "";

    private static void Check(bool fits, string key, object value, string range)
    {
        if (!fits) throw new NolaException(FormattableString.Invariant($"{key} is {value}; expected {range}."));
    }
}
