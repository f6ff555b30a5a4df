using System.CommandLine;
using Nola.Cli;

RootCommand root = new("Fine-tune GPT-2 with NOLA and LoRA adapters, and run them. Start with 'nola train': it needs no data, no model and no GPU.")
{
    TrainCommand.Create(),
    ExperimentCommand.Create(),
    GenerateCommand.Create(),
    LossCommand.Create(),
    ForwardCommand.Create(),
    MergeCommand.Create(),
    ExportCommand.Create(),
    QuantiseCommand.Create(),
    InspectCommand.Create(),
    ModelsCommand.Create(),
    DataCommand.Create(),
    DevicesCommand.Create(),
    DoctorCommand.Create(),
    ScoreCommand.Create(),
    PretrainCommand.Create(),
};
ParseResult parsed = root.Parse(args);
if (parsed.Errors.Count > 0) return Usage.Explain(parsed);

// Signals are listened to here, not by the library, which knows one time for all commands.
Signals.Listen();
return parsed.Invoke(new InvocationConfiguration { ProcessTerminationTimeout = null });
