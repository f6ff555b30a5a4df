using System.Text;
using Nola.Tensors;

namespace Nola.Models;

public sealed partial class Gpt2
{
    /// <summary>
    /// Continues a prompt token by token with a key/value cache and the attached adapter.
    /// The stop token is included when one ends the text.
    /// </summary>
    /// <param name="prompt">At least one token.</param>
    /// <param name="options">How to choose; a single sample, which is sequence <see cref="GenerateOptions.FirstSequence"/>.</param>
    /// <param name="onToken">Told each new token as it comes; with several beams, which are only compared at the end, all of them then.</param>
    /// <param name="cancel">Ends the text early.</param>
    /// <exception cref="NolaException">The prompt is empty or longer than the model reads.</exception>
    public int[] Generate(ReadOnlySpan<int> prompt, GenerateOptions? options = null, Action<int>? onToken = null, CancellationToken cancel = default)
    {
        options = Ready(options);
        if (options.NumSamples > 1)
            throw new NolaException($"Generate: num-samples is {options.NumSamples}, and one text is returned; call GenerateAll.");
        int[] ids = prompt.ToArray();
        CheckPrompt(ids, "the prompt");
        if (options.MaxNewTokens == 0) return [];
        Search search = Search.Start(ids, options, Config, options.FirstSequence, onToken);
        new DecodeLoop(this, options).Run([search], _ => { }, cancel);
        if (cancel.IsCancellationRequested) search.End();
        if (options.Beams > 1)
            foreach (int token in search.Result) onToken?.Invoke(token);
        return search.Result;
    }

    /// <summary>
    /// Continues many prompts, batched over prompts and beams by <see cref="GenerateOptions.BatchTokens"/>. Returns the new tokens of
    /// <see cref="GenerateOptions.NumSamples"/> sequences for each prompt, those of prompt i from index i · NumSamples on, as
    /// <see cref="Generate(ReadOnlySpan{int}, GenerateOptions?, Action{int}?, CancellationToken)"/> gives each alone: when sampling, with
    /// the sequence's number (<see cref="GenerateOptions.FirstSequence"/> + its index) as first sequence. Without sampling, equal
    /// prompts are decoded once.
    /// </summary>
    /// <param name="prompts">Each at least one token.</param>
    /// <param name="options">How to choose, alike for all.</param>
    /// <param name="onResult">
    /// Told the index of a sequence and its new tokens, as soon as they are known; of equal prompts that are decoded once, the first
    /// one's index.
    /// </param>
    /// <param name="cancel">Stops with an <see cref="OperationCanceledException"/>.</param>
    /// <exception cref="NolaException">A prompt is empty or longer than the model reads.</exception>
    public int[][] GenerateAll(IReadOnlyList<int[]> prompts, GenerateOptions? options = null, Action<int, int[]>? onResult = null, CancellationToken cancel = default)
    {
        options = Ready(options);
        for (int i = 0; i < prompts.Count; i++) CheckPrompt(prompts[i], $"prompt {i}");
        int count = options.SequencesOf(prompts.Count);
        if (count == 0) return [];
        int[] decoded = Decoded(prompts, options, count);
        int[][] results = new int[count][];
        Search[] searches = [.. decoded.Distinct().Select(Start)];
        if (options.MaxNewTokens == 0) Array.ForEach(searches, Ended);
        else new DecodeLoop(this, options).Run(searches, Ended, cancel);
        cancel.ThrowIfCancellationRequested();
        return [.. decoded.Select(i => results[i])];

        Search Start(int i) => Search.Start(prompts[i / options.NumSamples], options, Config, options.FirstSequence + i);

        void Ended(Search search)
        {
            int i = search.Sequence - options.FirstSequence;
            results[i] = search.Result;
            onResult?.Invoke(i, search.Result);
        }
    }

    /// <summary>
    /// Continues a context in the published form: its tokens, then 50256. Returns the completion's text, cut at the stop token.
    /// </summary>
    /// <exception cref="NolaException">The prompt is longer than the model reads, or the model has another vocabulary than GPT-2.</exception>
    public string Generate(string prompt, GenerateOptions? options = null)
    {
        Gpt2Tokenizer tokenizer = ModelTokenizer.For(this);
        options ??= new();
        StringBuilder text = new();
        IncrementalDecoder decoder = new(tokenizer);
        Generate([.. tokenizer.Encode(prompt), Gpt2Tokenizer.EndOfText], options, token =>
        {
            if (!options.StopTokens.Contains(token)) text.Append(decoder.Add(token));
        });
        return text.ToString().TrimStart();
    }

    // Valid options; with a seed, so that all sequences of a call have the same one.
    private static GenerateOptions Ready(GenerateOptions? options)
    {
        options ??= new();
        options.Validate();
        return options.Samples && options.Seed is null ? options with { Seed = GenerateOptions.NewSeed() } : options;
    }

    // For each sequence, the one that is decoded in its place: itself when sampling, else the first with its prompt.
    private static int[] Decoded(IReadOnlyList<int[]> prompts, GenerateOptions options, int count)
    {
        if (options.Samples) return [.. Enumerable.Range(0, count)];
        Dictionary<int[], int> firsts = new(TokenSequences.Comparer);
        for (int i = 0; i < count; i++) firsts.TryAdd(prompts[i], i);
        return [.. prompts.Select(prompt => firsts[prompt])];
    }

    private void CheckPrompt(int[] prompt, string which)
    {
        if (prompt.Length == 0) throw new NolaException($"Generate: {which} is empty; give at least one token, for example 50256.");
        foreach (int id in prompt)
            if ((uint)id >= (uint)Config.Vocabulary) throw new NolaException($"Generate: token id {id} of {which} is outside the model's vocabulary of {Config.Vocabulary}.");
        if (prompt.Length > Config.Positions)
            throw new NolaException($"Generate: {which} has {prompt.Length} tokens; this model reads at most {Config.Positions}.");
    }
}
