using Nola.Tensors;

namespace Nola.Models;

/// <summary>A prompt that a <see cref="DecodeLoop"/> continues: what has been said so far, and in the end why it ended.</summary>
public sealed class Continuation
{
    private readonly Search search;
    private readonly int vocabulary, positions;

    internal Continuation(Search search, LanguageShape shape) =>
        (this.search, vocabulary, positions) = (search, shape.Vocabulary, shape.Positions);

    /// <summary>What is continued.</summary>
    public ReadOnlyMemory<int> Prompt => search.Prompt;

    /// <summary>By which options; whatever was left to be chosen is given.</summary>
    public GenerateOptions Options => search.Options;

    /// <summary>What the sequence is read with; null for the base model alone.</summary>
    public IAdapter? Adapter => search.Adapter;

    /// <summary>
    /// The new tokens, the stop token included. While a beam search runs there are none, since its sequences are only compared at the
    /// end.
    /// </summary>
    public IReadOnlyList<int> Tokens => search.Result.Tokens;

    /// <summary>
    /// The logarithm of each new token's probability, at temperature 1, after penalties and bans and before top-k and top-p.
    /// </summary>
    public IReadOnlyList<double> LogProbabilities => search.Result.LogProbabilities;

    /// <summary>Why it ended; null while it runs.</summary>
    public FinishReason? FinishReason { get; private set; }

    /// <summary>Whether somebody asked it to end; it does so before the next step.</summary>
    public bool IsCanceled { get; private set; }

    /// <summary>Ends it before the next step, with the tokens that it has.</summary>
    public void Cancel() => IsCanceled = true;

    internal Search Search => search;

    /// <summary>Why it could not be continued, in a loop where others go on then.</summary>
    internal NolaException? Error { get; private set; }

    /// <summary>Ends it before the next step, since it cannot be continued.</summary>
    internal void Fail(NolaException error)
    {
        Error = error;
        Cancel();
    }

    internal void End()
    {
        if (IsCanceled) search.End();
        FinishReason = IsCanceled ? Models.FinishReason.Canceled
            : search.IsStopped ? Models.FinishReason.Stop
            : FinishReasons.Of(search.Prompt.Length, search.Result.Tokens, search.Options, positions);
    }
}
