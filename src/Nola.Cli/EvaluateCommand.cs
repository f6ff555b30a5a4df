using System.CommandLine;
using System.Globalization;
using Nola.Train;

namespace Nola.Cli;

/// <summary><c>nola evaluate</c>: questions with answers to choose from, and images.</summary>
internal static class EvaluateCommand
{
    public static Command Create() => new("evaluate", "Test a model: questions with answers to choose from, or images.")
    {
        Mmlu(), Choices(), EvaluateImages.Create(),
    };

    private static Command Mmlu()
    {
        CommonOptions common = new();
        Argument<string> directory = new("directory")
        {
            Description = "QLoRA's MMLU data, with five_shot_mmlu_val.json or five_shot_mmlu_test.json",
        };
        Option<string> split = new ChoiceOption("--split", "eval", "test")
        {
            Description = "Which questions: those for validation (as in the paper), or those for testing",
        };
        Command command = new(
            "mmlu", "MMLU with five examples, as QLoRA and NOLA measure it: the mean over subjects of the share that is right.")
        {
            directory, split, common.Json,
        };
        common.AddTo(command);
        command.Does((r, cancel) => common.WithModel(r, (model, adapter) =>
        {
            List<MmluQuestion> questions = ChoiceFile.ReadMmlu(r.GetValue(directory)!, r.GetValue(split) == "test" ? "test" : "val");
            CountView view = new(questions.Count, "questions");
            int before = 0;
            MmluResult result = view.Show(() => Train.Mmlu.Ask(model, questions, adapter, onAnswered: Count, cancel: cancel));
            if (result.Cut > 0) Terminal.Say($"{result.Cut:N0} questions are longer than is read and were cut at their end.");
            if (r.GetValue(common.Json)) Terminal.Json(Facts(result));
            else foreach (string line in Lines(result)) Console.Out.WriteLine(line);
            return 0;

            void Count(int answered)
            {
                for (; before < answered; before++) view.Add();
            }
        }));
        return command;
    }

    private static Command Choices()
    {
        CommonOptions common = new();
        Argument<string> file = new("file")
        {
            Description = "JSONL, a line {\"context\": …, \"choices\": […], \"answer\": …} for each question",
        };
        Command command = new("choices", "Multiple choice by the likelihood of the answers: acc, and acc_norm by their lengths.")
        {
            file, common.Json,
        };
        common.AddTo(command);
        command.Does((r, cancel) => common.WithModel(r, (model, adapter) =>
        {
            ChoiceResult result = MultipleChoice.Ask(model, ChoiceFile.Read(r.GetValue(file)!), adapter, cancel: cancel);
            (double acc, double normalized, int count) = result;
            if (r.GetValue(common.Json)) Terminal.Json(new { acc, acc_norm = normalized, questions = count });
            else Console.Out.WriteLine($"acc {Share(acc)}, acc_norm {Share(normalized)} of {count:N0} questions");
            return 0;
        }));
        return command;
    }

    private static object Facts(MmluResult result) => new
    {
        accuracy = result.Accuracy,
        questions = result.Questions,
        cut = result.Cut,
        subjects = result.Subjects.ToDictionary(s => s.Key, s => new { accuracy = s.Value.Accuracy, questions = s.Value.Questions }),
    };

    private static IEnumerable<string> Lines(MmluResult result)
    {
        foreach ((string subject, (double accuracy, int count)) in result.Subjects)
            yield return $"{Share(accuracy)}  {count,5:N0}  {subject}";
        yield return $"{Share(result.Accuracy)}  {result.Questions,5:N0}  mean of {result.Subjects.Count} subjects";
    }

    private static string Share(double value) => value.ToString("F4", CultureInfo.InvariantCulture);
}
