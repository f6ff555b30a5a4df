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
    /// <param name="onToken">Told each new token as it comes.</param>
    /// <param name="cancel">Ends the text early.</param>
    /// <exception cref="NolaException">The prompt is empty or longer than the model reads.</exception>
    public int[] Generate(ReadOnlySpan<int> prompt, GenerateOptions? options = null, Action<int>? onToken = null, CancellationToken cancel = default)
    {
        options ??= new();
        options.Validate();
        if (prompt.IsEmpty) throw new NolaException("Generate: the prompt is empty; give at least one token, for example 50256.");
        foreach (int id in prompt)
            if ((uint)id >= (uint)Config.Vocabulary) throw new NolaException($"Generate: token id {id} is outside the model's vocabulary of {Config.Vocabulary}.");
        CheckLength(prompt.Length);
        using KvCache cache = new(this, 1, Math.Min(Config.Positions, prompt.Length + options.MaxNewTokens));
        List<int> generated = [];
        float[] logits = options.MaxNewTokens > 0 ? Decode(TokenStreams.Single(prompt), cache) : [];
        while (generated.Count < options.MaxNewTokens && !cancel.IsCancellationRequested)
        {
            int token = Sampler.Choose(logits, options, generated.Count);
            generated.Add(token);
            onToken?.Invoke(token);
            bool full = cache.Lengths[0] == cache.Capacity;
            if (full || options.StopTokens.Contains(token) || generated.Count == options.MaxNewTokens) break;
            logits = Decode(TokenStreams.Single([token]), cache);
        }
        return [.. generated];
    }

    /// <summary>
    /// Continues a context in the published form: its tokens, then 50256. Returns the completion's text, cut at the stop token.
    /// </summary>
    /// <exception cref="NolaException">The prompt is longer than the model reads, or the model has another vocabulary than GPT-2.</exception>
    public string Generate(string prompt, GenerateOptions? options = null)
    {
        Gpt2Tokenizer tokenizer = ModelTokenizer.For(Source, Config);
        options ??= new();
        StringBuilder text = new();
        IncrementalDecoder decoder = new(tokenizer);
        Generate([.. tokenizer.Encode(prompt), Gpt2Tokenizer.EndOfText], options, token =>
        {
            if (!options.StopTokens.Contains(token)) text.Append(decoder.Add(token));
        });
        return text.ToString().TrimStart();
    }
}
