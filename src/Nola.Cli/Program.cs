using System.CommandLine;
using Nola.Cli;

RootCommand root = new("Fine-tune GPT-2 with NOLA and LoRA adapters, and run them. Start with 'nola train': it needs no data, no model and no GPU.")
{
    TrainCommand.Create(),
    PretrainCommand.Create(),
};
return root.Parse(args).Invoke();
