using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>A question with answers to choose from.</summary>
/// <param name="Context">What stands before each answer.</param>
/// <param name="Choices">The answers, at least two.</param>
/// <param name="Answer">Which of them is right, counted from 0.</param>
/// <param name="Place">File and line, for messages.</param>
public sealed record ChoiceQuestion(string Context, IReadOnlyList<string> Choices, int Answer, string Place = "");

/// <summary>How many questions are answered right.</summary>
/// <param name="Accuracy">The share whose right answer has the highest log-probability (<c>acc</c>).</param>
/// <param name="NormalizedAccuracy">
/// The same with log-probabilities divided by the answers' lengths in characters (<c>acc_norm</c>).
/// </param>
/// <param name="Questions">How many there are.</param>
public readonly record struct ChoiceResult(double Accuracy, double NormalizedAccuracy, int Questions);

/// <summary>
/// Multiple choice by the likelihood of the answers, as EleutherAI's lm-evaluation-harness measures it: context, a space and the answer
/// are one text; what is scored are the tokens behind those of the context alone.
/// </summary>
public static class MultipleChoice
{
    /// <summary>Asks a model.</summary>
    /// <param name="model">What is asked.</param>
    /// <param name="questions">What it is asked.</param>
    /// <param name="adapter">What it reads with; null for the model alone.</param>
    /// <param name="batchTokens">Most tokens at once.</param>
    /// <param name="cancel">Ends it early with an <see cref="OperationCanceledException"/>.</param>
    /// <exception cref="NolaException">A question is longer than the model reads, or the model has no tokenizer.</exception>
    public static ChoiceResult Ask(
        LanguageModel model, IReadOnlyList<ChoiceQuestion> questions, IAdapter? adapter = null, int batchTokens = 4096,
        CancellationToken cancel = default)
    {
        if (questions.Count == 0) throw new NolaException("MultipleChoice: there is no question.");
        EncodedPair[] pairs = [.. questions.SelectMany(question => question.Choices.Select(choice => Encode(model, question, choice)))];
        double[] scores = Evaluation.LogProbabilities(model, pairs, adapter, batchTokens, cancel);
        int right = 0, rightNormalized = 0, at = 0;
        foreach (ChoiceQuestion question in questions)
        {
            double[] own = scores[at..(at + question.Choices.Count)];
            at += own.Length;
            double[] normalized = [.. own.Zip(question.Choices, (score, choice) => score / Math.Max(1, choice.EnumerateRunes().Count()))];
            if (Best(own) == question.Answer) right++;
            if (Best(normalized) == question.Answer) rightNormalized++;
        }
        return new((double)right / questions.Count, (double)rightNormalized / questions.Count, questions.Count);
    }

    /// <summary>The first of the largest values.</summary>
    internal static int Best(ReadOnlySpan<double> values)
    {
        int best = 0;
        for (int i = 1; i < values.Length; i++)
            if (values[i] > values[best]) best = i;
        return best;
    }

    private static EncodedPair Encode(LanguageModel model, ChoiceQuestion question, string choice)
    {
        ITokenizer tokenizer = model.Tokenizer;
        int[] context = tokenizer.EncodePrompt(question.Context), whole = tokenizer.EncodePrompt($"{question.Context} {choice}");
        // Where no token begins texts, an empty context is a token that the answer alone has not.
        if (question.Context.Length == 0 && !whole.AsSpan().StartsWith(context)) whole = [.. context, .. whole];
        if (whole.Length > model.Shape.Positions + 1)
            throw new NolaException(
                $"{question.Place}: the question with an answer has {whole.Length} tokens "
                + $"and the model reads {model.Shape.Positions + 1} at most.");
        // An answer whose first token joins with the end of the context is scored from its second on, as in the original.
        int shared = Math.Min(context.Length, whole.Length - 1);
        return new(whole[..shared], whole[shared..]);
    }
}

/// <summary>How many questions of MMLU (Hendrycks et al. 2021) a model answers right.</summary>
/// <param name="Accuracy">The mean over subjects of the share that is right.</param>
/// <param name="Subjects">Each subject's share and its number of questions.</param>
/// <param name="Cut">Questions that were longer than is read, and were cut at their end.</param>
public sealed record MmluResult(double Accuracy, IReadOnlyDictionary<string, (double Accuracy, int Questions)> Subjects, int Cut)
{
    /// <summary>Number of questions.</summary>
    public int Questions => Subjects.Values.Sum(subject => subject.Questions);
}

/// <summary>A question of MMLU with its examples.</summary>
/// <param name="Prompt">Examples and question, which ends where the letter of the answer belongs.</param>
/// <param name="Answer">A, B, C or D.</param>
/// <param name="Subject">What it is about.</param>
public sealed record MmluQuestion(string Prompt, string Answer, string Subject);

/// <summary>
/// MMLU as QLoRA's and NOLA's code measure it: the likeliest of the first tokens of A, B, C and D behind the question is the answer;
/// questions are read up to 2,048 tokens, and what is over at the end is cut.
/// </summary>
public static class Mmlu
{
    private const int LongestSource = 2048;

    /// <summary>The letters of the answers.</summary>
    public static IReadOnlyList<string> Letters { get; } = ["A", "B", "C", "D"];

    /// <summary>Asks a model.</summary>
    /// <param name="model">What is asked.</param>
    /// <param name="questions">What it is asked.</param>
    /// <param name="adapter">What it reads with; null for the model alone.</param>
    /// <param name="batchTokens">Most tokens at once.</param>
    /// <param name="onAnswered">Told after each batch how many questions are answered.</param>
    /// <param name="cancel">Ends it early with an <see cref="OperationCanceledException"/>.</param>
    /// <exception cref="NolaException">The model has no tokenizer, or one without tokens of the letters.</exception>
    public static MmluResult Ask(
        LanguageModel model, IReadOnlyList<MmluQuestion> questions, IAdapter? adapter = null, int batchTokens = 4096,
        Action<int>? onAnswered = null, CancellationToken cancel = default)
    {
        if (questions.Count == 0) throw new NolaException("MMLU: there is no question.");
        int[] letters = [.. Letters.Select(letter => model.Tokenizer.Encode(letter)[0])];
        int longest = Math.Min(LongestSource, model.Shape.Positions), cut = 0, answered = 0;
        EncodedPair[] sources = [.. questions.Select(question => new EncodedPair([], Source(question.Prompt)))];
        bool[] right = new bool[questions.Count];
        foreach (int[] batch in new Batches(sources, batchTokens, 0, 0, shuffle: false).Epoch(0))
        {
            cancel.ThrowIfCancellationRequested();
            int[] choices = Evaluation.Likeliest(model, [.. batch.Select(i => sources[i].Completion)], letters, adapter);
            for (int i = 0; i < batch.Length; i++) right[batch[i]] = Letters[choices[i]] == questions[batch[i]].Answer;
            onAnswered?.Invoke(answered += batch.Length);
        }
        Dictionary<string, (double, int)> subjects = questions.Select((question, i) => (question.Subject, Right: right[i]))
            .GroupBy(answer => answer.Subject).OrderBy(group => group.Key, StringComparer.Ordinal)
            .ToDictionary(group => group.Key, group => (group.Count(answer => answer.Right) / (double)group.Count(), group.Count()));
        return new(subjects.Values.Average(subject => subject.Item1), subjects, cut);

        int[] Source(string prompt)
        {
            int[] ids = model.Tokenizer.EncodePrompt(prompt);
            if (ids.Length > longest) cut++;
            return ids.Length > longest ? ids[..longest] : ids;
        }
    }
}
