namespace Nola.Models;

/// <summary>A sequence that goes on: its generated tokens, and the place among those of the step before that it goes on from.</summary>
/// <param name="Tokens">What was generated. Never changed.</param>
/// <param name="Score">Σ log p, for a beam search.</param>
/// <param name="Parent">Index among the sequences of the step before.</param>
internal readonly record struct Beam(int[] Tokens, double Score, int Parent);

/// <summary>
/// How one prompt is continued: which sequences go on after each step, and which one is the result. Sees the likeliest
/// next tokens of its sequences, never the model.
/// </summary>
internal abstract class Search
{
    protected Search(int[] prompt, GenerateOptions options, int limit, int vocabulary)
    {
        (Prompt, Options, Limit, Vocabulary) = (prompt, options, limit, vocabulary);
        Beams = [new Beam([], 0, 0)];
    }

    /// <summary>What is continued.</summary>
    public int[] Prompt { get; }

    /// <summary>Number of the sequence, whose random numbers are drawn.</summary>
    public int Sequence { get; private init; }

    /// <summary>The sequences that go on; at first one, of no generated token. None when the search has ended.</summary>
    public List<Beam> Beams { get; protected set; }

    /// <summary>Most tokens that are generated: what was asked for, or what the model can read.</summary>
    public int Limit { get; }

    /// <summary>How many of the likeliest next tokens of each sequence the search looks at; 0 for all of them, unsorted.</summary>
    public abstract int Wanted { get; }

    /// <summary>The generated tokens, the stop token included.</summary>
    public abstract int[] Result { get; }

    protected GenerateOptions Options { get; }

    protected int Vocabulary { get; }

    /// <summary>Starts the search that the options ask for.</summary>
    /// <param name="prompt">What is continued.</param>
    /// <param name="options">How; a seed is given where they sample.</param>
    /// <param name="config">Sizes of the model.</param>
    /// <param name="sequence">Number of the sequence, whose random numbers are drawn.</param>
    /// <param name="onToken">Told each new token of a single sequence.</param>
    public static Search Start(int[] prompt, GenerateOptions options, Gpt2Config config, int sequence, Action<int>? onToken = null)
    {
        // The last token is not read any more, so one more than the model reads is generated.
        int limit = Math.Min(options.MaxNewTokens, config.Positions - prompt.Length + 1);
        if (options.Beams == 1) return new SingleSearch(prompt, options, limit, config.Vocabulary, onToken) { Sequence = sequence };
        return options.BeamRules == BeamRules.Published
            ? new PublishedBeamSearch(prompt, options, limit, config.Vocabulary) { Sequence = sequence }
            : new HuggingFaceBeamSearch(prompt, options, limit, config.Vocabulary) { Sequence = sequence };
    }

    /// <summary>Takes a step with the likeliest next tokens of each sequence, whose rows begin at <paramref name="row"/>.</summary>
    public abstract void Advance(NextTokens next, int row);

    /// <summary>Ends the search with what it has.</summary>
    public abstract void End();

    protected bool Ends(int token) => Options.StopTokens.Contains(token);
}

/// <summary>One sequence, greedy or sampled.</summary>
internal sealed class SingleSearch(int[] prompt, GenerateOptions options, int limit, int vocabulary, Action<int>? onToken)
    : Search(prompt, options, limit, vocabulary)
{
    // Above this, sorting all tokens is faster than finding the largest ones.
    private const int MostRanked = 1024;

    private int[] tokens = [];

    public override int Wanted => !Options.Samples ? 1 : Options.TopK is > 0 and <= MostRanked ? Math.Min(Options.TopK, Vocabulary) : 0;

    public override int[] Result => tokens;

    public override void Advance(NextTokens next, int row)
    {
        if (next.Choose(row, Options, tokens.Length, Sequence) is not { } token)
        {
            End();
            return;
        }
        tokens = [.. tokens, token];
        onToken?.Invoke(token);
        if (Ends(token) || tokens.Length == Limit) End();
        else Beams = [new Beam(tokens, 0, 0)];
    }

    public override void End() => Beams = [];
}
