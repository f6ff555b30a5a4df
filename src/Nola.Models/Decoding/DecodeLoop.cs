using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// Continues many prompts at once: each step reads one token of every sequence of every open prompt in one pass of the model,
/// and new prompts join as soon as there is room, so that the batch stays full to the end. The sequences of a prompt share its
/// keys and values.
/// </summary>
internal sealed class DecodeLoop(Gpt2 model, GenerateOptions options)
{
    // A cache does not begin larger than this.
    private const long MostBytes = 1L << 30;

    private readonly TokenRules rules = new(options, model.Config.Vocabulary);
    private readonly List<Search> open = [];

    // The slots of the next step: what each goes on from, −1 for a new prompt.
    private readonly List<int> parents = [];

    /// <summary>Runs all searches to their end.</summary>
    /// <param name="searches">In the order in which they start.</param>
    /// <param name="onEnd">Told each search as it ends.</param>
    /// <param name="cancel">Stops it before the next step.</param>
    public void Run(IReadOnlyList<Search> searches, Action<Search> onEnd, CancellationToken cancel)
    {
        int waiting = 0;
        using KvCache cache = new(model, 0, model.Config.Positions, Room(searches));
        using DecodePass pass = new(model, cache);
        while (waiting < searches.Count || open.Count > 0)
        {
            if (cancel.IsCancellationRequested) return;
            waiting += Admit(searches, waiting);
            Step(cache, pass);
            Close(onEnd);
        }
    }

    // Rows of the cache: those of the prompts that are open at once, and of what is said after each. Beams have most of it in
    // common, all but about the last eight tokens. It is a guess: a cache that is too small grows, which copies it.
    private int Room(IReadOnlyList<Search> searches)
    {
        int together = Math.Clamp(options.BatchTokens / options.Beams, 1, searches.Count);
        long rows = together * searches.Max(s => s.Prompt.Length + Math.Min((long)options.Beams * s.Limit, s.Limit + 8L * options.Beams));
        return (int)Math.Clamp(MostBytes / KvCache.BytesOfRow(model.Config), Math.Min(rows, options.BatchTokens), rows);
    }

    // As many prompts as fit, at least one: what is open keeps its sequences, and each prompt may come to have all of its own.
    private int Admit(IReadOnlyList<Search> searches, int waiting)
    {
        int tokens = parents.Count, sequences = open.Count * options.Beams, admitted = 0;
        for (int i = waiting; i < searches.Count; i++)
        {
            tokens += searches[i].Prompt.Length;
            sequences += options.Beams;
            if (open.Count > 0 && Math.Max(tokens, sequences) > options.BatchTokens) break;
            open.Add(searches[i]);
            parents.Add(-1);
            admitted++;
        }
        return admitted;
    }

    private void Step(KvCache cache, DecodePass pass)
    {
        List<int> ids = [], starts = [0];
        List<(int[] Prompt, int[] Generated)> sequences = [];
        foreach (Search search in open)
        {
            foreach (Beam beam in search.Beams)
            {
                if (beam.Tokens.Length == 0) ids.AddRange(search.Prompt);
                else ids.Add(beam.Tokens[^1]);
                starts.Add(ids.Count);
                sequences.Add((search.Prompt, beam.Tokens));
            }
        }
        cache.Reorder([.. parents]);
        TokenStream stream = new([.. ids], [.. starts], [], []);
        using Tape tape = new(model.Device, record: false);
        Tensor logits = pass.Fits(stream) ? pass.Run(stream) : model.Decode(tape, stream, cache).Value;      // (S or more, V)
        NextTokens next = NextTokens.Rank(logits, rules, sequences, open[0].Wanted);
        parents.Clear();
        int row = 0;
        foreach (Search search in open)
        {
            int own = search.Beams.Count;
            search.Advance(next, row);
            foreach (Beam beam in search.Beams) parents.Add(row + beam.Parent);
            row += own;
        }
    }

    private void Close(Action<Search> onEnd)
    {
        foreach (Search search in open)
            if (search.Beams.Count == 0) onEnd(search);
        open.RemoveAll(search => search.Beams.Count == 0);
    }
}
