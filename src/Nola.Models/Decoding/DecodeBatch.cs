using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// The tokens of one step: some of each prompt that is not read yet, in their order as far as there is room, and else the last of every
/// sequence.
/// </summary>
internal sealed class DecodeBatch
{
    private readonly List<int> ids = [], starts = [0], parents = [], scored = [], targets = [];
    private readonly List<IAdapter?> adapters = [];
    private readonly List<(Search Search, int First, int Count)> scoring = [];

    /// <summary>Lays the tokens of searches end to end.</summary>
    /// <param name="searches">What is continued.</param>
    /// <param name="room">Most tokens of prompts.</param>
    public DecodeBatch(IEnumerable<Search> searches, int room)
    {
        foreach (Search search in searches)
        {
            int read = Math.Min(search.Unread, room);
            room -= read;
            foreach (Beam beam in search.Beams)
            {
                if (read > 0) AddPrompt(search, read);
                else ids.Add(beam.Tokens[^1]);
                starts.Add(ids.Count);
                parents.Add(search.Row < 0 ? -1 : search.Row + beam.Parent);
                adapters.Add(search.Adapter);
                Sequences.Add((search, beam.Tokens));
                Read.Add(read);
            }
        }
    }

    /// <summary>The slot that each sequence goes on from; −1 for a new one.</summary>
    public int[] Parents => [.. parents];

    /// <summary>What each sequence is of, and what it has said.</summary>
    public List<(Search Search, int[] Generated)> Sequences { get; } = [];

    /// <summary>How many tokens of a prompt each sequence reads.</summary>
    public List<int> Read { get; } = [];

    /// <summary>The tokens; a loss counts where somebody wants to know the probability of the next token of a prompt.</summary>
    public TokenStream Stream() => new([.. ids], [.. starts], [.. scored], [.. targets])
    {
        Adapters = adapters.Exists(adapter => adapter is not null) ? adapters : [],
    };

    /// <summary>Tells the tokens of prompts to those who want to know them. logits: (P, V)</summary>
    public void TellPrompts(Tensor logits)
    {
        TokenReport[] reports = PromptScores.Of(logits, [.. targets], scoring.Max(own => own.Search.Listener!.Top));
        foreach ((Search search, int first, int count) in scoring)
        {
            TokenListener listener = search.Listener!;
            foreach (TokenReport report in reports.AsSpan(first, count))
                listener.Tell(report with { Top = [.. report.Top.Take(listener.Top)] });
        }
    }

    private void AddPrompt(Search search, int read)
    {
        int first = ids.Count;
        ids.AddRange(search.Prompt.AsSpan(search.Read, read));
        if (search.Listener is not { Prompt: true } listener) return;
        // Before the first token there is nothing that it could follow from.
        if (search.Read == 0) listener.Tell(new(search.Prompt[0], null, [], IsPrompt: true));
        int count = Math.Min(read, search.Prompt.Length - 1 - search.Read);
        scoring.Add((search, targets.Count, count));
        scored.AddRange(Enumerable.Range(first, count));
        targets.AddRange(search.Prompt.AsSpan(search.Read + 1, count));
    }
}
