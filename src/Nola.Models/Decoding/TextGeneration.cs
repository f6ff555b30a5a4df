using System.Runtime.CompilerServices;
using System.Threading.Channels;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// Texts from language models. Canceling any of these throws an <see cref="OperationCanceledException"/>; what was generated until
/// then has been told to the callback.
/// </summary>
public static class TextGeneration
{
    /// <summary>
    /// Continues a context in the form that the model was taught (<see cref="ITokenizer.EncodeContext"/>). Returns the completion's
    /// text, without the stop token and what follows a stop string.
    /// </summary>
    /// <param name="model">What continues it.</param>
    /// <param name="context">The context.</param>
    /// <param name="adapter">What it is read with; null for the base model alone.</param>
    /// <param name="options">How to choose; a single sample.</param>
    /// <param name="cancel">Ends it.</param>
    /// <exception cref="NolaException">The context is longer than the model reads, or the model has no tokenizer.</exception>
    public static string Generate(
        this LanguageModel model, string context, IAdapter? adapter = null,
        GenerateOptions? options = null, CancellationToken cancel = default)
    {
        ITokenizer tokenizer = model.Tokenizer;
        options = (options ?? new()).For(model);
        int[] ids = model.Generate(tokenizer.EncodeContext(context), adapter, options, null, cancel);
        string text = tokenizer.Decode([.. ids.Where(id => !options.StopTokens!.Contains(id))]);
        return StopStrings.Cut(text, options.StopStrings).TrimStart();
    }

    /// <summary>
    /// The same, piece by piece as it is generated.
    /// The model works on a thread of its own until the last piece is taken.
    /// </summary>
    /// <param name="model">What continues it; nothing else may use its device until the pieces end.</param>
    /// <param name="context">The context.</param>
    /// <param name="adapter">What it is read with; null for the base model alone.</param>
    /// <param name="options">How to choose; a single sample without beams, since these are only compared at the end.</param>
    /// <param name="cancel">Ends it.</param>
    /// <exception cref="NolaException">The context is longer than the model reads, or the model has no tokenizer.</exception>
    public static async IAsyncEnumerable<string> GenerateAsync(
        this LanguageModel model, string context, IAdapter? adapter = null, GenerateOptions? options = null,
        [EnumeratorCancellation] CancellationToken cancel = default)
    {
        ITokenizer tokenizer = model.Tokenizer;
        options = (options ?? new()).For(model);
        Channel<int> tokens = Channel.CreateUnbounded<int>(new() { SingleReader = true, SingleWriter = true });
        using CancellationTokenSource stop = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        Task work = Task.Run(Work, CancellationToken.None);
        try
        {
            TextPieces pieces = new(tokenizer, options, trims: true);
            await foreach (int token in tokens.Reader.ReadAllAsync(cancel).ConfigureAwait(false))
                if (pieces.Add(token) is { Length: > 0 } piece) yield return piece;
            if (pieces.End() is { Length: > 0 } rest) yield return rest;
        }
        finally
        {
            // Whoever leaves early ends the work, and the device is free when this returns.
            await stop.CancelAsync().ConfigureAwait(false);
            try
            {
                await work.ConfigureAwait(false);
            }
            catch (OperationCanceledException)
            {
            }
        }

        void Work()
        {
            try
            {
                model.Generate(tokenizer.EncodeContext(context), adapter, options, token => tokens.Writer.TryWrite(token), stop.Token);
                tokens.Writer.Complete();
            }
            catch (Exception error)
            {
                tokens.Writer.Complete(error);
            }
        }
    }

    /// <summary>
    /// Continues token ids with a key/value cache. Returns the new tokens, the stop token included when one ends the text.
    /// </summary>
    /// <param name="model">What continues them.</param>
    /// <param name="prompt">At least one token.</param>
    /// <param name="adapter">What they are read with; null for the base model alone.</param>
    /// <param name="options">How to choose; a single sample, which is sequence <see cref="GenerateOptions.FirstSequence"/>.</param>
    /// <param name="onToken">
    /// Told each new token as it comes;
    /// with several beams, which are only compared at the end, all of them then.
    /// </param>
    /// <param name="cancel">Ends it.</param>
    /// <exception cref="NolaException">The prompt is empty or longer than the model reads.</exception>
    public static int[] Generate(
        this LanguageModel model, ReadOnlySpan<int> prompt, IAdapter? adapter = null,
        GenerateOptions? options = null, Action<int>? onToken = null,
        CancellationToken cancel = default)
    {
        options = (options ?? new()).For(model);
        if (options.NumSamples > 1)
            throw new NolaException($"Generate: num-samples is {options.NumSamples}, and one text is returned; call GenerateAll.");
        using DecodeLoop loop = new(model, options.BatchTokens);
        Continuation continuation = loop.Admit(prompt, options, adapter, onToken);
        Run(loop, null, cancel);
        if (options.Beams > 1)
            foreach (int token in continuation.Tokens) onToken?.Invoke(token);
        return [.. continuation.Tokens];
    }

    /// <summary>
    /// Continues many prompts, batched over prompts and beams by <see cref="GenerateOptions.BatchTokens"/>. Returns the new tokens of
    /// <see cref="GenerateOptions.NumSamples"/> sequences for each prompt, those of prompt i from index i · NumSamples on, as each alone
    /// gives them: when sampling, with the sequence's number (<see cref="GenerateOptions.FirstSequence"/> + its index) as first
    /// sequence. Without sampling, equal prompts are decoded once.
    /// </summary>
    /// <param name="model">What continues them.</param>
    /// <param name="prompts">Each at least one token.</param>
    /// <param name="adapter">What all are read with; null for the base model alone.</param>
    /// <param name="options">How to choose, alike for all.</param>
    /// <param name="onResult">
    /// Told the index of a sequence and its new tokens, as soon as they are known; of equal prompts that are decoded once, each one's
    /// index.
    /// </param>
    /// <param name="cancel">Ends it.</param>
    /// <exception cref="NolaException">A prompt is empty or longer than the model reads.</exception>
    public static int[][] GenerateAll(
        this LanguageModel model, IReadOnlyList<int[]> prompts, IAdapter? adapter = null, GenerateOptions? options = null,
        Action<int, int[]>? onResult = null, CancellationToken cancel = default)
    {
        options = (options ?? new()).For(model);
        for (int i = 0; i < prompts.Count; i++) PromptCheck.Check(prompts[i], $"prompt {i}", model.Shape);
        int count = options.SequencesOf(prompts.Count);
        if (count == 0) return [];
        int[] decoded = Decoded(prompts, options, count);
        int[][] results = new int[count][];
        using DecodeLoop loop = new(model, options.BatchTokens);
        ILookup<int, int> alike = Enumerable.Range(0, count).ToLookup(i => decoded[i]);
        Dictionary<Continuation, int> indices = [];
        foreach (int i in decoded.Distinct())
            indices[loop.Admit(prompts[i / options.NumSamples], options, adapter, options.FirstSequence + i)] = i;
        Run(loop, Ended, cancel);
        return [.. decoded.Select(i => results[i])];

        void Ended(Continuation continuation)
        {
            int i = indices[continuation];
            results[i] = [.. continuation.Tokens];
            foreach (int same in alike[i]) onResult?.Invoke(same, results[i]);
        }
    }

    private static void Run(DecodeLoop loop, Action<Continuation>? onEnd, CancellationToken cancel)
    {
        do
        {
            cancel.ThrowIfCancellationRequested();
        }
        while (loop.Step(onEnd));
    }

    // For each sequence, the one that is decoded in its place: itself when sampling, else the first with its prompt.
    private static int[] Decoded(IReadOnlyList<int[]> prompts, GenerateOptions options, int count)
    {
        if (options.Samples) return [.. Enumerable.Range(0, count)];
        Dictionary<int[], int> firsts = new(TokenSequences.Comparer);
        for (int i = 0; i < count; i++) firsts.TryAdd(prompts[i], i);
        return [.. prompts.Select(prompt => firsts[prompt])];
    }
}
