using System.Text.Json;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

/// <summary>Questions with answers to choose from, against probabilities that are computed from logits here.</summary>
public sealed class MultipleChoiceTests : IDisposable
{
    private static readonly string place = Path.Combine(AppContext.BaseDirectory, "data", "golden", "stories260K");

    private readonly CpuDevice device = new(2);
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    public void Dispose()
    {
        device.Dispose();
        Directory.Delete(directory, recursive: true);
    }

    [Fact]
    public void The_likeliest_answer_is_chosen_and_by_its_length_another_may_be()
    {
        using LanguageModel model = LanguageModel.Load(place, device);
        ChoiceQuestion[] questions =
        [
            new("Once upon a", ["time, there was a little girl", "box", "the"], 0),
            new("Lily was", ["sad", "very happy because she had a big red ball"], 0),
            new("The dog said,", ["\"Hello!\"", "moon", "to"], 2),
            new("She loved to", ["go", "play outside in the park. One day, she saw a big, red ball."], 0),
        ];
        int right = 0, normalized = 0;
        foreach (ChoiceQuestion question in questions)
        {
            double[] scores = [.. question.Choices.Select(choice => LogProbability(model, question.Context, choice))];
            if (Array.IndexOf(scores, scores.Max()) == question.Answer) right++;
            double[] each = [.. scores.Zip(question.Choices, (score, choice) => score / choice.Length)];
            if (Array.IndexOf(each, each.Max()) == question.Answer) normalized++;
        }
        Assert.NotEqual(right, normalized);
        foreach (int batchTokens in (int[])[8, 4096])
        {
            ChoiceResult result = MultipleChoice.Ask(model, questions, batchTokens: batchTokens);
            Assert.Equal(new ChoiceResult(right / 4.0, normalized / 4.0, 4), result);
        }
        string file = Path.Combine(directory, "questions.jsonl");
        File.WriteAllLines(file, questions.Select((q, i) => JsonSerializer.Serialize(new
        {
            context = q.Context,
            choices = q.Choices,
            answer = i % 2 == 0 ? (object)q.Answer : q.Choices[q.Answer],
        })));
        JsonElement line = Assert.Single(Tool.Json("evaluate", "choices", file, "--model", place));
        Assert.Equal((right / 4.0, normalized / 4.0), (line.GetProperty("acc").GetDouble(), line.GetProperty("acc_norm").GetDouble()));
    }

    [Fact]
    public void An_answer_without_a_context_is_scored_from_its_first_token_on()
    {
        // GPT-2 has no token that begins texts: the empty context is the one that ends them.
        using LanguageModel model = LanguageModel.Load("nola-tiny", device);
        string[] choices = [" restaurant", "The Punter is a cheap place", "Zzq"];
        double[] scores = [.. choices.Select(choice =>
        {
            int[] ids = model.Tokenizer.Encode(" " + choice);
            double[] losses = Evaluation.LogProbabilities(model, [new EncodedPair([model.Tokenizer.EndOfText], ids)], null, 100, default);
            return losses.Sum();
        })];
        ChoiceQuestion one = new("", choices, Array.IndexOf(scores, scores.Max())), other = new("The", ["pub", "Punter is"], 0);
        Assert.Equal(1, MultipleChoice.Ask(model, [one]).Accuracy);
        // Those behind it are asked as they are alone.
        Assert.Equal(
            (1 + MultipleChoice.Ask(model, [other]).Accuracy) / 2, MultipleChoice.Ask(model, [one, other]).Accuracy);
    }

    [Fact]
    public void The_letter_behind_the_question_is_the_answer_and_subjects_count_alike()
    {
        using LanguageModel model = LanguageModel.Load(place, device);
        string longest = string.Concat(Enumerable.Repeat("Lily had a ball. ", 100));
        (string Input, string Subject)[] asked =
            [("The dog", "dogs"), ("One day,", "days"), ("She said, \"", "days"), ("A cat and", "days"), (longest, "long")];
        string[] likeliest = [.. asked.Select(question => Letter(model, question.Input))];
        // One wrong of three days, all else right: (1 + 2/3 + 1) / 3.
        likeliest[1] = likeliest[1] == "A" ? "B" : "A";
        File.WriteAllText(
            Path.Combine(directory, "five_shot_mmlu_val.json"),
            JsonSerializer.Serialize(asked.Zip(likeliest, (one, output) => new { input = one.Input, output, subject = one.Subject })));
        MmluResult result = Mmlu.Ask(model, ChoiceFile.ReadMmlu(directory, "val"), batchTokens: 20);
        Assert.Equal(8.0 / 9, result.Accuracy, 1e-12);
        Assert.Equal((5, 1), (result.Questions, result.Cut));
        Assert.Equal(["days", "dogs", "long"], result.Subjects.Keys);
        Assert.Equal((2.0 / 3, 3), result.Subjects["days"]);
        JsonElement line = Assert.Single(Tool.Json("evaluate", "mmlu", directory, "--model", place));
        Assert.Equal(8.0 / 9, line.GetProperty("accuracy").GetDouble(), 1e-12);
        string missing = Tool.Fails(1, "evaluate", "mmlu", directory, "--split", "test", "--model", place);
        Assert.Contains("five_shot_mmlu_test.json: there is no such file", missing);
    }

    [Theory]
    [InlineData("""{"context": "a", "choices": ["b"], "answer": 0}""", "line 1: there are 1 choices; expected at least two")]
    [InlineData(
        """{"context": "a", "choices": ["b", "c"], "answer": 2}""",
        "line 1: the answer is '2'; expected one of the choices, or its place from 0 to 1")]
    [InlineData("""{"context": "a", "choices": ["b", "c"], "answer": "d"}""", "expected one of the choices")]
    [InlineData("""{"context": "a", "choices": ["b", " "], "answer": 0}""", "line 1: a choice is empty")]
    [InlineData("""{"context": "a", "choices": ["b", "c"]}""", "line 1: there is no \"answer\"")]
    [InlineData("""{"choices": ["b", "c"], "answer": 0}""", "line 1: there is no \"context\"")]
    [InlineData("", "there is no question in it")]
    public void A_question_of_another_form_is_refused(string text, string expected)
    {
        string file = Path.Combine(directory, "questions.jsonl");
        File.WriteAllText(file, text);
        Assert.Contains(expected, Assert.Throws<NolaException>(() => ChoiceFile.Read(file)).Message);
    }

    private static double LogProbability(LanguageModel model, string context, string choice)
    {
        int[] before = model.Tokenizer.EncodePrompt(context), whole = model.Tokenizer.EncodePrompt($"{context} {choice}");
        Assert.Equal(before, whole[..before.Length]);
        float[] logits = model.Logits(whole);
        return Enumerable.Range(before.Length, whole.Length - before.Length)
            .Sum(at => LogSoftmax(logits[((at - 1) * 512)..(at * 512)], whole[at]));
    }

    private static double LogSoftmax(float[] row, int token) => row[token] - Math.Log(row.Sum(value => Math.Exp(value)));

    // Of a question that is too long the first tokens are read.
    private static string Letter(LanguageModel model, string text)
    {
        int[] ids = model.Tokenizer.EncodePrompt(text);
        float[] last = model.Logits(ids[..Math.Min(512, ids.Length)])[^512..];
        return Mmlu.Letters.MaxBy(letter => last[model.Tokenizer.Encode(letter)[0]])!;
    }
}
