using Nola.Models;

namespace Nola.Serve;

/// <summary>
/// The texts of a completions request, part by part as their tokens come. Put together, the parts of a text are what is answered at once
/// to who does not stream.
/// </summary>
/// <param name="job">What was asked.</param>
/// <param name="tokenizer">The model's.</param>
internal sealed class CompletionParts(GenerationJob job, ITokenizer tokenizer)
{
    private readonly TokenTexts texts = new(tokenizer);
    private readonly List<GeneratedToken>[] prompts = [.. job.Prompts.Select(_ => new List<GeneratedToken>())];
    private readonly OneText[] choices =
        [.. Enumerable.Range(0, job.Choices).Select(i => new OneText(job, job.Prompts[i / job.Samples], tokenizer))];

    /// <summary>The parts that a token of a prompt makes; often none.</summary>
    public IEnumerable<CompletionChoice> Add(int prompt, GeneratedToken token)
    {
        if (token.IsPrompt)
        {
            // They are told once for all samples, before the first token of any.
            prompts[prompt].Add(token);
            yield break;
        }
        int index = prompt * job.Samples + token.Sample;
        OneText choice = choices[index];
        if (job.Echo && !choice.Begun) yield return new(index, job.Prompts[prompt].Text, Logprobs(choice, prompts[prompt]), null);
        choice.Begun = true;
        string text = choice.Answer.Add(token.Text);
        CompletionLogprobs? logprobs = token.Id >= 0 ? Logprobs(choice, [token]) : null;
        string? reason = FinishNames.Of(token.FinishReason);
        if (text.Length > 0 || logprobs is not null || reason is not null) yield return new(index, text, logprobs, reason);
    }

    /// <summary>The whole text of parts.</summary>
    public static CompletionChoice Join(IReadOnlyList<CompletionChoice> parts)
    {
        CompletionLogprobs[] told = [.. parts.Select(part => part.Logprobs).OfType<CompletionLogprobs>()];
        CompletionLogprobs? logprobs = told.Length == 0 ? null : new(
            [.. told.SelectMany(part => part.Tokens)], [.. told.SelectMany(part => part.TokenLogprobs)],
            [.. told.SelectMany(part => part.TopLogprobs)], [.. told.SelectMany(part => part.TextOffset)]);
        return new(parts[0].Index, string.Concat(parts.Select(part => part.Text)), logprobs, parts[^1].FinishReason);
    }

    private CompletionLogprobs? Logprobs(OneText choice, IReadOnlyList<GeneratedToken> tokens)
    {
        if (job.Logprobs is null) return null;
        return new(
            [.. tokens.Select(token => texts.Of(token.Id))],
            [.. tokens.Select(token => token.LogProbability is { } value ? TokenTexts.Finite(value) : (double?)null)],
            [.. tokens.Select(token => token.LogProbability is null ? null : texts.Top(token))],
            [.. tokens.Select(token => choice.Offset(token))]);
    }

    /// <summary>How far one of the texts has come.</summary>
    private sealed class OneText
    {
        private readonly ITokenizer tokenizer;
        private readonly IncrementalDecoder decoder;
        private int offset;

        public OneText(GenerationJob job, EncodedPrompt prompt, ITokenizer tokenizer)
        {
            (this.tokenizer, Answer) = (tokenizer, new(job.Form.TrimsStart()));
            bool told = job.Echo && job.Logprobs is not null;
            decoder = new(tokenizer, begins: told);
            offset = told ? 0 : Count(prompt.Text);
        }

        public AnswerText Answer { get; }

        public bool Begun { get; set; }

        /// <summary>Where a token begins, in characters (code points) from the beginning of the prompt.</summary>
        public int Offset(GeneratedToken token)
        {
            int begins = offset;
            if (token.Id < tokenizer.Vocabulary) offset += Count(decoder.Add(token.Id));
            return begins;
        }

        private static int Count(string text) => text.Length - text.Count(char.IsLowSurrogate);
    }
}

/// <summary>Why a text ended, as the API calls it.</summary>
internal static class FinishNames
{
    /// <summary>
    /// <c>stop</c> for what ends a text by itself, else <c>length</c>; clients know no other word. Null while it goes on.
    /// </summary>
    public static string? Of(FinishReason? reason) => reason switch
    {
        null => null,
        FinishReason.Stop => "stop",
        _ => "length",
    };
}
