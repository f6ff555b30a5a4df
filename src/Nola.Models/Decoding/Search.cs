namespace Nola.Models;

/// <summary>A sequence that continues: its generated tokens, and the place among those of the step before that it continues.</summary>
/// <param name="Tokens">What was generated. Never changed.</param>
/// <param name="LogProbabilities">log p of each of them. Never changed.</param>
/// <param name="Score">Σ log p, for a beam search.</param>
/// <param name="Parent">Index among the sequences of the step before.</param>
internal readonly record struct Beam(int[] Tokens, double[] LogProbabilities, double Score, int Parent);

/// <summary>What was generated, the stop token included, and log p of each token.</summary>
internal sealed record Decoded(int[] Tokens, double[] LogProbabilities)
{
    public static readonly Decoded Nothing = new([], []);
}

/// <summary>
/// How one prompt is continued: which sequences continue after each step, and which one is the result. Sees the likeliest
/// next tokens of its sequences, never the model.
/// </summary>
internal abstract class Search
{
    protected Search(int[] prompt, GenerateOptions options, int limit, int vocabulary)
    {
        (Prompt, Options, Limit, Vocabulary) = (prompt, options, limit, vocabulary);
        Beams = [new Beam([], [], 0, 0)];
    }

    /// <summary>What is continued.</summary>
    public int[] Prompt { get; }

    /// <summary>How it is continued.</summary>
    public GenerateOptions Options { get; }

    /// <summary>What its sequences are read with; null for the base model alone.</summary>
    public IAdapter? Adapter { get; private init; }

    /// <summary>Number of the sequence, whose random numbers are drawn.</summary>
    public int Sequence { get; private init; }

    /// <summary>First of its rows in the last step; −1 before the first.</summary>
    public int Row { get; set; } = -1;

    /// <summary>Rows of the cache that it begins with: the first tokens of the prompt, which were read before.</summary>
    public ReadOnlyMemory<int> Beginning { get; private set; }

    /// <summary>How many tokens of the prompt have been read; nothing is chosen before all are.</summary>
    public int Read { get; set; }

    /// <summary>How many tokens of the prompt are still to be read.</summary>
    public int Unread => Prompt.Length - Read;

    /// <summary>Who is told its tokens.</summary>
    public TokenListener? Listener { get; private init; }

    /// <summary>The sequences that continue; at first one, of no generated token. None when the search has ended.</summary>
    public List<Beam> Beams { get; protected set; }

    /// <summary>Most tokens that are generated: what was asked for, or what the model can read.</summary>
    public int Limit { get; }

    /// <summary>How many of the likeliest next tokens of each sequence the search looks at; 0 for all of them, unsorted.</summary>
    public abstract int Wanted { get; }

    /// <summary>The generated tokens, the stop token included.</summary>
    public abstract Decoded Result { get; }

    /// <summary>Whether a stop string ended it.</summary>
    public virtual bool IsStopped => false;

    protected int Vocabulary { get; }

    /// <summary>Starts the search that the options ask for.</summary>
    /// <param name="prompt">What is continued.</param>
    /// <param name="options">How; all that is left to be chosen is given.</param>
    /// <param name="model">What is read.</param>
    /// <param name="adapter">What the sequences are read with.</param>
    /// <param name="sequence">Number of the sequence, whose random numbers are drawn.</param>
    /// <param name="listener">Told each token of a single sequence.</param>
    public static Search Start(
        int[] prompt, GenerateOptions options, LanguageModel model, IAdapter? adapter, int sequence, TokenListener? listener = null)
    {
        int vocabulary = model.Shape.Vocabulary;
        // The last token is not read any more, so one more than the model reads is generated.
        int limit = Math.Min(options.MaxNewTokens, model.Shape.Positions - prompt.Length + 1);
        if (options.Beams == 1)
        {
            StopStrings? stops = options.StopStrings.Count > 0 ? new(options.StopStrings, model.Tokenizer) : null;
            return new SingleSearch(prompt, options, limit, vocabulary, stops)
            {
                Sequence = sequence,
                Adapter = adapter,
                Listener = listener,
            };
        }
        return options.BeamRules == BeamRules.Published
            ? new PublishedBeamSearch(prompt, options, limit, vocabulary) { Sequence = sequence, Adapter = adapter }
            : new HuggingFaceBeamSearch(prompt, options, limit, vocabulary) { Sequence = sequence, Adapter = adapter };
    }

    /// <summary>Begins with tokens of the prompt that were read before; before the first step.</summary>
    public void Begin(ReadOnlyMemory<int> rows) => (Beginning, Read) = (rows, rows.Length);

    /// <summary>Takes a step with the likeliest next tokens of each sequence, whose rows begin at <paramref name="row"/>.</summary>
    public abstract void Advance(NextTokens next, int row);

    /// <summary>Ends the search with what it has.</summary>
    public abstract void End();

    protected bool Ends(int token) => Options.StopTokens!.Contains(token);
}

/// <summary>One sequence, greedy or sampled.</summary>
internal sealed class SingleSearch(int[] prompt, GenerateOptions options, int limit, int vocabulary, StopStrings? stops)
    : Search(prompt, options, limit, vocabulary)
{
    // Above this, sorting all tokens is faster than finding the largest ones.
    private const int MostRanked = 1024;

    private Decoded said = Decoded.Nothing;
    private bool stopped;

    public override int Wanted => !Options.Samples ? 1 : Options.TopK is > 0 and <= MostRanked ? Math.Min(Options.TopK, Vocabulary) : 0;

    public override Decoded Result => said;

    public override bool IsStopped => stopped;

    public override void Advance(NextTokens next, int row)
    {
        if (next.Choose(row, this, said.Tokens.Length) is not { } chosen)
        {
            End();
            return;
        }
        said = new([.. said.Tokens, chosen.Token], [.. said.LogProbabilities, chosen.LogProbability]);
        Listener?.Tell(new(chosen.Token, chosen.LogProbability, [.. next.Of(row, Listener.Top)], IsPrompt: false));
        stopped = stops?.Add(chosen.Token) == true;
        if (stopped || Ends(chosen.Token) || said.Tokens.Length == Limit) End();
        else Beams = [new Beam(said.Tokens, said.LogProbabilities, 0, 0)];
    }

    public override void End() => Beams = [];
}
