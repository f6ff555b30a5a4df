using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// Continues many prompts at once: each step reads one token of every sequence of every open prompt in one pass of the model. It is
/// fed while it runs: prompts are added between steps, and one joins as soon as there is room, so that the batch stays full.
/// Options, adapter and random numbers belong to each prompt, and what one is continued with does not depend on the others. The
/// sequences of a prompt share its keys and values. One thread drives it.
/// </summary>
public sealed class DecodeLoop : IDisposable
{
    // A cache does not begin larger than this.
    private const long MostBytes = 1L << 30;

    private readonly LanguageModel model;
    private readonly int batchTokens;
    private readonly Queue<Continuation> waiting = new();
    private readonly List<Continuation> open = [];
    private KvCache? cache;
    private DecodePass? pass;

    /// <summary>A loop without prompts.</summary>
    /// <param name="model">What continues them.</param>
    /// <param name="batchTokens">Most tokens that are read at once: one for each sequence, and those of new prompts.</param>
    /// <exception cref="ArgumentOutOfRangeException">There is no room for a token.</exception>
    public DecodeLoop(LanguageModel model, int batchTokens = 512)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(batchTokens, 1);
        (this.model, this.batchTokens) = (model, batchTokens);
    }

    /// <summary>Number of prompts that are being continued.</summary>
    public int Open => open.Count;

    /// <summary>Number of prompts that wait for room.</summary>
    public int Waiting => waiting.Count;

    /// <summary>Adds a prompt; it is read by the first step that has room for it.</summary>
    /// <param name="prompt">At least one token.</param>
    /// <param name="options">How to choose; one sample.</param>
    /// <param name="adapter">What the sequence is read with; null for the base model alone.</param>
    /// <param name="onToken">Told each new token of a single sequence as it is chosen.</param>
    /// <exception cref="NolaException">
    /// The prompt is empty, has an unknown token, or is longer than the model reads;
    /// or an option is out of range.
    /// </exception>
    public Continuation Admit(
        ReadOnlySpan<int> prompt, GenerateOptions? options = null, IAdapter? adapter = null, Action<int>? onToken = null)
    {
        options = (options ?? new()).For(model);
        int[] ids = prompt.ToArray();
        PromptCheck.Check(ids, "the prompt", model.Shape);
        return Admit(ids, options, adapter, options.FirstSequence, onToken);
    }

    /// <summary>
    /// Reads one token of every open sequence, and new prompts as far as there is room.
    /// False when nothing is left to do.
    /// </summary>
    /// <exception cref="NolaException">The model gives values that are not numbers.</exception>
    public bool Step() => Step(null);

    /// <inheritdoc/>
    public void Dispose()
    {
        pass?.Dispose();
        cache?.Dispose();
    }

    /// <summary>The same for a prompt that was checked, with options that are whole.</summary>
    internal Continuation Admit(int[] prompt, GenerateOptions options, IAdapter? adapter, int sequence, Action<int>? onToken = null)
    {
        Continuation continuation = new(Search.Start(prompt, options, model, adapter, sequence, onToken), model.Shape);
        waiting.Enqueue(continuation);
        return continuation;
    }

    /// <summary>The same step; tells each continuation that has ended.</summary>
    internal bool Step(Action<Continuation>? onEnd)
    {
        Close(onEnd);
        Join(onEnd);
        if (open.Count > 0)
        {
            Advance();
            Close(onEnd);
        }
        return open.Count + waiting.Count > 0;
    }

    // As many prompts as fit, at least one: what is open keeps its sequences, and each prompt may come to have all of its own.
    private void Join(Action<Continuation>? onEnd)
    {
        cache ??= new KvCache(model, 0, model.Shape.Positions, Room());
        int tokens = open.Sum(c => c.Search.Beams.Count), sequences = open.Sum(c => c.Options.Beams);
        while (waiting.TryPeek(out Continuation? next))
        {
            if (next.IsCanceled || next.Search.Limit == 0)
            {
                waiting.Dequeue();
                End(next, onEnd);
                continue;
            }
            tokens += next.Prompt.Length;
            sequences += next.Options.Beams;
            if (open.Count > 0 && Math.Max(tokens, sequences) > batchTokens) return;
            open.Add(waiting.Dequeue());
        }
    }

    // Rows of the cache: those of the prompts that are open at once, and of what is said after each. Beams have most of it in
    // common, all but about the last eight tokens. It is a guess: a cache that is too small grows, which copies it.
    private int Room()
    {
        if (waiting.Count == 0) return batchTokens;
        int together = Math.Clamp(batchTokens / waiting.Max(c => c.Options.Beams), 1, waiting.Count);
        long rows = together
            * waiting.Max(c => c.Prompt.Length + Math.Min((long)c.Options.Beams * c.Search.Limit, c.Search.Limit + 8L * c.Options.Beams));
        return (int)Math.Clamp(MostBytes / KvCache.BytesOfRow(model.Shape), Math.Min(rows, batchTokens), rows);
    }

    private void Advance()
    {
        List<int> ids = [], starts = [0], parents = [];
        List<IAdapter?> adapters = [];
        List<(Search Search, int[] Generated)> sequences = [];
        foreach (Search search in open.Select(c => c.Search))
        {
            foreach (Beam beam in search.Beams)
            {
                if (search.Row < 0) ids.AddRange(search.Prompt);
                else ids.Add(beam.Tokens[^1]);
                starts.Add(ids.Count);
                parents.Add(search.Row < 0 ? -1 : search.Row + beam.Parent);
                adapters.Add(search.Adapter);
                sequences.Add((search, beam.Tokens));
            }
        }
        cache!.Reorder([.. parents]);
        pass ??= new DecodePass(model, cache);
        TokenStream stream = new([.. ids], [.. starts], [], []) { Adapters = adapters.Exists(a => a is not null) ? adapters : [] };
        using Tape tape = new(model.Device, record: false);
        Tensor logits = pass.Fits(stream) ? pass.Run(stream) : model.Decode(tape, stream, cache);         // (S or more, V)
        NextTokens next = NextTokens.Rank(logits, sequences);
        int row = 0;
        foreach (Search search in open.Select(c => c.Search))
        {
            int own = search.Beams.Count;
            search.Row = row;
            search.Advance(next, row);
            row += own;
        }
    }

    private void Close(Action<Continuation>? onEnd)
    {
        foreach (Continuation continuation in open)
            if (continuation.IsCanceled || continuation.Search.Beams.Count == 0) End(continuation, onEnd);
        open.RemoveAll(continuation => continuation.FinishReason is not null);
    }

    private static void End(Continuation continuation, Action<Continuation>? onEnd)
    {
        continuation.End();
        onEnd?.Invoke(continuation);
    }
}
