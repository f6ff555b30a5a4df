using System.CommandLine;

namespace Nola.Cli;

/// <summary>The whole command line of <c>nola</c>.</summary>
internal static class CommandLine
{
    /// <summary>Every command, with examples in its help.</summary>
    public static RootCommand Create()
    {
        RootCommand root = new("Fine-tune language models with NOLA, LoRA and VeRA adapters, and run them. Start with 'nola train': "
            + "it needs no data, no model and no GPU.")
        {
            TrainCommand.Create(),
            ExperimentCommand.Create(),
            SweepCommand.Create(),
            GenerateCommand.Create(),
            ServeCommand.Create(),
            LossCommand.Create(),
            EvaluateCommand.Create(),
            ForwardCommand.Create(),
            ClassifyCommand.Create(),
            PreprocessCommand.Create(),
            MergeCommand.Create(),
            ExportCommand.Create(),
            QuantizeCommand.Create(),
            InspectCommand.Create(),
            ModelsCommand.Create(),
            DataCommand.Create(),
            DevicesCommand.Create(),
            DoctorCommand.Create(),
            ScoreCommand.Create(),
            PretrainCommand.Create(),
        };
        Examples.AddTo(root);
        return root;
    }

    /// <summary>Reads the words of a command line; no word at all asks for help.</summary>
    public static ParseResult Parse(IReadOnlyList<string> words) => Create().Parse(words.Count > 0 ? words : ["--help"]);
}
