using System.Diagnostics;
using Nola.Train;
using Spectre.Console;

namespace Nola.Cli;

/// <summary>Shows a run: a progress bar on a terminal, plain lines elsewhere. Both on standard error.</summary>
internal sealed class TrainView : ITrainObserver
{
    private static readonly TimeSpan quiet = TimeSpan.FromSeconds(5);

    private readonly IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Error) });
    private readonly Stopwatch sinceLine = Stopwatch.StartNew();
    private ProgressTask? bar;
    private string validation = "";

    /// <summary>Runs a training with this view of it.</summary>
    public TrainResult Show(Func<TrainResult> training)
    {
        if (Console.IsErrorRedirected || !console.Profile.Capabilities.Ansi) return training();
        return console.Progress()
            .AutoClear(false)
            .Columns(new ProgressBarColumn { Width = 28 }, new PercentageColumn(), new TaskDescriptionColumn { Alignment = Justify.Left })
            .Start(context =>
            {
                bar = context.AddTask("starting", maxValue: 1);
                return training();
            });
    }

    public void OnStep(StepReport report)
    {
        string text = $"step {report.Step}/{report.TotalSteps}  loss {report.Loss:F3}  "
            + $"{report.TokensPerSecond:N0} tokens/s  {Left(report)} left{validation}";
        if (bar is not null)
        {
            bar.MaxValue = report.TotalSteps;
            bar.Value = report.Step;
            bar.Description = Markup.Escape(text);
            return;
        }
        if (report.Step > 1 && report.Step < report.TotalSteps && sinceLine.Elapsed < quiet) return;
        sinceLine.Restart();
        Terminal.Say(text);
    }

    public void OnEvaluation(EvalReport report)
    {
        string accuracy = double.IsFinite(report.Accuracy) ? $", accuracy {100 * report.Accuracy:F1} %" : "";
        validation = $"  valid {report.Loss:F3}{accuracy}";
        if (bar is null) Terminal.Say($"step {report.Step}  validation loss {report.Loss:F4}{accuracy}{(report.Best ? "  (best)" : "")}");
    }

    public void OnNotice(string sentence)
    {
        if (bar is null) Terminal.Say(sentence);
        else console.MarkupLine(Markup.Escape(sentence));
    }

    private static string Left(StepReport report)
    {
        double seconds = report.Elapsed.TotalSeconds / report.Step * (report.TotalSteps - report.Step);
        return seconds < 90 ? $"{seconds:F0} s" : seconds < 5400 ? $"{seconds / 60:F0} min" : $"{seconds / 3600:F1} h";
    }
}
