using System.Text;
using Nola.Tensors;

namespace Nola.Models;

public sealed partial class Gpt2
{
    /// <summary>
    /// Continues a prompt token by token with a key/value cache, with the attached adapter's factors mixed once.
    /// The stop token is included when one ends the text.
    /// </summary>
    /// <param name="prompt">At least one token.</param>
    /// <param name="options">How to choose.</param>
    /// <param name="onToken">Told each new token as it comes; with several beams, which are only compared at the end, all of them then.</param>
    /// <param name="cancel">Ends the text early.</param>
    /// <exception cref="NolaException">The prompt is empty or longer than the model reads.</exception>
    public int[] Generate(ReadOnlySpan<int> prompt, GenerateOptions? options = null, Action<int>? onToken = null, CancellationToken cancel = default)
    {
        options ??= new();
        options.Validate();
        int[] ids = prompt.ToArray();
        CheckPrompt(ids, "the prompt");
        if (options.MaxNewTokens == 0) return [];
        Search search = Search.Start(ids, options, Config, onToken);
        new DecodeLoop(this, options).Run([search], _ => { }, cancel);
        if (cancel.IsCancellationRequested) search.End();
        if (options.Beams > 1)
            foreach (int token in search.Result) onToken?.Invoke(token);
        return search.Result;
    }

    /// <summary>
    /// Continues many prompts, batched over prompts and beams by <see cref="GenerateOptions.BatchTokens"/>, equal prompts once.
    /// Returns the new tokens of each prompt in order, as <see cref="Generate(ReadOnlySpan{int}, GenerateOptions?, Action{int}?, CancellationToken)"/> does for one.
    /// </summary>
    /// <param name="prompts">Each at least one token.</param>
    /// <param name="options">How to choose, alike for all.</param>
    /// <param name="onResult">Told the index of each distinct prompt, where it stands first, and its new tokens, as soon as they are known.</param>
    /// <param name="cancel">Stops with an <see cref="OperationCanceledException"/>.</param>
    /// <exception cref="NolaException">A prompt is empty or longer than the model reads.</exception>
    public int[][] GenerateAll(IReadOnlyList<int[]> prompts, GenerateOptions? options = null, Action<int, int[]>? onResult = null, CancellationToken cancel = default)
    {
        options ??= new();
        options.Validate();
        Dictionary<int[], int> firsts = new(TokenSequences.Comparer);
        for (int i = 0; i < prompts.Count; i++)
        {
            CheckPrompt(prompts[i], $"prompt {i}");
            firsts.TryAdd(prompts[i], i);
        }
        Dictionary<int[], int[]> results = new(TokenSequences.Comparer);
        if (options.MaxNewTokens == 0 || prompts.Count == 0) return [.. prompts.Select(_ => Array.Empty<int>())];
        Search[] searches = [.. firsts.Keys.Select(prompt => Search.Start(prompt, options, Config, null))];
        new DecodeLoop(this, options).Run(searches, search =>
        {
            results[search.Prompt] = search.Result;
            onResult?.Invoke(firsts[search.Prompt], search.Result);
        }, cancel);
        cancel.ThrowIfCancellationRequested();
        return [.. prompts.Select(prompt => results[prompt])];
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

    private void CheckPrompt(int[] prompt, string which)
    {
        if (prompt.Length == 0) throw new NolaException($"Generate: {which} is empty; give at least one token, for example 50256.");
        foreach (int id in prompt)
            if ((uint)id >= (uint)Config.Vocabulary) throw new NolaException($"Generate: token id {id} of {which} is outside the model's vocabulary of {Config.Vocabulary}.");
        if (prompt.Length > Config.Positions)
            throw new NolaException($"Generate: {which} has {prompt.Length} tokens; this model reads at most {Config.Positions}.");
    }
}
