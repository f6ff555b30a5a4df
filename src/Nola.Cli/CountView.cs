using System.Diagnostics;
using Spectre.Console;

namespace Nola.Cli;

/// <summary>Shows how many of something are done: a progress bar on a terminal, plain lines elsewhere. Both on standard error.</summary>
internal sealed class CountView(int total, string unit)
{
    private static readonly TimeSpan quiet = TimeSpan.FromSeconds(5);

    private readonly IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Error) });
    private readonly Stopwatch clock = Stopwatch.StartNew(), sinceLine = Stopwatch.StartNew();
    private ProgressTask? bar;
    private int done;

    /// <summary>Does some work with this view of it. The work calls <see cref="Add"/>.</summary>
    public T Show<T>(Func<T> work)
    {
        // Results on the same terminal are progress enough, and a bar would write across them.
        if (Console.IsErrorRedirected || !Console.IsOutputRedirected || !console.Profile.Capabilities.Ansi) return work();
        return console.Progress()
            .AutoClear(false)
            .Columns(new ProgressBarColumn { Width = 28 }, new PercentageColumn(), new TaskDescriptionColumn { Alignment = Justify.Left })
            .Start(context =>
            {
                bar = context.AddTask("starting", maxValue: total);
                return work();
            });
    }

    /// <summary>One more is done.</summary>
    public void Add()
    {
        done++;
        double rate = done / clock.Elapsed.TotalSeconds, left = (total - done) / rate;
        string text = $"{done}/{total} {unit}  {rate:F1}/s  {(left < 90 ? $"{left:F0} s" : $"{left / 60:F0} min")} left";
        if (bar is not null)
        {
            bar.Value = done;
            bar.Description = Markup.Escape(text);
            return;
        }
        if (done < total && sinceLine.Elapsed < quiet) return;
        sinceLine.Restart();
        Terminal.Say(text);
    }
}
