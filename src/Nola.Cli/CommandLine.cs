using System.CommandLine;

namespace Nola.Cli;

/// <summary>The whole command line of <c>nola</c>.</summary>
internal static class CommandLine
{
    private static readonly (string Name, Func<Command> Create)[] commands =
    [
        ("train", TrainCommand.Create),
        ("experiment", ExperimentCommand.Create),
        ("sweep", SweepCommand.Create),
        ("generate", GenerateCommand.Create),
        ("serve", ServeCommand.Create),
        ("loss", LossCommand.Create),
        ("evaluate", EvaluateCommand.Create),
        ("forward", ForwardCommand.Create),
        ("classify", ClassifyCommand.Create),
        ("preprocess", PreprocessCommand.Create),
        ("merge", MergeCommand.Create),
        ("export", ExportCommand.Create),
        ("quantize", QuantizeCommand.Create),
        ("join", JoinCommand.Create),
        ("inspect", InspectCommand.Create),
        ("models", ModelsCommand.Create),
        ("data", DataCommand.Create),
        ("devices", DevicesCommand.Create),
        ("doctor", DoctorCommand.Create),
        ("score", ScoreCommand.Create),
        ("pretrain", PretrainCommand.Create),
    ];

    /// <summary>Every command, with examples in its help.</summary>
    public static RootCommand Create() => Of(commands);

    /// <summary>
    /// Reads the words of a command line; no word at all asks for help. Where the first word names a command, only that one is made:
    /// making all of them takes a tenth of the time to a first token.
    /// </summary>
    public static ParseResult Parse(IReadOnlyList<string> words)
    {
        if (words.Count == 0) return Create().Parse(["--help"]);
        (string Name, Func<Command> Create)[] named = [.. commands.Where(command => command.Name == words[0])];
        return Of(named.Length > 0 ? named : commands).Parse(words);
    }

    private static RootCommand Of(IEnumerable<(string Name, Func<Command> Create)> some)
    {
        RootCommand root = new("Fine-tune language models with NOLA, LoRA and eleven more kinds of adapters, and run them. "
            + "Start with 'nola train': it needs no data, no model and no GPU.");
        foreach ((_, Func<Command> create) in some) root.Add(create());
        Examples.AddTo(root);
        return root;
    }
}
