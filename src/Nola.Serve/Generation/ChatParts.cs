using Nola.Models;

namespace Nola.Serve;

/// <summary>A part of an answer: what a token adds.</summary>
/// <param name="Index">Which of the answers.</param>
/// <param name="Text">What is said; may be empty.</param>
/// <param name="Logprob">The token with its log-probability, where that was asked for.</param>
/// <param name="Finish">Why the answer ends with it; null where it goes on.</param>
internal sealed record ChatPart(int Index, string Text, ChatTokenLogprob? Logprob, string? Finish);

/// <summary>The answers of a chat request, part by part as their tokens come.</summary>
/// <param name="job">What was asked.</param>
/// <param name="tokenizer">The model's.</param>
internal sealed class ChatParts(GenerationJob job, ITokenizer tokenizer)
{
    private readonly TokenTexts texts = new(tokenizer);
    private readonly AnswerText[] answers = [.. Enumerable.Range(0, job.Samples).Select(_ => new AnswerText(job.Form.TrimsStart()))];

    /// <summary>The part that a token makes.</summary>
    public ChatPart Add(GeneratedToken token) => new(
        token.Sample, answers[token.Sample].Add(token.Text), Logprob(token), FinishNames.Of(token.FinishReason));

    private ChatTokenLogprob? Logprob(GeneratedToken token)
    {
        if (job.Logprobs is null || token is not { Id: >= 0, LogProbability: { } value }) return null;
        return new(
            texts.Of(token.Id), TokenTexts.Finite(value), texts.Bytes(token.Id),
            [.. token.TopLogProbabilities.Select(likely =>
                new ChatTopLogprob(texts.Of(likely.Id), TokenTexts.Finite(likely.LogProbability), texts.Bytes(likely.Id)))]);
    }
}
