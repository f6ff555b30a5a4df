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
    private readonly DecodeLoopOptions settings;
    private readonly Queue<Continuation> waiting = new();
    private readonly List<Continuation> open = [];
    private KvCache? cache;
    private PrefixCache? prefixes;
    private DecodePass? pass;

    /// <summary>A loop without prompts.</summary>
    /// <param name="model">What continues them.</param>
    /// <param name="batchTokens">Most tokens that are read at once: one for each sequence, and those of new prompts.</param>
    /// <exception cref="ArgumentOutOfRangeException">There is no room for a token.</exception>
    public DecodeLoop(LanguageModel model, int batchTokens = 512) : this(model, new DecodeLoopOptions { BatchTokens = batchTokens })
    {
    }

    /// <summary>The same, as a server wants it.</summary>
    internal DecodeLoop(LanguageModel model, DecodeLoopOptions settings)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(settings.BatchTokens, 1);
        (this.model, this.settings) = (model, settings);
    }

    /// <summary>Number of prompts that are being continued.</summary>
    public int Open => open.Count;

    /// <summary>Number of prompts that wait for room.</summary>
    public int Waiting => waiting.Count;

    /// <summary>Tokens of open prompts that are still to be read.</summary>
    internal int Unread => open.Sum(c => c.Search.Unread);

    /// <summary>Tokens whose keys and values are held, and how many of them for prompts that begin alike.</summary>
    internal (int Rows, int Kept) Held => cache is null ? (0, 0) : (cache.Rows, cache.HeldRows);

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
        return Admit(ids, options, adapter, options.FirstSequence, TokenListener.Of(onToken));
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
    internal Continuation Admit(int[] prompt, GenerateOptions options, IAdapter? adapter, int sequence, TokenListener? listener = null)
    {
        Continuation continuation = new(Search.Start(prompt, options, model, adapter, sequence, listener), model.Shape);
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
        prefixes ??= settings.PrefixTokens > 0 ? new PrefixCache(cache, settings.PrefixTokens) : null;
        int unread = Unread, sequences = open.Sum(c => c.Options.Beams);
        int tokens = Math.Min(unread, settings.Chunk) + open.Where(c => c.Search.Unread == 0).Sum(c => c.Search.Beams.Count);
        while (waiting.TryPeek(out Continuation? next))
        {
            if (next.IsCanceled || (next.Search.Limit == 0 && !IsScored(next.Search)))
            {
                waiting.Dequeue();
                End(next, onEnd);
                continue;
            }
            int more = Math.Min(next.Prompt.Length, settings.Chunk - unread);
            tokens += more;
            sequences += next.Options.Beams;
            if (open.Count > 0 && (more <= 0 || Math.Max(tokens, sequences) > settings.BatchTokens)) return;
            open.Add(waiting.Dequeue());
            // Whose tokens are asked for must be read.
            if (prefixes is not null && !IsScored(next.Search) && PrefixCache.KeyOf(next.Adapter) is { } key)
                next.Search.Begin(prefixes.Find(key, next.Search.Prompt));
            unread += next.Search.Unread;
        }
    }

    // Rows of the cache: those of the prompts that are open at once, and of what is said after each. Beams have most of it in
    // common, all but about the last eight tokens. It is a guess: a cache that is too small grows, which copies it.
    private int Room()
    {
        if (waiting.Count == 0) return settings.BatchTokens;
        int together = Math.Clamp(settings.BatchTokens / waiting.Max(c => c.Options.Beams), 1, waiting.Count);
        long rows = together
            * waiting.Max(c => c.Prompt.Length + Math.Min((long)c.Options.Beams * c.Search.Limit, c.Search.Limit + 8L * c.Options.Beams));
        return (int)Math.Clamp(MostBytes / KvCache.BytesOfRow(model.Shape), Math.Min(rows, settings.BatchTokens), rows);
    }

    private void Advance()
    {
        DecodeBatch batch = new(open.Select(c => c.Search), settings.Chunk);
        cache!.Reorder(batch.Parents, slot => batch.Sequences[slot].Search.Beginning);
        pass ??= new DecodePass(model, cache);
        using Tape tape = new(model.Device, record: false);
        TokenStream stream = batch.Stream();
        Tensor? scored = null;
        Tensor logits = pass.Fits(stream) ? pass.Run(stream) : model.Decode(tape, stream, cache, out scored);  // (S or more, V)
        if (scored is not null) batch.TellPrompts(scored);
        NextTokens next = NextTokens.Rank(logits, batch.Sequences);
        int row = 0;
        foreach (Continuation continuation in open)
        {
            int own = continuation.Search.Beams.Count;
            Advance(continuation, next, row, batch.Read[row]);
            row += own;
        }
    }

    // With the rows of its sequences, after some tokens of its prompt were read.
    private void Advance(Continuation continuation, NextTokens next, int row, int read)
    {
        Search search = continuation.Search;
        search.Row = row;
        search.Read += read;
        if (!next.AreNumbers(row, search.Beams.Count))
        {
            NolaException error = new(
                "The model's logits are not numbers; its weights or the adapter's are damaged, or do not fit each other.");
            if (!settings.Isolates) throw error;
            continuation.Fail(error);
            return;
        }
        if (search.Unread > 0) return;
        // Others may begin alike while it is continued.
        if (read > 0) Keep(search, search.Prompt.Length);
        if (search.Limit == 0) search.End();
        else search.Advance(next, row);
    }

    private void Close(Action<Continuation>? onEnd)
    {
        foreach (Continuation continuation in open)
        {
            if (!continuation.IsCanceled && continuation.Search.Beams.Count > 0) continue;
            if (continuation.Error is null) Keep(continuation.Search, int.MaxValue);
            End(continuation, onEnd);
        }
        open.RemoveAll(continuation => continuation.FinishReason is not null);
    }

    // What was read of a single sequence, for prompts that begin alike.
    private void Keep(Search search, int most)
    {
        if (prefixes is null || search.Row < 0 || search.Options.Beams > 1 || PrefixCache.KeyOf(search.Adapter) is not { } key) return;
        int held = Math.Min(most, cache!.Lengths[search.Row]);
        prefixes.Add(key, [.. search.Prompt.Concat(search.Result.Tokens).Take(held)], search.Row);
    }

    private static bool IsScored(Search search) => search.Listener is { Prompt: true };

    private static void End(Continuation continuation, Action<Continuation>? onEnd)
    {
        continuation.End();
        onEnd?.Invoke(continuation);
    }
}
