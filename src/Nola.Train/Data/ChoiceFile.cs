using System.Text.Json;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>Reads questions with answers to choose from; specified in docs/data.md.</summary>
internal static class ChoiceFile
{
    /// <summary>
    /// Questions as JSONL, a line <c>{"context": …, "choices": […], "answer": …}</c> for each; the answer is a place among the choices,
    /// counted from 0, or one of them.
    /// </summary>
    /// <exception cref="NolaException">The file is missing or empty, or a line is of another form.</exception>
    public static List<ChoiceQuestion> Read(string path)
    {
        List<ChoiceQuestion> questions = [.. Rows(path).Select(row => Question(row.Row, row.Place))];
        return questions.Count > 0 ? questions : throw new NolaException($"{path}: there is no question in it.");
    }

    /// <summary>
    /// MMLU's questions as QLoRA publishes them, with their examples: <c>five_shot_mmlu_val.json</c> or <c>five_shot_mmlu_test.json</c>, a
    /// list, or a line for each, of <c>{"input": …, "output": "A", "subject": …}</c>.
    /// </summary>
    /// <param name="directory">Where the file is.</param>
    /// <param name="split">val or test.</param>
    /// <exception cref="NolaException">It is missing, or a question is of another form.</exception>
    public static List<MmluQuestion> ReadMmlu(string directory, string split)
    {
        string path = Path.Combine(directory, $"five_shot_mmlu_{split}.json");
        if (!File.Exists(path))
            throw new NolaException($"{path}: there is no such file; expected QLoRA's MMLU data (data/mmlu of its repository).");
        List<MmluQuestion> questions = [.. Rows(path).Select(row => MmluOf(row.Row, row.Place))];
        return questions.Count > 0 ? questions : throw new NolaException($"{path}: there is no question in it.");
    }

    private static MmluQuestion MmluOf(JsonElement row, string place)
    {
        string answer = JsonFields.Text(row, "output", place).Trim();
        if (!Mmlu.Letters.Contains(answer)) throw new NolaException($"{place}: the output is {Quoted.Of(answer)}; expected A, B, C or D.");
        return new(JsonFields.Text(row, "input", place), answer, JsonFields.Text(row, "subject", place));
    }

    private static ChoiceQuestion Question(JsonElement row, string place)
    {
        string context = JsonFields.Text(row, "context", place);
        string[] choices = [.. JsonFields.Array(row, "choices", place).Select(choice => JsonFields.TextOf(choice, "a choice", place))];
        if (choices.Length < 2) throw new NolaException($"{place}: there are {choices.Length} choices; expected at least two.");
        if (choices.Any(string.IsNullOrWhiteSpace)) throw new NolaException($"{place}: a choice is empty.");
        if (!row.TryGetProperty("answer", out JsonElement answer)) throw new NolaException($"{place}: there is no \"answer\".");
        int right = answer.ValueKind switch
        {
            JsonValueKind.Number when answer.TryGetInt32(out int number) => number,
            JsonValueKind.String => Array.IndexOf(choices, answer.GetString()),
            _ => -1,
        };
        if ((uint)right < (uint)choices.Length) return new(context, choices, right, place);
        throw new NolaException(
            $"{place}: the answer is {Quoted.Of(answer.GetRawText())}; "
            + $"expected one of the choices, or its place from 0 to {choices.Length - 1}.");
    }

    // The objects of a list, or of the lines.
    private static IEnumerable<(JsonElement Row, string Place)> Rows(string path)
    {
        using TextInput text = DataInput.Open(path);
        if (text.Peek() == '[')
        {
            using JsonDocument list = JsonInput.Parse(text.ReadToEnd(), path);
            int entry = 0;
            foreach (JsonElement item in list.RootElement.EnumerateArray()) yield return (item, $"{path}, entry {++entry}");
            yield break;
        }
        for (int line = 1; text.ReadLine() is { } row; line++)
        {
            if (string.IsNullOrWhiteSpace(row)) continue;
            using JsonDocument document = JsonInput.Parse(row, $"{path}, line {line}");
            yield return (document.RootElement, $"{path}, line {line}");
        }
    }
}
