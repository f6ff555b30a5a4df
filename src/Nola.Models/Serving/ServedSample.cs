namespace Nola.Models;

/// <summary>
/// One text of a request while it is continued. Its last token is held until the step is over, so that it can say whether it is the last.
/// </summary>
internal sealed class ServedSample
{
    private readonly IncrementalDecoder? promptText;
    private readonly TextPieces? text;
    private GeneratedToken? held;

    /// <summary>A sample that has not joined yet.</summary>
    /// <param name="request">What it is of.</param>
    /// <param name="index">Which sample.</param>
    /// <param name="tokenizer">The model's; null where it has none, so that there is no text.</param>
    public ServedSample(ServedRequest request, int index, ITokenizer? tokenizer)
    {
        (Request, Index) = (request, index);
        if (tokenizer is null) return;
        promptText = new IncrementalDecoder(tokenizer, begins: true);
        text = new TextPieces(tokenizer, request.Options, trims: false);
    }

    /// <summary>What it is of.</summary>
    public ServedRequest Request { get; }

    /// <summary>Which of its samples.</summary>
    public int Index { get; }

    /// <summary>How it is continued, once it has joined.</summary>
    public Continuation? Continuation { get; set; }

    /// <summary>Number of tokens that were generated.</summary>
    public int Tokens { get; private set; }

    /// <summary>What the loop tells its tokens.</summary>
    public TokenListener Listener => new(Take)
    {
        Top = Request.Request.TopLogProbabilities,
        Prompt = Index == 0 && Request.Request.PromptLogProbabilities,
    };

    private int Cached => Continuation?.Search.Beginning.Length ?? 0;

    /// <summary>Gives away what is held: the sample goes on.</summary>
    public void Flush()
    {
        if (held is not null) Request.Tell(held);
        held = null;
    }

    /// <summary>Gives away what is held as the last.</summary>
    public void End(FinishReason reason)
    {
        held ??= new() { Sample = Index, Id = GeneratedToken.NoToken, CachedTokens = Cached };
        held = held with { Text = held.Text + (text?.End() ?? ""), FinishReason = reason };
        Flush();
    }

    private void Take(TokenReport report)
    {
        GeneratedToken token = new()
        {
            Sample = Index,
            Id = report.Id,
            IsPrompt = report.IsPrompt,
            Text = (report.IsPrompt ? promptText?.Add(report.Id) : text?.Add(report.Id)) ?? "",
            LogProbability = report.LogProbability,
            TopLogProbabilities = report.Top,
            CachedTokens = Cached,
        };
        if (report.IsPrompt)
        {
            Request.Tell(token);
            return;
        }
        Tokens++;
        held = token;
    }
}
